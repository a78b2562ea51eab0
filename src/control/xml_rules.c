#include "control/xml_rules.h"

#include <string.h>

#define SPEC(field)    offsetof(struct machine_spec, field)
#define DISK(field)    offsetof(struct spec_disk, field)
#define CHARDEV(field) offsetof(struct spec_chardev, field)
#define BACKING(field) offsetof(struct spec_backing, field)
#define WORDS(...)     ((const char *const[]){ __VA_ARGS__, NULL })

/* --- Units ----------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	u64 bytes;
} units[] = {
	{ "b", 1 },           { "bytes", 1 },    { "KB", 1000 }, { "k", KIB },
	{ "KiB", KIB },       { "MB", 1000000 }, { "M", MIB },   { "MiB", MIB },
	{ "GB", 1000000000 }, { "G", GIB },      { "GiB", GIB },
};

const char *const xml_units[] = { "b", "bytes", "KB", "k", "KiB", "MB",
				  "M", "MiB",   "GB", "G", "GiB", NULL };

u64 xml_unit_bytes(const char *unit)
{
	for (unsigned n = 0; n < ARRAY_LEN(units); n++)
		if (!strcmp(unit, units[n].name))
			return units[n].bytes;
	return 0;
}

static const struct xml_attr size_attrs[] = {
	{ .name = "unit", .value = { .kind = XML_FIXED, .words = xml_units } },
	{ 0 },
};

/* --- <os> ------------------------------------------------------------------------------------- */

static void *open_boot(struct xml_reader *r, u32 line)
{
	(void)line;
	return &r->spec->boot[r->spec->boots++];
}

static const struct xml_attr type_attrs[] = {
	{ .name = "arch", .value = { .kind = XML_FIXED, .words = WORDS("x86_64") } },
	{ .name = "machine",
	  .value = { .kind = XML_WORD, .offset = SPEC(board), .words = WORDS("440bx", "440fx") } },
	{ 0 },
};
static const struct xml_attr boot_attrs[] = {
	{ .name = "dev",
	  .required = true,
	  .value = { .kind = XML_CHOICE, .offset = 0, .words = spec_boots } },
	{ 0 },
};
static const struct xml_attr os_attrs[] = {
	{ .name = "firmware",
	  .value = { .kind = XML_CHOICE, .offset = SPEC(firmware), .words = spec_firmwares } },
	{ 0 },
};

static const struct xml_rule rule_type = { .name = "type",
					   .attrs = type_attrs,
					   .text = { .kind = XML_FIXED, .words = WORDS("hvm") } };
static const struct xml_rule rule_loader = { .name = "loader",
					     .text = { .kind = XML_PATH, .offset = SPEC(loader) } };
static const struct xml_rule rule_nvram = { .name = "nvram",
					    .text = { .kind = XML_PATH, .offset = SPEC(nvram) } };
static const struct xml_rule rule_kernel = { .name = "kernel",
					     .text = { .kind = XML_PATH, .offset = SPEC(kernel) } };
static const struct xml_rule rule_initrd = { .name = "initrd",
					     .text = { .kind = XML_PATH, .offset = SPEC(initrd) } };
static const struct xml_rule rule_cmdline = {
	.name = "cmdline", .text = { .kind = XML_STRING, .offset = SPEC(cmdline) }
};
static const struct xml_attr bootmenu_attrs[] = {
	{ .name = "enable",
	  .required = true,
	  .value = { .kind = XML_SWITCH, .offset = SPEC(boot_menu), .words = WORDS("no", "yes") } },
	{ 0 },
};
static const struct xml_rule rule_bootmenu = { .name = "bootmenu", .attrs = bootmenu_attrs };
static const struct xml_rule rule_boot = { .name = "boot", .attrs = boot_attrs, .open = open_boot };

static const struct xml_child os_children[] = {
	{ .rule = &rule_type, .max = 1 },
	{ .rule = &rule_loader, .max = 1 },
	{ .rule = &rule_nvram, .max = 1 },
	{ .rule = &rule_kernel, .max = 1 },
	{ .rule = &rule_initrd, .max = 1 },
	{ .rule = &rule_cmdline, .max = 1 },
	{ .rule = &rule_boot, .max = SPEC_BOOT },
	{ .rule = &rule_bootmenu, .max = 1 },
	{ 0 },
};

/* --- <cpu>, <clock> --------------------------------------------------------------------------- */

static const struct xml_attr cpu_attrs[] = {
	{ .name = "mode", .value = { .kind = XML_FIXED, .words = WORDS("custom") } },
	{ 0 },
};
static const struct xml_rule rule_model = { .name = "model",
					    .text = { .kind = XML_MODEL, .offset = SPEC(cpu) } };
