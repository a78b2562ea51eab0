/* Drives as the command line gives them. */
#include "control/disk_option.h"

#include "control/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const drive_names[] = { "disk", "cdrom", "floppy" };

const struct opt drive_opts[] = {
	{ .key = "cdrom",
	  .kind = OPT_LIST,
	  .offset = offsetof(struct drive_options, cdroms),
	  .value = "FILE[,...]",
	  .help = "ISO image in a CD-ROM drive; may be repeated" },
	{ .key = "floppy",
	  .kind = OPT_LIST,
	  .offset = offsetof(struct drive_options, floppies),
	  .value = "FILE[,...]",
	  .help = "image in a floppy drive: ro may follow; at most two" },
	{ 0 },
};

/* Cuts the next word off text at a comma; two commas are one of the word's own. NULL at the end. */
static char *next_word(char **text)
{
	char *word = *text, *to = word, *from = word;

	if (!word)
		return NULL;
	for (; *from && (*from != ',' || from[1] == ','); from++) {
		if (*from == ',')
			from++;
		*to++ = *from;
	}
	*text = *from ? from + 1 : NULL;
	*to = 0;
	return word;
}

static bool set_bus(struct machine_disk *d, const char *value)
{
	if (!strcmp(value, "virtio") && d->drive == DRIVE_DISK)
		d->bus = DISK_BUS_VIRTIO;
	else if (!strcmp(value, "ide") && d->drive != DRIVE_FLOPPY)
		d->bus = DISK_BUS_IDE;
	else
		return false;
	return true;
}

static bool set_boot(struct machine_disk *d, const char *value)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	d->boot = (unsigned)n;
	return *value && !*end && n >= 1 && n <= 100;
}

static bool set_on_error(struct machine_disk *d, const char *value)
{
	if (d->drive == DRIVE_FLOPPY)
		return false;
	for (unsigned n = 0; spec_policies[n]; n++) {
		d->on_error = (enum machine_on_error)n;
		if (!strcmp(value, spec_policies[n]))
			return true;
	}
	return false;
}

/* One NAME or NAME=VALUE. */
static bool set_attribute(struct machine_disk *d, const char *name, const char *value)
{
	if (!strcmp(name, "ro") && !value)
		d->readonly = true;
	else if (!strcmp(name, "overlay"))
		d->overlay = value ? value : "";
	else if (!value || !*value)
		return false;
	else if (!strcmp(name, "format"))
		d->format = value;
	else if (!strcmp(name, "bus"))
		return set_bus(d, value);
	else if (!strcmp(name, "serial") && strlen(value) <= 20)
		d->serial = value;
	else if (!strcmp(name, "parent"))
		d->parent = value;
	else if (!strcmp(name, "on-error"))
		return set_on_error(d, value);
	else if (!strcmp(name, "boot"))
		return set_boot(d, value);
	else
		return false;
	return true;
}

bool disk_option_add(struct machine_config *cfg, enum machine_drive drive, char *text, char *err,
		     size_t errlen)
{
	struct machine_disk *d = &cfg->disks[cfg->disk_count];
	char *word;

	if (cfg->disk_count == MACHINE_MAX_DISKS) {
		snprintf(err, errlen, "--%s: a machine has at most %u drives", drive_names[drive],
			 MACHINE_MAX_DISKS);
		return false;
	}
	*d = (struct machine_disk){ .drive = drive };
	word = next_word(&text);
	if (word && *word)
		d->path = word;
	if (!d->path && drive == DRIVE_DISK) {
		snprintf(err, errlen, "--disk: no file is named; say --disk FILE");
		return false;
	}
	while ((word = next_word(&text))) {
		char *value = strchr(word, '=');

		if (value)
			*value++ = 0;
		if (set_attribute(d, word, value))
			continue;
		snprintf(
			err, errlen,
			"--%s %s: '%s%s%s' means nothing here; known are ro, format=NAME, bus=%s, "
			"serial=TEXT (up to 20 characters), overlay[=FILE], parent=FILE, boot=N%s (a comma in a name is "
			"written twice)",
			drive_names[drive], d->path ? d->path : "", word, value ? "=" : "",
			value ? value : "", drive == DRIVE_DISK ? "virtio|ide" : "ide",
			drive != DRIVE_FLOPPY ? ", on-error=stop|report|enospace" : "");
		return false;
	}
	cfg->disk_count++;
	return true;
}

bool drive_options_add(struct machine_config *cfg, const struct drive_options *drives, char *err,
		       size_t errlen)
{
	const struct opt_list *lists[] = {
		[DRIVE_DISK] = &drives->disks,
		[DRIVE_CDROM] = &drives->cdroms,
		[DRIVE_FLOPPY] = &drives->floppies,
	};

	for (unsigned drive = 0; drive < ARRAY_LEN(lists); drive++)
		for (unsigned n = 0; n < lists[drive]->count; n++)
			if (!disk_option_add(cfg, (enum machine_drive)drive,
					     (char *)(uintptr_t)lists[drive]->item[n], err, errlen))
				return false;
	return true;
}
