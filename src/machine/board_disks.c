/* The drives of the board: images are opened and put on controllers. */
#include "base/log.h"
#include "dev/floppy.h"
#include "machine/internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_DISK_SLOT 8
#define INT13_MOST \
	(1024ull * 16 * 63 * BLOCK_SECTOR) /* of a disk whose geometry needs no translation */

static void on_block_ready(void *arg, short revents)
{
	(void)revents;
	block_poll(arg);
}

/* Changes are kept in an image of their own. */
static bool has_kept_overlay(const struct machine *m, const struct machine_disk *d)
{
	return d->overlay && *d->overlay && m->cfg.pace == PACE_FREE;
}

static struct block_options options_of(const struct machine *m, const struct machine_disk *d)
{
	struct block_options o = { .path = d->path,
				   .format = d->format,
				   .readonly = d->readonly || d->drive == DRIVE_CDROM,
				   .threaded = m->clock.kind == CLOCK_KIND_REAL,
				   .scratch = m->cfg.pace != PACE_FREE || d->overlay };

	if (d->drive == DRIVE_CDROM) {
		o.scratch = false;
		o.format = d->format ? d->format : "raw";
	}
	if (has_kept_overlay(m, d))
		return (struct block_options){ .path = d->overlay,
					       .readonly = d->readonly,
					       .threaded = o.threaded,
					       .backing = BLOCK_BACKING_NAMED,
					       .parent = d->path,
					       .parent_format = d->format };
	if (d->parent) {
		bool any = !strcmp(d->parent, "*");

		o.backing = any ? BLOCK_BACKING_ANY : BLOCK_BACKING_NAMED;
		o.parent = any ? NULL : d->parent;
		o.parent_format = any ? NULL : d->parent_format;
		o.below = any ? NULL : d->below;
	}
	return o;
}

/* --- Errors of the host ---------------------------------------------------------------------- */

static bool is_space(int error) { return error == ENOSPC || error == EDQUOT; }

const struct machine_disk_error *machine_disk_error(const struct machine *m)
{
	return m->disk_failed ? &m->disk_error : NULL;
}

void machine_disk_error_text(const struct machine *m, char *text, size_t size)
{
	static const char *const verbs[] = { [BLOCK_READ] = "reading",
					     [BLOCK_WRITE] = "writing",
					     [BLOCK_FLUSH] = "flushing",
					     [BLOCK_DISCARD] = "discarding",
					     [BLOCK_WRITE_ZEROES] = "writing zeros" };
	static const char resume[] = "`pogo resume`, or Ctrl-] p at its terminal";
	const struct machine_disk_error *e = &m->disk_error;
	const struct machine_disk *d = &m->cfg.disks[e->drive];
	const char *path = d->overlay && *d->overlay ? d->overlay : d->path;
	int n = snprintf(text, size, "disk '%s': %s failed: %s; ", path, verbs[e->op],
			 strerror(e->error));

	if (n < 0 || (size_t)n >= size)
		return;
	if (!e->paused)
		snprintf(text + n, size - (size_t)n, "the guest has been told");
	else if (!is_space(e->error))
		snprintf(text + n, size - (size_t)n,
			 "the machine is paused: resume it to try again (%s), or kill it", resume);
	else
		snprintf(text + n, size - (size_t)n,
			 "the machine is paused: make room %s, then resume it (%s)",
			 d->overlay && !*d->overlay ? "for temporary files (TMPDIR)"
						    : "where the image is",
			 resume);
}

/* Space can be made; but a flush that the host's file system has failed stays failed, so that waiting would be for ever. */
static bool is_to_wait(const struct machine *m, unsigned n, int error)
{
	switch (m->cfg.disks[n].on_error) {
	case ON_ERROR_STOP: return true;
	case ON_ERROR_ENOSPACE: return is_space(error) && !block_flush_lost(m->block[n]);
	case ON_ERROR_REPORT: break;
	}
	return false;
}

