/* `pogo create`: a machine file, and images for its new disks. */
#include "base/fail.h"
#include "base/log.h"
#include "block/block.h"
#include "control/command.h"
#include "control/disk_option.h"
#include "control/instance.h"
#include "control/json_print.h"
#include "control/machine_options.h"
#include "control/machine_xml.h"
#include "control/places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

struct create_config {
	struct machine_config machine;
	struct drive_options drives;
	const char *vnc, *vnc_password, *serial, *title;
	bool json;
};

#define FIELD(name) offsetof(struct create_config, name)

static const struct opt create_opts[] = {
	{ .rows = machine_opts, .offset = FIELD(machine) },
	{ .key = "disk",
	  .kind = OPT_LIST,
	  .offset = FIELD(drives.disks),
	  .value = "FILE[:SIZE][,...]",
	  .help = "image as a disk, made if a size is given (.vhd, .qcow2, else raw): ro, bus=virtio|ide, format=NAME, serial=TEXT, parent=FILE may follow; may be repeated" },
	{ .rows = drive_opts, .offset = FIELD(drives) },
	{ .key = "vnc",
	  .kind = OPT_STRING,
	  .offset = FIELD(vnc),
	  .value = "WHERE",
	  .help = "the screen over VNC on [HOST:]PORT or unix:PATH, none for nowhere (default: a socket that `pogo view` knows)",
	  .implied = "5900" },
	{ .key = "vnc-password",
	  .kind = OPT_STRING,
	  .offset = FIELD(vnc_password),
	  .value = "FILE",
	  .help = "VNC clients must know the first line of FILE" },
	{ .key = "serial",
	  .kind = OPT_STRING,
	  .offset = FIELD(serial),
	  .value = "TYPE[:PATH]",
	  .help = "first serial port: stdio (the default), pty, null, file:PATH, unix:PATH; `pogo console` reaches it in any case" },
	{ .key = "title",
	  .kind = OPT_STRING,
	  .offset = FIELD(title),
	  .value = "TEXT",
	  .help = "a few words about the machine" },
	{ .rows = command_opts, .offset = FIELD(json) },
	{ 0 },
};

void command_create_usage(void *file)
{
	fputs("Makes a machine: NAME.xml in the current directory, and images for disks that have a size.\n\n"
	      "  pogo create web --memory 1G --cpus 2 --disk web.vhd:20G --cdrom debian.iso\n"
	      "  pogo create tiny --kernel vmlinuz --initrd initrd.gz --append \"console=ttyS0\"\n"
	      "  pogo create old --disk old.vhd,bus=ide --memory 64M\n\n"
	      "NAME may be a path: the file is made there, and the machine is called by its last part. pogo-machine(5) describes\n"
	      "the file; it may be edited while the machine is off.\n\n"
	      "Options:\n",
	      file);
	opt_help(create_opts, file);
	fputs("\nExit codes: 0 done, 1 error (nothing is left behind), 2 wrong usage.\n", file);
}

/* A machine that is being made. */
struct creation {
	struct create_config *cfg;
	struct machine_spec spec;
	u64 size[OPT_LIST_MAX]; /* of each --disk's image that is to be made; 0: it is there */
	const char *made[SPEC_DISKS]; /* images that were, to be removed after an error */
	unsigned made_count;
	char path[PATH_MAX]; /* of the machine file */
	char err[PATH_MAX + 256];
};

static const char *keep(struct creation *c, const char *text)
{
	return text ? spec_keep(&c->spec, text, SIZE_MAX) : NULL;
}

/* Cuts ":SIZE" off the file of a drive's text. What is no size is part of the name, if there is such a file. */
static bool cut_size(struct creation *c, char *text, u64 *size)
{
	char *end = text + strcspn(text, ","), *colon, saved = *end;
	bool good, digits, there;

	*size = 0;
	*end = 0;
	colon = strrchr(text, ':');
	good = colon && opt_parse_size(colon + 1, size) && *size;
	digits = colon && colon[1] >= '0' && colon[1] <= '9';
	there = !access(text, F_OK);
	if (digits && !good && !there)
		snprintf(c->err, sizeof(c->err),
			 "--disk %s: '%s' is not a size; write for example 512M or 20G", text,
			 colon + 1);
	*end = saved;
	if (good)
		memmove(colon, end, strlen(end) + 1);
	return good || !digits || there;
}