static const struct xml_child cpu_children[] = {
	{ .rule = &rule_model, .max = 1, .required = true }, { 0 }
};
static const struct xml_attr clock_attrs[] = {
	{ .name = "offset",
	  .required = true,
	  .value = { .kind = XML_FIXED, .words = WORDS("utc") } },
	{ 0 },
};

/* --- Disks ------------------------------------------------------------------------------------ */

static const struct xml_rule rule_backing;

static void *open_disk(struct xml_reader *r, u32 line)
{
	struct machine_spec *s = r->spec;

	r->disk = &s->disk[s->disks++];
	*r->disk = (struct spec_disk){ .line = line };
	return r->disk;
}

static void *open_backing(struct xml_reader *r, u32 line)
{
	struct spec_disk *d = r->disk;

	if (d->backings == SPEC_BACKING) {
		xml_fail(r, line, "<backingStore>: more than %u images below a disk", SPEC_BACKING);
		return NULL;
	}
	d->backing[d->backings] = (struct spec_backing){ 0 };
	return &d->backing[d->backings++];
}

/* An empty one ends the chain, as it does in libvirt. */
static bool close_backing(struct xml_reader *r, void *object, u32 line)
{
	struct spec_backing *b = object;
	struct spec_disk *d = r->disk;
	bool last = b == &d->backing[d->backings - 1];

	if (b->source && b->format)
		return true;
	if (!b->source && !b->format && last) {
		d->backings--;
		return true;
	}
	return xml_fail(
		r, line,
		"<backingStore> without a <%s>: add it, or empty the element for no backing file",
		b->source ? "format type='...'" : "source file='...'");
}

static const struct xml_attr driver_attrs[] = {
	{ .name = "name", .value = { .kind = XML_FIXED, .words = WORDS("pogo") } },
	{ .name = "type",
	  .required = true,
	  .value = { .kind = XML_WORD, .offset = DISK(format), .words = spec_formats } },
	{ .name = "error_policy",
	  .value = { .kind = XML_CHOICE, .offset = DISK(on_error), .words = spec_policies } },
	{ 0 },
};
static const struct xml_attr source_attrs[] = {
	{ .name = "file", .required = true, .value = { .kind = XML_PATH, .offset = DISK(source) } },
	{ 0 },
};
static const struct xml_attr target_attrs[] = {
	{ .name = "dev", .required = true, .value = { .kind = XML_PATH, .offset = DISK(target) } },
	{ .name = "bus",
	  .required = true,
	  .value = { .kind = XML_CHOICE, .offset = DISK(bus), .words = spec_buses } },
	{ 0 },
};
static const struct xml_attr format_attrs[] = {
	{ .name = "type",
	  .required = true,
	  .value = { .kind = XML_WORD, .offset = BACKING(format), .words = spec_formats } },
	{ 0 },
};
static const struct xml_attr below_attrs[] = {
	{ .name = "file",
	  .required = true,
	  .value = { .kind = XML_PATH, .offset = BACKING(source) } },
	{ 0 },
};
static const struct xml_attr backing_attrs[] = {
	{ .name = "type", .value = { .kind = XML_FIXED, .words = WORDS("file") } },
	{ 0 },
};
static const struct xml_attr disk_attrs[] = {
	{ .name = "type", .required = true, .value = { .kind = XML_FIXED, .words = WORDS("file") } },
	{ .name = "device",
	  .value = { .kind = XML_CHOICE, .offset = DISK(device), .words = spec_devices } },
	{ 0 },
};

static const struct xml_rule rule_format = { .name = "format", .attrs = format_attrs };
static const struct xml_rule rule_below = { .name = "source", .attrs = below_attrs };
static const struct xml_child backing_children[] = {
	{ .rule = &rule_format, .max = 1 },
	{ .rule = &rule_below, .max = 1 },
	{ .rule = &rule_backing, .max = 1 },
	{ 0 },
};
static const struct xml_rule rule_backing = { .name = "backingStore",
					      .attrs = backing_attrs,
					      .children = backing_children,
					      .open = open_backing,
					      .close = close_backing };
static const struct xml_rule rule_driver = { .name = "driver", .attrs = driver_attrs };
static const struct xml_rule rule_source = { .name = "source", .attrs = source_attrs };
static const struct xml_rule rule_target = { .name = "target", .attrs = target_attrs };
static const struct xml_rule rule_readonly = {
	.name = "readonly", .text = { .kind = XML_PRESENT, .offset = DISK(readonly) }
};
static const struct xml_rule rule_transient = {
	.name = "transient", .text = { .kind = XML_PRESENT, .offset = DISK(transient) }
};
/* ATA identifies a disk by 20 characters, virtio likewise. */
static const struct xml_rule rule_disk_serial = {
	.name = "serial", .text = { .kind = XML_STRING, .offset = DISK(serial), .max = 20 }
};