static bool on_disk_error(void *opaque, const struct block_req *req)
{
	struct disk_watch *w = opaque;
	struct machine *m = w->machine;
	unsigned n = (unsigned)(w - m->watch);
	bool wait = is_to_wait(m, n, -req->result), held = m->disk_failed && m->disk_error.paused;
	char text[512];

	/* What the machine is paused for already is what its user has been told. */
	if (held && m->paused)
		return wait;
	m->disk_error = (struct machine_disk_error){ n, req->op, -req->result, wait };
	m->disk_failed = true;
	/* The first, second, fourth ... of those that a guest can make as many of as it likes. */
	w->errors += !wait;
	if (!wait && w->errors & (w->errors - 1))
		return false;
	machine_disk_error_text(m, text, sizeof(text));
	log_error("%s", text);
	machine_tell(m, MACHINE_DISK_ERROR);
	if (wait)
		machine_pause(m, true);
	return wait;
}

void board_disks_retry(struct machine *m)
{
	if (m->disk_failed && m->disk_error.paused)
		m->disk_failed = false;
	for (unsigned n = 0; n < m->cfg.disk_count; n++)
		if (m->block[n])
			block_retry(m->block[n]);
}

/* The floppy controller reports errors. A machine that must run the same way twice, or beside another one, is not paused. */
static void watch_image(struct machine *m, unsigned n)
{
	if (m->cfg.disks[n].drive == DRIVE_FLOPPY || m->cfg.pace != PACE_FREE)
		return;
	m->watch[n].machine = m;
	block_on_error(m->block[n], on_disk_error, &m->watch[n]);
}

/* --- Images ------------------------------------------------------------------------------------ */

static int open_image(struct machine *m, unsigned n, char *err, size_t errlen)
{
	const struct machine_disk *d = &m->cfg.disks[n];
	struct block_options o = options_of(m, d);
	int code = 0;

	if (has_kept_overlay(m, d))
		code = block_overlay_prepare(d->overlay, NULL, d->path, d->format, err, errlen);
	if (!code)
		code = block_open(&m->block[n], &o, err, errlen);

	if (!code && block_fd(m->block[n]) >= 0)
		code = loop_add(&m->loop, block_fd(m->block[n]), POLLIN, on_block_ready,
				m->block[n]);
	if (!code)
		watch_image(m, n);
	return code;
}

static void make_serial(const struct machine *m, unsigned n, char *serial, size_t size)
{
	if (m->cfg.disks[n].serial)
		snprintf(serial, size, "%s", m->cfg.disks[n].serial);
	else
		snprintf(serial, size, "pogo-disk-%u", n % 100);
}

static int place_virtio(struct machine *m, unsigned n)
{
	struct virtio_blk *d = m->disk[n] = calloc(1, sizeof(*d));
	unsigned slot = FIRST_DISK_SLOT + n;

	if (!d)
		return -ENOMEM;
	d->block = m->block[n];
	d->vpci.func.bus = &m->i440bx.bus;
	d->vpci.func.devfn = (u8)PCI_DEVFN(slot, 0);
	make_serial(m, n, d->serial, sizeof(d->serial));
	snprintf(m->disk_name[n], sizeof(m->disk_name[n]), "disk%u", n);
	m->boot[n] = (struct firmware_boot){ .kind = FIRMWARE_BOOT_VIRTIO, .slot = slot };
	return 0;
}

