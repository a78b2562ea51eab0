#include "control/spec.h"

#include "x86/cpuid.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

const char *const spec_devices[] = { "disk", "cdrom", "floppy", NULL };
const char *const spec_buses[] = { "virtio", "ide", "fdc", NULL };
const char *const spec_boots[] = { "hd", "cdrom", "fd", NULL };
const char *const spec_firmwares[] = { "auto", "bios", "efi", NULL };
const char *const spec_chars[] = { "stdio", "null", "file", "pty", "unix", NULL };
const char *const spec_actions[] = { "restart", "destroy", NULL };
const char *const spec_videos[] = { "vga", "none", NULL };
const char *const spec_formats[] = { "raw", "vhd", "qcow2", NULL };
const char *const spec_policies[] = { "enospace", "stop", "report", NULL };

struct spec_text {
	struct spec_text *next;
	char text[];
};

void spec_init(struct machine_spec *spec)
{
	*spec = (struct machine_spec){ .file = "machine",
				       .dir = "",
				       .memory = MACHINE_MEMORY_DEFAULT,
				       .cpus = 1,
				       .cpu = "max" };
}

void spec_free(struct machine_spec *spec)
{
	while (spec->texts) {
		struct spec_text *t = spec->texts;

		spec->texts = t->next;
		free(t);
	}
}

const char *spec_keep(struct machine_spec *spec, const char *text, size_t n)
{
	size_t len = strnlen(text, n);
	struct spec_text *t = malloc(sizeof(*t) + len + 1);

	if (!t)
		return NULL;
	memcpy(t->text, text, len);
	t->text[len] = 0;
	t->next = spec->texts;
	spec->texts = t;
	return t->text;
}

bool spec_set_file(struct machine_spec *spec, const char *path)
{
	const char *slash = strrchr(path, '/');

	spec->file = spec_keep(spec, path, SIZE_MAX);
	spec->dir = slash ? spec_keep(spec, path, (size_t)(slash - path) + 1) : "";
	return spec->file && spec->dir;
}

const char *spec_path(struct machine_spec *spec, const char *path)
{
	char *whole = NULL;
	const char *kept;

	if (!path || *path == '/' || !*spec->dir)
		return path;
	if (asprintf(&whole, "%s%s", spec->dir, path) < 0)
		return NULL;
	kept = spec_keep(spec, whole, SIZE_MAX);
	free(whole);
	return kept;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool spec_name_good(const char *name)
{
	size_t n = 0;

	if (!is_alnum(name[0]))
		return false;
	while (is_alnum(name[n]) || (name[n] && strchr("._-+", name[n])))
		n++;
	return !name[n] && n <= SPEC_NAME_MAX;
}

bool spec_uuid_good(const char *uuid)
{
	for (unsigned n = 0; n < SPEC_UUID_SIZE - 1; n++) {
		bool dash = n == 8 || n == 13 || n == 18 || n == 23;
		char c = uuid[n];

		if (dash ? c != '-'
			 : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
			     (c >= 'A' && c <= 'F')))
			return false;
	}
	return !uuid[SPEC_UUID_SIZE - 1];
}

/* RFC 9562, 5.4: version 4. */
void spec_uuid_make(char uuid[SPEC_UUID_SIZE])
{
	u8 b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b)) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		memcpy(b, &now, sizeof(b));
	}
	b[6] = (u8)((b[6] & 0x0f) | 0x40);
	b[8] = (u8)((b[8] & 0x3f) | 0x80);
	snprintf(uuid, SPEC_UUID_SIZE,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		 b[15]);
}

/* --- Targets --------------------------------------------------------------------------------- */

static const struct spec_targets {
	const char *prefix;
	unsigned count; /* of letters from a */
} targets[] = {
	[SPEC_VIRTIO] = { "vd", SPEC_DISKS },
	[SPEC_IDE] = { "hd", 4 },
	[SPEC_FDC] = { "fd", 2 },
};

static bool target_good(const char *target, u32 bus)
{
	const struct spec_targets *t = &targets[bus];

	return !strncmp(target, t->prefix, 2) && target[2] >= 'a' &&
	       (unsigned)(target[2] - 'a') < t->count && !target[3];
}