static const struct xml_child disk_children[] = {
	{ .rule = &rule_driver, .max = 1 },
	{ .rule = &rule_source, .max = 1 },
	{ .rule = &rule_target, .max = 1, .required = true },
	{ .rule = &rule_backing, .max = 1 },
	{ .rule = &rule_readonly, .max = 1 },
	{ .rule = &rule_transient, .max = 1 },
	{ .rule = &rule_disk_serial, .max = 1 },
	{ 0 },
};
static const struct xml_rule rule_disk = {
	.name = "disk", .attrs = disk_attrs, .children = disk_children, .open = open_disk
};

/* --- Other devices ---------------------------------------------------------------------------- */

static void *open_serial(struct xml_reader *r, u32 line)
{
	struct spec_chardev *d = &r->spec->serial[r->spec->serials++];

	*d = (struct spec_chardev){ .line = line };
	return d;
}

static void *open_parallel(struct xml_reader *r, u32 line)
{
	r->spec->has_parallel = true;
	r->spec->parallel.line = line;
	return &r->spec->parallel;
}

static void *open_graphics(struct xml_reader *r, u32 line)
{
	r->spec->vnc.on = true;
	r->spec->vnc.line = line;
	return r->spec;
}

static const struct xml_attr chardev_attrs[] = {
	{ .name = "type",
	  .required = true,
	  .value = { .kind = XML_CHOICE, .offset = CHARDEV(type), .words = spec_chars } },
	{ 0 },
};
static const struct xml_attr chardev_source_attrs[] = {
	{ .name = "mode", .value = { .kind = XML_FIXED, .words = WORDS("bind") } },
	{ .name = "path", .required = true, .value = { .kind = XML_PATH, .offset = CHARDEV(path) } },
	{ .name = "append",
	  .value = { .kind = XML_SWITCH, .offset = CHARDEV(append), .words = WORDS("off", "on") } },
	{ 0 },
};
static const struct xml_attr graphics_attrs[] = {
	{ .name = "type", .required = true, .value = { .kind = XML_FIXED, .words = WORDS("vnc") } },
	{ .name = "socket", .value = { .kind = XML_PATH, .offset = SPEC(vnc.socket) } },
	{ .name = "listen", .value = { .kind = XML_PATH, .offset = SPEC(vnc.listen) } },
	{ .name = "port",
	  .value = { .kind = XML_NUMBER, .offset = SPEC(vnc.port), .min = 1, .max = 65535 } },
	{ .name = "passwdFile", .value = { .kind = XML_PATH, .offset = SPEC(vnc.password_file) } },
	{ 0 },
};
static const struct xml_attr video_model_attrs[] = {
	{ .name = "type",
	  .required = true,
	  .value = { .kind = XML_CHOICE, .offset = SPEC(video), .words = spec_videos } },
	{ 0 },
};

static const struct xml_rule rule_chardev_source = { .name = "source",
						     .attrs = chardev_source_attrs };
static const struct xml_child chardev_children[] = { { .rule = &rule_chardev_source, .max = 1 },
						     { 0 } };
static const struct xml_rule rule_serial = {
	.name = "serial", .attrs = chardev_attrs, .children = chardev_children, .open = open_serial
};
static const struct xml_rule rule_parallel = { .name = "parallel",
					       .attrs = chardev_attrs,
					       .children = chardev_children,
					       .open = open_parallel };
static const struct xml_rule rule_graphics = { .name = "graphics",
					       .attrs = graphics_attrs,
					       .open = open_graphics };
static const struct xml_rule rule_video_model = { .name = "model", .attrs = video_model_attrs };
static const struct xml_child video_children[] = {
	{ .rule = &rule_video_model, .max = 1, .required = true }, { 0 }
};
static const struct xml_rule rule_video = { .name = "video", .children = video_children };

static const struct xml_child devices_children[] = {
	{ .rule = &rule_disk, .max = SPEC_DISKS }, { .rule = &rule_serial, .max = SPEC_SERIALS },
	{ .rule = &rule_parallel, .max = 1 },      { .rule = &rule_graphics, .max = 1 },
	{ .rule = &rule_video, .max = 1 },         { 0 },
};

/* --- <pogo>: what libvirt has no word for ------------------------------------------------------ */

static const struct xml_attr debug_exit_attrs[] = {
	{ .name = "port",
	  .required = true,
	  .value = { .kind = XML_PORT, .offset = SPEC(debug_exit), .min = 1, .max = 0xffff } },
	{ 0 },
};