/* Disks fill IDE from the front, CD-ROMs from the second channel, where systems look for them first. */
static int place_ide(struct machine *m, unsigned n, char *err, size_t errlen)
{
	static const u8 places[2][4] = { { 0, 1, 3, 2 }, { 2, 3, 1, 0 } };
	bool cdrom = m->cfg.disks[n].drive == DRIVE_CDROM;

	for (unsigned k = 0; k < 4; k++) {
		unsigned channel = places[cdrom][k] / 2, unit = places[cdrom][k] % 2;
		struct ata_drive *d = &m->ide.drive[channel][unit];

		if (d->kind != ATA_NONE)
			continue;
		d->kind = cdrom ? ATA_CDROM : ATA_DISK;
		d->block = m->block[n];
		make_serial(m, n, d->serial, sizeof(d->serial));
		if (!cdrom && d->block->size > INT13_MOST)
			m->mc146818.translated |= (u8)BIT(2 * channel + unit);
		m->boot[n] = (struct firmware_boot){ .kind = FIRMWARE_BOOT_IDE,
						     .slot = PIIX4_SLOT,
						     .function = 1,
						     .channel = channel,
						     .unit = unit };
		return 0;
	}
	snprintf(err, errlen, "'%s': IDE has room for four drives; say bus=virtio for some disks",
		 m->cfg.disks[n].path ? m->cfg.disks[n].path : "CD-ROM drive");
	return -ENOSPC;
}

static int place_floppy(struct machine *m, unsigned n, char *err, size_t errlen)
{
	const struct floppy_geometry *geometry = m->block[n] ? floppy_geometry(m->block[n]->size)
							     : NULL;

	if (m->block[n] && !geometry) {
		snprintf(err, errlen,
			 "floppy '%s' has %llu bytes, which no floppy disk has; 1440 KiB is usual",
			 m->cfg.disks[n].path, (unsigned long long)m->block[n]->size);
		return -EINVAL;
	}
	for (unsigned unit = 0; unit < FDC82077_DRIVES; unit++) {
		struct fdc82077_drive *d = &m->fdc.drive[unit];

		if (d->type != FLOPPY_NONE)
			continue;
		d->type = geometry ? geometry->drive : FLOPPY_1440K;
		m->mc146818.floppy[unit] = (u8)d->type;
		m->boot[n] = (struct firmware_boot){ .kind = FIRMWARE_BOOT_FLOPPY, .unit = unit };
		return m->block[n] ? fdc82077_insert(&m->fdc, unit, m->block[n]) : 0;
	}
	snprintf(err, errlen, "the board has two floppy drives");
	return -ENOSPC;
}

static int place(struct machine *m, unsigned n, char *err, size_t errlen)
{
	const struct machine_disk *d = &m->cfg.disks[n];

	if (d->drive == DRIVE_FLOPPY)
		return place_floppy(m, n, err, errlen);
	if (d->drive == DRIVE_CDROM || d->bus == DISK_BUS_IDE)
		return place_ide(m, n, err, errlen);
	return place_virtio(m, n);
}

int board_disks_open(struct machine *m, char *err, size_t errlen)
{
	int code = 0;

	for (unsigned n = 0; n < m->cfg.disk_count && !code; n++) {
		if (m->cfg.disks[n].path)
			code = open_image(m, n, err, errlen);
		if (!code)
			code = place(m, n, err, errlen);
	}
	return code;
}

int board_disks_init(struct machine *m)
{
	int code = 0;

	for (unsigned n = 0; n < m->cfg.disk_count && !code; n++)
		if (m->disk[n])
			code = board_part(m, &m->disk[n]->vpci.dev, &virtio_blk_type,
					  m->disk_name[n]);
	m->ide.func.bus = &m->i440bx.bus;
	/* As firmware leaves it; OVMF leaves it as it is. */
	m->ide.decoded = m->cfg.kernel || (m->cfg.firmware && !strcmp(m->cfg.firmware, "uefi"));
	return code ? code : board_part(m, &m->ide.dev, &piix4_ide_type, "ide");
}

void board_disks_drain(struct machine *m)
{
	for (unsigned n = 0; n < MACHINE_MAX_DISKS; n++)
		if (m->block[n])
			block_drain(m->block[n]);
}

void board_disks_fini(struct machine *m)
{
	for (unsigned n = 0; n < MACHINE_MAX_DISKS; n++) {
		block_close(m->block[n]);
		free(m->disk[n]);
	}
}