/* NULL, with err: a raw image of that name would be taken for what it is not. */
static const char *format_by_name(struct creation *c, const char *path)
{
	static const char *const foreign[] = { "vmdk", "vhdx", "vdi", "qed" };
	const struct block_ops *format = block_format_by_extension(path);
	const char *dot = strrchr(path, '.');

	for (size_t n = 0; dot && n < ARRAY_LEN(foreign); n++)
		if (!strcasecmp(dot + 1, foreign[n])) {
			snprintf(
				c->err, sizeof(c->err),
				"--disk %s: images of format %s cannot be made; let the name end in .raw, .vhd or .qcow2",
				path, foreign[n]);
			return NULL;
		}
	return format ? format->name : "raw";
}

/* The path of an image as this process opens it: the file's texts are relative to the machine file. */
static const char *image_path(struct creation *c, const char *path)
{
	return spec_path(&c->spec, path);
}

/* What an image that is there is: its format is recorded, for a guest may write what it likes into it. */
static bool find_format(struct creation *c, struct spec_disk *d, const char *parent)
{
	struct block_options o = { .path = image_path(c, d->source),
				   .format = d->format,
				   .readonly = true,
				   .backing = parent ? BLOCK_BACKING_NAMED : BLOCK_BACKING_NONE,
				   .parent = parent ? image_path(c, parent) : NULL };
	struct block *b;

	if (block_open(&b, &o, c->err, sizeof(c->err)))
		return false;
	d->format = b->ops->name;
	if (parent && b->parent) {
		d->backing[0] = (struct spec_backing){ keep(c, parent), b->parent->ops->name };
		d->backings = 1;
	}
	block_close(b);
	return true;
}

static bool make_image(struct creation *c, struct spec_disk *d, u64 size, const char *parent)
{
	struct block_create n = { .path = image_path(c, d->source),
				  .format = d->format ? d->format : format_by_name(c, d->source),
				  .size = size,
				  .parent = parent ? image_path(c, parent) : NULL };

	if (!n.path || !n.format || block_create(&n, c->err, sizeof(c->err)))
		return false;
	c->made[c->made_count++] = n.path;
	d->format = n.format;
	return true;
}

/* A file that an option names can be read. */
static bool is_there(struct creation *c, const char *option, const char *path)
{
	const char *whole = path ? image_path(c, path) : NULL;
	struct stat st;
	int code = ENOMEM;

	if (!path)
		return true;
	if (whole && (access(whole, R_OK) || stat(whole, &st)))
		code = errno;
	else if (whole)
		code = S_ISDIR(st.st_mode) ? EISDIR : 0;
	if (!code)
		return true;
	snprintf(c->err, sizeof(c->err), "--%s %s: %s%s", option, path, fail_text(code),
		 code == ENOENT && !strcmp(option, "firmware") ? ", or choose bios or uefi" : "");
	return false;
}