static const struct xml_rule rule_engine = {
	.name = "engine", .text = { .kind = XML_ENGINE, .offset = SPEC(engine) }
};
static const struct xml_rule rule_cache = { .name = "cache",
					    .attrs = size_attrs,
					    .text = { .kind = XML_SIZE,
						      .offset = SPEC(cache),
						      .min = MACHINE_CACHE_MIN,
						      .max = MACHINE_CACHE_MAX } };
static const struct xml_rule rule_time = {
	.name = "time",
	.text = { .kind = XML_WORD, .offset = SPEC(clock), .words = WORDS("real", "insns") }
};
static const struct xml_rule rule_entry = { .name = "entry",
					    .text = { .kind = XML_WORD,
						      .offset = SPEC(entry),
						      .words = WORDS("auto", "16", "32", "64") } };
static const struct xml_rule rule_debug_exit = { .name = "debugexit", .attrs = debug_exit_attrs };
static const struct xml_rule rule_timeout = { .name = "timeout",
					      .text = { .kind = XML_NUMBER,
							.offset = SPEC(timeout_s),
							.min = 1,
							.max = MACHINE_TIMEOUT_MAX_S } };

static const struct xml_child pogo_children[] = {
	{ .rule = &rule_engine, .max = 1 },
	{ .rule = &rule_cache, .max = 1 },
	{ .rule = &rule_time, .max = 1 },
	{ .rule = &rule_entry, .max = 1 },
	{ .rule = &rule_debug_exit, .max = 1 },
	{ .rule = &rule_timeout, .max = 1 },
	{ 0 },
};

/* --- <domain> ---------------------------------------------------------------------------------- */

static const struct xml_attr domain_attrs[] = {
	{ .name = "type", .required = true, .value = { .kind = XML_FIXED, .words = WORDS("pogo") } },
	{ 0 },
};

static const struct xml_rule rule_name = { .name = "name",
					   .text = { .kind = XML_NAME, .offset = SPEC(name) } };
static const struct xml_rule rule_uuid = { .name = "uuid",
					   .text = { .kind = XML_UUID, .offset = SPEC(uuid) } };
static const struct xml_rule rule_title = { .name = "title",
					    .text = { .kind = XML_STRING, .offset = SPEC(title) } };
static const struct xml_rule rule_memory = { .name = "memory",
					     .attrs = size_attrs,
					     .text = { .kind = XML_SIZE,
						       .offset = SPEC(memory),
						       .min = MACHINE_MEMORY_MIN,
						       .max = MACHINE_MEMORY_MAX } };
static const struct xml_rule rule_vcpu = {
	.name = "vcpu",
	.text = { .kind = XML_NUMBER, .offset = SPEC(cpus), .min = 1, .max = VM_MAX_VCPUS }
};
static const struct xml_rule rule_os = { .name = "os", .attrs = os_attrs, .children = os_children };
static const struct xml_rule rule_cpu = { .name = "cpu",
					  .attrs = cpu_attrs,
					  .children = cpu_children };
static const struct xml_rule rule_clock = { .name = "clock", .attrs = clock_attrs };
static const struct xml_rule rule_on_poweroff = {
	.name = "on_poweroff", .text = { .kind = XML_FIXED, .words = WORDS("destroy") }
};
static const struct xml_rule rule_on_reboot = {
	.name = "on_reboot",
	.text = { .kind = XML_CHOICE, .offset = SPEC(on_reboot), .words = spec_actions }
};
static const struct xml_rule rule_on_crash = {
	.name = "on_crash", .text = { .kind = XML_FIXED, .words = WORDS("destroy") }
};
static const struct xml_rule rule_devices = { .name = "devices", .children = devices_children };
static const struct xml_rule rule_pogo = { .name = "pogo", .children = pogo_children };

static const struct xml_child domain_children[] = {
	{ .rule = &rule_name, .max = 1, .required = true },
	{ .rule = &rule_uuid, .max = 1 },
	{ .rule = &rule_title, .max = 1 },
	{ .rule = &rule_memory, .max = 1, .required = true },
	{ .rule = &rule_vcpu, .max = 1 },
	{ .rule = &rule_os, .max = 1 },
	{ .rule = &rule_cpu, .max = 1 },
	{ .rule = &rule_clock, .max = 1 },
	{ .rule = &rule_on_poweroff, .max = 1 },
	{ .rule = &rule_on_reboot, .max = 1 },
	{ .rule = &rule_on_crash, .max = 1 },
	{ .rule = &rule_devices, .max = 1 },
	{ .rule = &rule_pogo, .max = 1 },
	{ 0 },
};

const struct xml_rule xml_domain = { .name = "domain",
				     .attrs = domain_attrs,
				     .children = domain_children };
