/* What a machine file says, as a struct: neither XML nor a running machine. */
#ifndef CONTROL_SPEC_H
#define CONTROL_SPEC_H

#include "machine/machine.h"

#define SPEC_DISKS     16u
#define SPEC_BACKING   31u /* images below a disk's own */
#define SPEC_SERIALS   2u
#define SPEC_BOOT      3u
#define SPEC_NAME_MAX  48u /* a machine's name is part of the path of a socket, which is short */
#define SPEC_UUID_SIZE 37u

/* In the order of the words in spec.c. */
enum spec_device { SPEC_DISK, SPEC_CDROM, SPEC_FLOPPY };
enum spec_bus { SPEC_VIRTIO, SPEC_IDE, SPEC_FDC };
enum spec_boot { SPEC_BOOT_HD, SPEC_BOOT_CDROM, SPEC_BOOT_FD };
enum spec_firmware { SPEC_FIRMWARE_AUTO, SPEC_BIOS, SPEC_EFI };
enum spec_char { SPEC_CHAR_STDIO, SPEC_CHAR_NULL, SPEC_CHAR_FILE, SPEC_CHAR_PTY, SPEC_CHAR_UNIX };
enum spec_action { SPEC_RESTART, SPEC_DESTROY };
enum spec_video { SPEC_VGA, SPEC_NO_VIDEO };

/* The words of each of these enums, ended by NULL. */
extern const char *const spec_devices[],
	*const spec_buses[],
		*const spec_boots[],
			*const spec_firmwares[],
				*const spec_chars[],
					*const spec_actions[],
						*const spec_videos[],
							*const spec_formats[],
								*const spec_policies
									[]; /* of enum machine_on_error */

struct spec_backing {
	const char *source, *format;
};

/* Strings are as the file has them: paths may be relative to it (spec_path). */
struct spec_disk {
	u32 device, bus;    /* enum spec_device, spec_bus */
	const char *source; /* NULL: a drive with nothing in it */
	const char *format; /* NULL: none was named; raw for what is no disk */
	const char *target, *serial;
	u32 on_error; /* enum machine_on_error */
	bool readonly;
	bool transient; /* what is written is lost at the end */
	/* The images below, from the nearest; no others are opened. */
	struct spec_backing backing[SPEC_BACKING];
	u32 backings;
	struct block_below below[SPEC_BACKING]; /* spec_config's */
	u32 line;                               /* in the machine file, for messages */
};

struct spec_chardev {
	u32 type; /* enum spec_char */
	const char *path;
	bool append; /* SPEC_CHAR_FILE: what is there stays */
	u32 line;
};

struct machine_spec {
	const char *file; /* for messages */
	const char *dir;  /* that relative paths are relative to; ends with '/', or "" */
	const char *name, *uuid, *title;
	u64 memory; /* bytes */
	u32 cpus;
	const char *cpu;   /* model */
	const char *board; /* "440bx", "440fx" or NULL: what fits the firmware */
	u32 firmware;      /* enum spec_firmware */
	const char *loader, *nvram;
	const char *kernel, *initrd, *cmdline;
	u32 boot[SPEC_BOOT], boots; /* enum spec_boot; each is a place in enum spec_device too */
	bool boot_menu;
	u32 on_reboot; /* enum spec_action */
	struct spec_disk disk[SPEC_DISKS];
	u32 disks;
	struct spec_chardev serial[SPEC_SERIALS];
	u32 serials; /* 0: one, as SPEC_CHAR_STDIO */
	struct spec_chardev parallel;
	bool has_parallel;
	struct {
		bool on;
		const char *socket, *listen, *password_file;
		u32 port; /* 0: one that is free; without socket and listen, a socket in the runtime directory */
		u32 line;
	} vnc;
	u32 video; /* enum spec_video */
	/* Pogo's own. */
	const char *engine, *clock, *entry; /* NULL: the default */
	u64 cache;                          /* bytes; 0: the engine's default */
	u32 debug_exit, timeout_s;          /* 0: none */

	struct spec_text *texts; /* what the strings point to */
};

/* A machine of 512 MiB and one CPU, with nothing in it. */
void spec_init(struct machine_spec *spec);
void spec_free(struct machine_spec *spec);
/* Copies text, up to n bytes of it, to where it lives as long as the spec. NULL: no memory. */
const char *spec_keep(struct machine_spec *spec, const char *text, size_t n) must_check;
/* Remembers where the spec comes from. False: no memory. */
bool spec_set_file(struct machine_spec *spec, const char *path) must_check;
/* The path as this process can open it. NULL for NULL, and if there is no memory. */
const char *spec_path(struct machine_spec *spec, const char *path);
/* 1 to SPEC_NAME_MAX letters, digits and . _ - +, the first a letter or digit. */
bool spec_name_good(const char *name);
bool spec_uuid_good(const char *uuid);
void spec_uuid_make(char uuid[SPEC_UUID_SIZE]);
/* Whether the parts fit together, beyond what the rules of each element say. One line in err if not. */
bool spec_check(const struct machine_spec *spec, char *err, size_t errlen) must_check;
/* The machine that is to be built; strings of cfg are the spec's. False with a line in err. */
bool spec_config(struct machine_spec *spec, struct machine_config *cfg, char *err, size_t errlen)
	must_check;
/* Where the screen is shown by VNC, as vnc_options.listen has it; NULL in *listen: nowhere. runtime is the path of the socket of a machine whose
 * file does not say. False: no memory. */
bool spec_vnc(struct machine_spec *spec, const char *runtime, const char **listen) must_check;
/* Of one disk, what `--disk` takes: where a target of the bus is free. NULL: none is. */
const char *spec_free_target(struct machine_spec *spec, enum spec_bus bus);

#endif