static bool add_disk(struct creation *c, const struct machine_disk *m, u64 size)
{
	struct spec_disk *d = &c->spec.disk[c->spec.disks];

	*d = (struct spec_disk){ .device = m->drive == DRIVE_DISK    ? SPEC_DISK
					   : m->drive == DRIVE_CDROM ? SPEC_CDROM
								     : SPEC_FLOPPY,
				 .bus = m->drive == DRIVE_FLOPPY ? SPEC_FDC
					: m->drive == DRIVE_CDROM || m->bus == DISK_BUS_IDE
						? SPEC_IDE
						: SPEC_VIRTIO,
				 .source = m->path,
				 .format = m->format,
				 .serial = m->serial,
				 .readonly = m->readonly,
				 .on_error = m->on_error,
				 .transient = m->overlay && !*m->overlay };
	if (m->boot) {
		snprintf(
			c->err, sizeof(c->err),
			"--%s %s,boot=%u: a machine file orders kinds of drives alone, with <boot dev='...'/>; leave boot out, or give it to pogo run",
			spec_devices[d->device], m->path ? m->path : "", m->boot);
		return false;
	}
	if (m->overlay && *m->overlay) {
		snprintf(
			c->err, sizeof(c->err),
			"--disk %s,overlay=%s: a machine file names the image that changes: --disk %s,parent=%s",
			m->path, m->overlay, m->overlay, m->path);
		return false;
	}
	d->target = spec_free_target(&c->spec, (enum spec_bus)d->bus);
	if (!d->target) {
		snprintf(c->err, sizeof(c->err), "--%s %s: bus %s has no place left for it",
			 spec_devices[d->device], m->path ? m->path : "", spec_buses[d->bus]);
		return false;
	}
	c->spec.disks++;
	if (size && !make_image(c, d, size, m->parent))
		return false;
	if (!d->source)
		return true;
	if (d->device != SPEC_DISK && !d->format)
		d->format = "raw";
	return find_format(c, d, m->parent);
}

/* TYPE or TYPE:PATH */
static bool set_serial(struct creation *c, const char *text)
{
	struct spec_chardev *d = &c->spec.serial[0];
	size_t len = strcspn(text, ":");
	u32 type = 0;

	while (spec_chars[type] &&
	       (strlen(spec_chars[type]) != len || strncmp(spec_chars[type], text, len)))
		type++;
	if (!spec_chars[type]) {
		snprintf(c->err, sizeof(c->err),
			 "--serial %s: choose stdio, pty, null, file:PATH or unix:PATH", text);
		return false;
	}
	*d = (struct spec_chardev){ .type = type, .path = text[len] ? text + len + 1 : NULL };
	c->spec.serials = 1;
	return true;
}

/* unix:PATH, PORT, HOST:PORT or none. */
static bool set_vnc(struct creation *c, const char *text)
{
	const char *colon = strrchr(text, ':'), *digits = colon ? colon + 1 : text;
	char *end;
	unsigned long port = strtoul(digits, &end, 10);

	if (!strcmp(text, "none"))
		return true;
	c->spec.vnc.on = true;
	if (!strncmp(text, "unix:", 5) && text[5]) {
		c->spec.vnc.socket = text + 5;
		return true;
	}
	c->spec.vnc.listen = colon ? spec_keep(&c->spec, text, (size_t)(colon - text)) : NULL;
	c->spec.vnc.port = (u32)port;
	if (colon != text && *digits >= '0' && *digits <= '9' && !*end && port >= 1 &&
	    port <= 65535)
		return true;
	snprintf(c->err, sizeof(c->err), "--vnc %s: write unix:PATH, [HOST:]PORT as 5901, or none",
		 text);
	return false;
}

static void set_firmware(struct creation *c, const char *firmware)
{
	if (!firmware)
		return;
	if (!strcmp(firmware, "bios"))
		c->spec.firmware = SPEC_BIOS;
	else if (!strcmp(firmware, "uefi") || !strcmp(firmware, "efi"))
		c->spec.firmware = SPEC_EFI;
	else
		c->spec.loader = firmware;
}

/* Disks first: an empty one lets firmware go on to the CD-ROM that fills it. */
static void set_boot(struct machine_spec *s)
{
	static const u32 order[] = { SPEC_BOOT_HD, SPEC_BOOT_CDROM, SPEC_BOOT_FD };

	for (unsigned n = 0; n < ARRAY_LEN(order) && !s->kernel; n++)
		for (u32 k = 0; k < s->disks; k++)
			if (s->disk[k].device == order[n]) {
				s->boot[s->boots++] = order[n];
				break;
			}
}

