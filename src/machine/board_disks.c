/* The drives of the board: images are opened, and controllers given to them. */
#include "machine/internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_DISK_SLOT 8

static void on_block_ready(void *arg, short revents)
{
	(void)revents;
	block_poll(arg);
}

static struct block_options options_of(const struct machine *m, const struct machine_disk *d)
{
	struct block_options o = { .path = d->path,
				   .format = d->format,
				   .readonly = d->readonly || d->drive == DRIVE_CDROM,
				   .threaded = m->clock.kind == CLOCK_KIND_REAL,
				   .scratch = m->cfg.pace != PACE_FREE || d->overlay };

	if (d->parent) {
		bool any = !strcmp(d->parent, "*");

		o.backing = any ? BLOCK_BACKING_ANY : BLOCK_BACKING_NAMED;
		o.parent = any ? NULL : d->parent;
		o.parent_format = any ? NULL : d->parent_format;
		o.below = any ? NULL : d->below;
	}
	if (d->drive == DRIVE_CDROM)
		o.scratch = false;
	return o;
}

static int open_image(struct machine *m, unsigned n, char *err, size_t errlen)
{
	struct block_options o = options_of(m, &m->cfg.disks[n]);
	int code = block_open(&m->block[n], &o, err, errlen);

	if (!code && block_fd(m->block[n]) >= 0)
		code = loop_add(&m->loop, block_fd(m->block[n]), POLLIN, on_block_ready,
				m->block[n]);
	return code;
}

static int add_virtio(struct machine *m, unsigned n)
{
	struct virtio_blk *d = m->disk[n] = calloc(1, sizeof(*d));
	const char *serial = m->cfg.disks[n].serial;

	if (!d)
		return -ENOMEM;
	d->block = m->block[n];
	d->vpci.func.bus = &m->i440bx.bus;
	d->vpci.func.devfn = PCI_DEVFN(FIRST_DISK_SLOT + n, 0);
	if (serial)
		snprintf(d->serial, sizeof(d->serial), "%s", serial);
	else
		snprintf(d->serial, sizeof(d->serial), "pogo-disk-%u", n % 100);
	snprintf(m->disk_name[n], sizeof(m->disk_name[n]), "disk%u", n);
	return board_part(m, &d->vpci.dev, &virtio_blk_type, m->disk_name[n]);
}

int board_disks_init(struct machine *m, char *err, size_t errlen)
{
	int code = 0;

	for (unsigned n = 0; n < m->cfg.disk_count && !code; n++) {
		if (m->cfg.disks[n].path)
			code = open_image(m, n, err, errlen);
		if (!code)
			code = add_virtio(m, n);
	}
	return code;
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