const char *spec_free_target(struct machine_spec *spec, enum spec_bus bus)
{
	for (unsigned n = 0; n < targets[bus].count; n++) {
		char name[4] = { targets[bus].prefix[0], targets[bus].prefix[1], (char)('a' + n) };
		bool taken = false;

		for (unsigned k = 0; k < spec->disks; k++)
			taken |= spec->disk[k].target && !strcmp(spec->disk[k].target, name);
		if (!taken)
			return spec_keep(spec, name, SIZE_MAX);
	}
	return NULL;
}

/* --- Whether the parts fit together ----------------------------------------------------------- */

struct checker {
	const struct machine_spec *spec;
	char *err;
	size_t errlen;
};

static bool printf_like(3, 4) bad(const struct checker *c, u32 line, const char *fmt, ...)
{
	va_list ap;
	int n = line ? snprintf(c->err, c->errlen, "%s:%u: ", c->spec->file, line)
		     : snprintf(c->err, c->errlen, "%s: ", c->spec->file);

	if (n < 0 || (size_t)n >= c->errlen)
		return false;
	va_start(ap, fmt);
	vsnprintf(c->err + n, c->errlen - (size_t)n, fmt, ap);
	va_end(ap);
	return false;
}

static bool writes(const struct spec_disk *d)
{
	return d->device != SPEC_CDROM && !d->readonly && !d->transient;
}

static bool check_disk(const struct checker *c, u32 n)
{
	const struct machine_spec *s = c->spec;
	const struct spec_disk *d = &s->disk[n];
	const struct spec_targets *t = &targets[d->bus];

	if (d->device == SPEC_CDROM && d->bus != SPEC_IDE)
		return bad(c, d->line,
			   "<target bus='%s'>: a CD-ROM drive is on the IDE bus; write bus='ide'",
			   spec_buses[d->bus]);
	if ((d->device == SPEC_FLOPPY) != (d->bus == SPEC_FDC))
		return bad(c, d->line, "<target bus='%s'>: a %s is not on that bus; write bus='%s'",
			   spec_buses[d->bus], d->device == SPEC_FLOPPY ? "floppy drive" : "disk",
			   d->device == SPEC_FLOPPY ? "fdc" : "virtio");
	if (!target_good(d->target, d->bus))
		return bad(c, d->line,
			   "<target dev='%s'>: no such place on bus '%s'; choose %sa to %s%c",
			   d->target, spec_buses[d->bus], t->prefix, t->prefix,
			   'a' + (char)t->count - 1);
	for (u32 k = 0; k < n; k++)
		if (!strcmp(d->target, s->disk[k].target))
			return bad(c, d->line,
				   "<target dev='%s'>: line %u has it already; choose another",
				   d->target, s->disk[k].line);
	for (u32 k = 0; k < n && d->source; k++)
		if (s->disk[k].source && !strcmp(d->source, s->disk[k].source) &&
		    (writes(d) || writes(&s->disk[k])))
			return bad(
				c, d->line,
				"<source file='%s'>: %s has it already, and one of them writes; choose another",
				d->source, s->disk[k].target);
	if (d->device == SPEC_FLOPPY && d->on_error)
		return bad(c, d->line,
			   "<driver error_policy='%s'>: a floppy drive reports errors; remove it",
			   spec_policies[d->on_error]);
	if (d->device == SPEC_DISK && !d->source)
		return bad(c, d->line, "<disk> without a <source>: add <source file='...'/>");
	if (d->device == SPEC_DISK && !d->format)
		return bad(
			c, d->line,
			"<disk> without a format: add <driver name='pogo' type='raw'/>, vhd or qcow2");
	if (d->backings && (!d->format || !strcmp(d->format, "raw")))
		return bad(
			c, d->line,
			"<backingStore>: a raw image has none; remove it, or correct <driver type>");
	return true;
}