/* Options that would go unheard, or are refused in the words of the file. */
static bool check_company(struct creation *c)
{
	const struct machine_config *m = &c->cfg->machine;
	const char *text = NULL;

	if (m->kernel && m->firmware)
		text = "--kernel and --firmware: a kernel starts without firmware; give one of the two";
	else if (!m->kernel && (m->initrd || (m->append && *m->append)))
		text = "--initrd and --append go with --kernel alone";
	else if (m->nvram && c->spec.firmware != SPEC_EFI)
		text = "--nvram goes with --firmware uefi alone";
	else if (c->cfg->vnc_password && !c->spec.vnc.on)
		text = "--vnc-password goes with --vnc";
	if (text)
		snprintf(c->err, sizeof(c->err), "%s", text);
	return !text;
}

static bool add_drives(struct creation *c)
{
	const struct opt_list *disks = &c->cfg->drives.disks;
	struct machine_config *m = &c->cfg->machine;

	for (unsigned n = 0; n < disks->count; n++) /* argv's: writable */
		if (!cut_size(c, (char *)(uintptr_t)disks->item[n], &c->size[n]))
			return false;
	if (!drive_options_add(m, &c->cfg->drives, c->err, sizeof(c->err)))
		return false;
	for (unsigned n = 0; n < m->disk_count; n++)
		if (!add_disk(c, &m->disks[n], n < disks->count ? c->size[n] : 0))
			return false;
	return true;
}

static bool fill(struct creation *c)
{
	const struct create_config *cfg = c->cfg;
	const struct machine_config *m = &cfg->machine;
	struct machine_spec *s = &c->spec;
	char uuid[SPEC_UUID_SIZE];

	spec_uuid_make(uuid);
	s->uuid = keep(c, uuid);
	s->title = cfg->title;
	s->memory = m->memory;
	s->cpus = m->cpus;
	s->cpu = m->cpu;
	s->engine = m->engine;
	s->board = strcmp(m->board, "auto") ? m->board : NULL;
	s->kernel = m->kernel;
	s->initrd = m->initrd;
	s->cmdline = m->append;
	s->nvram = m->nvram;
	s->debug_exit = m->debug_exit;
	s->vnc.password_file = cfg->vnc_password;
	s->vnc.on = !cfg->vnc && !m->no_vga;
	s->video = m->no_vga ? SPEC_NO_VIDEO : SPEC_VGA;
	set_firmware(c, m->firmware);
	if (m->parallel) {
		s->has_parallel = true;
		s->parallel = (struct spec_chardev){ .type = SPEC_CHAR_FILE, .path = m->parallel };
	}
	if ((cfg->serial && !set_serial(c, cfg->serial)) || (cfg->vnc && !set_vnc(c, cfg->vnc)) ||
	    !check_company(c) || !add_drives(c))
		return false;
	set_boot(s);
	return true;
}

/* Everything is checked as `start` will check it, before anything is written but images. */
static bool check(struct creation *c)
{
	struct machine_config built;
	struct machine_spec *again = malloc(sizeof(*again));
	char *text = machine_xml_write(&c->spec);
	/* What is written can be read: no option has brought in what a machine file may not have. */
	bool good = again && text &&
		    machine_xml_parse(again, c->path, text, strlen(text), c->err, sizeof(c->err));

	if (good)
		spec_free(again);
	free(again);
	free(text);
	return good && spec_check(&c->spec, c->err, sizeof(c->err)) &&
	       spec_config(&c->spec, &built, c->err, sizeof(c->err)) &&
	       instance_fit(&built, c->err, sizeof(c->err)) &&
	       is_there(c, "firmware", c->spec.loader) && is_there(c, "kernel", c->spec.kernel) &&
	       is_there(c, "initrd", c->spec.initrd) &&
	       is_there(c, "vnc-password", c->spec.vnc.password_file);
}

/* Relative names of files are taken from here, and stand so in a file that lies here too; a file that lies elsewhere has whole paths. */
static bool place(struct creation *c, const char *arg)
{
	const char *slash = strrchr(arg, '/'), *name = slash ? slash + 1 : arg;
	size_t len = strlen(name);

	if (len > 4 && !strcmp(name + len - 4, ".xml"))
		len -= 4;
	c->spec.name = spec_keep(&c->spec, name, len);
	if (!c->spec.name)
		return false;
	if (!spec_name_good(c->spec.name)) {
		snprintf(
			c->err, sizeof(c->err),
			"name '%.60s': write 1 to %u letters, digits and . _ - +, the first a letter or digit",
			c->spec.name, SPEC_NAME_MAX);
		return false;
	}
	snprintf(c->path, sizeof(c->path), "%.*s%s.xml", slash ? (int)(slash + 1 - arg) : 0, arg,
		 c->spec.name);
	if (!access(c->path, F_OK)) {
		snprintf(c->err, sizeof(c->err),
			 "%s is there already; choose another name, or remove it", c->path);
		return false;
	}
	/* Messages call it as the user did; paths in it are as the user gave them, from here. */
	c->spec.file = keep(c, c->path);
	return c->spec.file != NULL;
}

/* A path from here as it stands in the file. */
static bool settle(struct creation *c, const char **path)
{
	char here[PATH_MAX], *whole = NULL;

	if (!*path || **path == '/' || !strchr(c->path, '/'))
		return true;
	if (!getcwd(here, sizeof(here)) || asprintf(&whole, "%s/%s", here, *path) < 0)
		return false;
	*path = keep(c, whole);
	free(whole);
	return *path != NULL;
}

static bool settle_all(struct creation *c)
{
	struct machine_spec *s = &c->spec;
	const char **paths[] = { &s->kernel,        &s->initrd,        &s->nvram,
				 &s->loader,        &s->vnc.socket,    &s->vnc.password_file,
				 &s->parallel.path, &s->serial[0].path };
	bool good = true;

	for (unsigned n = 0; n < ARRAY_LEN(paths); n++)
		good &= settle(c, paths[n]);
	for (u32 n = 0; n < s->disks; n++) {
		good &= settle(c, &s->disk[n].source);
		for (u32 k = 0; k < s->disk[n].backings; k++)
			good &= settle(c, &s->disk[n].backing[k].source);
	}
	if (!good)
		snprintf(c->err, sizeof(c->err), "no memory");
	return good;
}

static void report(const struct creation *c)
{
	const struct create_config *cfg = c->cfg;
	json_t *images = json_array();

	for (unsigned n = 0; n < c->made_count; n++)
		json_array_append_new(images, json_string(c->made[n]));
	if (cfg->json) {
		json_print(json_pack("{s:s, s:s, s:o}", "name", c->spec.name, "file", c->path,
				     "images", images));
		return;
	}
	json_decref(images);
	printf("%s: machine %s; pogo start %s starts it\n", c->path, c->spec.name, c->spec.name);
	for (unsigned n = 0; n < c->made_count; n++)
		printf("%s: new image\n", c->made[n]);
}

static int create(const char *name, struct create_config *cfg)
{
	struct creation *c = calloc(1, sizeof(*c));
	bool written = false, good;

	if (!c) {
		log_error("no memory");
		return EXIT_ERROR;
	}
	c->cfg = cfg;
	spec_init(&c->spec);
	good = place(c, name) && fill(c) && check(c) && settle_all(c) &&
	       (written = machine_xml_create(&c->spec, c->path, c->err, sizeof(c->err))) &&
	       registry_add(c->spec.name, c->path, c->err, sizeof(c->err));
	if (good) {
		report(c);
	} else {
		log_error("%s", *c->err ? c->err : "no memory");
		if (written)
			unlink(c->path);
		while (c->made_count)
			unlink(c->made[--c->made_count]);
	}
	spec_free(&c->spec);
	free(c);
	return good ? EXIT_OK : EXIT_ERROR;
}

int command_create(int argc, char **argv)
{
	static const struct command_line line = {
		create_opts, command_create_usage, 1, 1,
		"name the machine: pogo create web --disk web.vhd:20G"
	};
	struct create_config cfg = { .machine = { .memory = MACHINE_MEMORY_DEFAULT,
						  .cpus = 1,
						  .cpu = "max",
						  .board = "auto" } };
	const char *name;
	int code;

	return command_parse(&line, &cfg, argc, argv, &name, &code) < 0 ? code : create(name, &cfg);
}