static bool check_boot(const struct checker *c)
{
	const struct machine_spec *s = c->spec;

	if (s->kernel && (s->loader || s->firmware))
		return bad(c, 0, "<kernel> boots without firmware; remove <kernel>, or %s",
			   s->loader ? "<loader>" : "<os firmware>");
	if (!s->kernel && (s->initrd || s->cmdline))
		return bad(c, 0, "<%s> without a <kernel>; add <kernel>, or remove it",
			   s->initrd ? "initrd" : "cmdline");
	if (s->loader && s->firmware)
		return bad(c, 0,
			   "<loader> and <os firmware='%s'> both name the firmware; remove one",
			   spec_firmwares[s->firmware]);
	if (s->nvram && s->firmware != SPEC_EFI && !s->loader)
		return bad(c, 0, "<nvram> belongs to EFI firmware; write <os firmware='efi'>");
	for (u32 n = 0; n < s->boots; n++)
		for (u32 k = 0; k < n; k++)
			if (s->boot[n] == s->boot[k])
				return bad(c, 0, "<boot dev='%s'/> is there twice; remove one",
					   spec_boots[s->boot[n]]);
	return true;
}

static bool check_chardev(const struct checker *c, const struct spec_chardev *d, const char *name)
{
	bool wants = d->type == SPEC_CHAR_FILE || d->type == SPEC_CHAR_UNIX;

	if (wants && !d->path)
		return bad(c, d->line, "<%s type='%s'> without a <source path='...'/>: add it",
			   name, spec_chars[d->type]);
	if (!wants && d->path)
		return bad(c, d->line, "<source path='%s'>: <%s type='%s'> has no path; remove it",
			   d->path, name, spec_chars[d->type]);
	if (d->append && d->type != SPEC_CHAR_FILE)
		return bad(c, d->line, "append goes with type='file' alone; remove it");
	return true;
}

static bool check_chardevs(const struct checker *c)
{
	const struct machine_spec *s = c->spec;

	for (u32 n = 0; n < s->serials; n++)
		if (!check_chardev(c, &s->serial[n], "serial"))
			return false;
	if (s->serials > 1 && s->serial[1].type == SPEC_CHAR_STDIO)
		return bad(
			c, s->serial[1].line,
			"<serial type='stdio'>: the terminal is the first port's; choose another type");
	if (s->has_parallel && s->parallel.type != SPEC_CHAR_FILE)
		return bad(c, s->parallel.line, "<parallel type='%s'>: write type='file'",
			   spec_chars[s->parallel.type]);
	if (s->has_parallel && !check_chardev(c, &s->parallel, "parallel"))
		return false;
	if (s->vnc.socket && (s->vnc.listen || s->vnc.port))
		return bad(c, s->vnc.line,
			   "<graphics>: either socket, or listen and port; remove one");
	if (s->vnc.on && s->video == SPEC_NO_VIDEO)
		return bad(
			c, s->vnc.line,
			"<graphics>: the machine has no screen to show; remove it, or write <model type='vga'/>");
	return true;
}

bool spec_check(const struct machine_spec *spec, char *err, size_t errlen)
{
	const struct checker c = { spec, err, errlen };

	if (!spec->name)
		return bad(&c, 0, "the machine has no name; add <name>...</name>");
	if (!spec_name_good(spec->name))
		return bad(
			&c, 0,
			"name '%s': 1 to %u letters, digits and . _ - + are a name, the first a letter or digit",
			spec->name, SPEC_NAME_MAX);
	if (!check_boot(&c))
		return false;
	for (u32 n = 0; n < spec->disks; n++)
		if (!check_disk(&c, n))
			return false;
	return check_chardevs(&c);
}

bool spec_vnc(struct machine_spec *spec, const char *runtime, const char **listen)
{
	const char *path = spec_path(spec, spec->vnc.socket);
	char *text = NULL;

	*listen = NULL;
	if (!spec->vnc.on)
		return true;
	if (spec->vnc.socket && !path)
		return false;
	if (!path && !spec->vnc.listen && !spec->vnc.port)
		path = runtime;
	if ((path ? asprintf(&text, "unix:%s", path)
		  : asprintf(&text, "%s:%u", spec->vnc.listen ? spec->vnc.listen : "127.0.0.1",
			     spec->vnc.port)) < 0)
		return false;
	*listen = spec_keep(spec, text, SIZE_MAX);
	free(text);
	return *listen != NULL;
}

/* --- The machine that is to be built ----------------------------------------------------------- */

/* The place of a kind of drive in the boot order, or 0. */
static unsigned boot_place(const struct machine_spec *spec, u32 device)
{
	for (u32 n = 0; n < spec->boots; n++)
		if (spec->boot[n] == device)
			return n + 1;
	return 0;
}

static bool config_disk(struct machine_spec *spec, struct spec_disk *d, struct machine_disk *out,
			const struct checker *c)
{
	static const enum machine_drive drives[] = {
		[SPEC_DISK] = DRIVE_DISK, [SPEC_CDROM] = DRIVE_CDROM, [SPEC_FLOPPY] = DRIVE_FLOPPY
	};
	static const enum machine_bus buses[] = {
		[SPEC_VIRTIO] = DISK_BUS_VIRTIO, [SPEC_IDE] = DISK_BUS_IDE, [SPEC_FDC] = DISK_BUS_FDC
	};

	*out = (struct machine_disk){
		.drive = drives[d->device],
		.bus = buses[d->bus],
		.path = spec_path(spec, d->source),
		.format = d->format ? d->format : "raw",
		.serial = d->serial,
		.overlay = d->transient ? "" : NULL,
		.parent = d->backings ? spec_path(spec, d->backing[0].source) : NULL,
		.parent_format = d->backings ? d->backing[0].format : NULL,
		.below = d->backings > 1 ? &d->below[1] : NULL,
		.readonly = d->readonly,
		.on_error = (enum machine_on_error)d->on_error,
		.boot = boot_place(spec, d->device),
	};
	if ((d->source && !out->path) || (d->backings && !out->parent))
		return bad(c, 0, "no memory");
	for (u32 n = 1; n < d->backings; n++) {
		d->below[n] = (struct block_below){ spec_path(spec, d->backing[n].source),
						    d->backing[n].format,
						    n + 1 < d->backings ? &d->below[n + 1] : NULL };
		if (!d->below[n].path)
			return bad(c, 0, "no memory");
	}
	return true;
}

bool spec_config(struct machine_spec *spec, struct machine_config *cfg, char *err, size_t errlen)
{
	const struct checker c = { spec, err, errlen };
	bool second_file = spec->serials > 1 && spec->serial[1].type == SPEC_CHAR_FILE;

	*cfg = (struct machine_config){
		.kernel = spec_path(spec, spec->kernel),
		.initrd = spec_path(spec, spec->initrd),
		.append = spec->cmdline ? spec->cmdline : "",
		.firmware = spec->kernel                 ? NULL
			    : spec->loader               ? spec_path(spec, spec->loader)
			    : spec->firmware == SPEC_EFI ? "uefi"
							 : "bios",
		.nvram = spec_path(spec, spec->nvram),
		.board = spec->board ? spec->board : "auto",
		.boot_menu = spec->boot_menu,
		.no_vga = spec->video == SPEC_NO_VIDEO,
		.serial2 = second_file ? spec_path(spec, spec->serial[1].path) : NULL,
		.parallel = spec->has_parallel ? spec_path(spec, spec->parallel.path) : NULL,
		.memory = spec->memory,
		.cpus = spec->cpus,
		.engine = spec->engine ? spec->engine : engine_default()->name,
		.cpu = spec->cpu,
		.clock = spec->clock ? spec->clock : "real",
		.boot_entry = spec->entry ? spec->entry : "auto",
		.timeout_s = spec->timeout_s,
		.debug_exit = spec->debug_exit,
		.no_reboot = spec->on_reboot == SPEC_DESTROY,
		.cache = spec->cache,
		.check_step = 1,
		.check_page = UINT32_MAX,
	};
	if ((spec->kernel && !cfg->kernel) || (spec->initrd && !cfg->initrd) ||
	    (spec->loader && !cfg->firmware) || (spec->nvram && !cfg->nvram) ||
	    (spec->has_parallel && !cfg->parallel) || (second_file && !cfg->serial2))
		return bad(&c, 0, "no memory");
	if (spec->serials > 1 && spec->serial[1].type != SPEC_CHAR_NULL &&
	    spec->serial[1].type != SPEC_CHAR_FILE)
		return bad(&c, spec->serial[1].line,
			   "a second <serial type='%s'>: write type='file' or type='null'",
			   spec_chars[spec->serial[1].type]);
	for (u32 n = 0; n < spec->disks; n++)
		if (!config_disk(spec, &spec->disk[n], &cfg->disks[cfg->disk_count++], &c))
			return false;
	return true;
}
