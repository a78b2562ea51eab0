/* Writes a machine file: what is not at its default. */
#include "control/machine_xml.h"

#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Text as it stands in an element or between single quotes. */
static void put_text(FILE *f, const char *text)
{
	for (const char *c = text; *c; c++)
		switch (*c) {
		case '<': fputs("&lt;", f); break;
		case '>': fputs("&gt;", f); break;
		case '&': fputs("&amp;", f); break;
		case '\'': fputs("&apos;", f); break;
		default: fputc(*c, f); break;
		}
}

/* Nothing if value is NULL. */
static void put_attr(FILE *f, const char *name, const char *value)
{
	if (!value)
		return;
	fprintf(f, " %s='", name);
	put_text(f, value);
	fputc('\'', f);
}

static void put_element(FILE *f, unsigned indent, const char *name, const char *text)
{
	if (!text)
		return;
	fprintf(f, "%*s<%s>", (int)indent, "", name);
	put_text(f, text);
	fprintf(f, "</%s>\n", name);
}

static void put_size(FILE *f, unsigned indent, const char *name, u64 bytes)
{
	const char *unit = bytes % MIB == 0 ? "MiB" : bytes % KIB == 0 ? "KiB" : "b";
	u64 one = bytes % MIB == 0 ? MIB : bytes % KIB == 0 ? KIB : 1;

	fprintf(f, "%*s<%s unit='%s'>%llu</%s>\n", (int)indent, "", name, unit,
		(unsigned long long)(bytes / one), name);
}

static void put_os(FILE *f, const struct machine_spec *s)
{
	fputs("  <os", f);
	if (s->firmware)
		put_attr(f, "firmware", spec_firmwares[s->firmware]);
	fputs(">\n    <type arch='x86_64'", f);
	put_attr(f, "machine", s->board);
	fputs(">hvm</type>\n", f);
	put_element(f, 4, "loader", s->loader);
	put_element(f, 4, "nvram", s->nvram);
	put_element(f, 4, "kernel", s->kernel);
	put_element(f, 4, "initrd", s->initrd);
	put_element(f, 4, "cmdline", s->cmdline);
	for (u32 n = 0; n < s->boots; n++)
		fprintf(f, "    <boot dev='%s'/>\n", spec_boots[s->boot[n]]);
	if (s->boot_menu)
		fputs("    <bootmenu enable='yes'/>\n", f);
	fputs("  </os>\n", f);
}

static void put_backing(FILE *f, const struct spec_disk *d)
{
	for (u32 n = 0; n < d->backings; n++) {
		int indent = 6 + 2 * (int)n;

		fprintf(f, "%*s<backingStore type='file'>\n%*s<format", indent, "", indent + 2, "");
		put_attr(f, "type", d->backing[n].format);
		fprintf(f, "/>\n%*s<source", indent + 2, "");
		put_attr(f, "file", d->backing[n].source);
		fputs("/>\n", f);
	}
	for (u32 n = d->backings; n-- > 0;)
		fprintf(f, "%*s</backingStore>\n", 6 + 2 * (int)n, "");
}

static void put_disk(FILE *f, const struct spec_disk *d)
{
	fprintf(f, "    <disk type='file' device='%s'>\n", spec_devices[d->device]);
	if (d->format) {
		fputs("      <driver name='pogo'", f);
		put_attr(f, "type", d->format);
		if (d->on_error)
			put_attr(f, "error_policy", spec_policies[d->on_error]);
		fputs("/>\n", f);
	}
	if (d->source) {
		fputs("      <source", f);
		put_attr(f, "file", d->source);
		fputs("/>\n", f);
	}
	put_backing(f, d);
	fputs("      <target", f);
	put_attr(f, "dev", d->target);
	put_attr(f, "bus", spec_buses[d->bus]);
	fputs("/>\n", f);
	if (d->readonly)
		fputs("      <readonly/>\n", f);
	if (d->transient)
		fputs("      <transient/>\n", f);
	put_element(f, 6, "serial", d->serial);
	fputs("    </disk>\n", f);
}

static void put_chardev(FILE *f, const char *name, const struct spec_chardev *d)
{
	fprintf(f, "    <%s type='%s'", name, spec_chars[d->type]);
	if (!d->path) {
		fputs("/>\n", f);
		return;
	}
	fputs(">\n      <source", f);
	put_attr(f, "path", d->path);
	if (d->append)
		put_attr(f, "append", "on");
	fprintf(f, "/>\n    </%s>\n", name);
}

static void put_devices(FILE *f, const struct machine_spec *s)
{
	fputs("  <devices>\n", f);
	for (u32 n = 0; n < s->disks; n++)
		put_disk(f, &s->disk[n]);
	for (u32 n = 0; n < s->serials; n++)
		put_chardev(f, "serial", &s->serial[n]);
	if (s->has_parallel)
		put_chardev(f, "parallel", &s->parallel);
	if (s->vnc.on) {
		fputs("    <graphics type='vnc'", f);
		put_attr(f, "socket", s->vnc.socket);
		put_attr(f, "listen", s->vnc.listen);
		if (s->vnc.port)
			fprintf(f, " port='%u'", s->vnc.port);
		put_attr(f, "passwdFile", s->vnc.password_file);
		fputs("/>\n", f);
	}
	fprintf(f, "    <video>\n      <model type='%s'/>\n    </video>\n  </devices>\n",
		spec_videos[s->video]);
}

static void put_pogo(FILE *f, const struct machine_spec *s)
{
	if (!s->engine && !s->clock && !s->entry && !s->cache && !s->debug_exit && !s->timeout_s)
		return;
	fputs("  <pogo>\n", f);
	put_element(f, 4, "engine", s->engine);
	if (s->cache)
		put_size(f, 4, "cache", s->cache);
	put_element(f, 4, "time", s->clock);
	put_element(f, 4, "entry", s->entry);
	if (s->debug_exit)
		fprintf(f, "    <debugexit port='0x%x'/>\n", s->debug_exit);
	if (s->timeout_s)
		fprintf(f, "    <timeout>%u</timeout>\n", s->timeout_s);
	fputs("  </pogo>\n", f);
}

char *machine_xml_write(const struct machine_spec *s)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fputs("<domain type='pogo'>\n", f);
	put_element(f, 2, "name", s->name);
	put_element(f, 2, "uuid", s->uuid);
	put_element(f, 2, "title", s->title);
	put_size(f, 2, "memory", s->memory);
	fprintf(f, "  <vcpu>%u</vcpu>\n", s->cpus);
	put_os(f, s);
	fputs("  <cpu>\n  ", f);
	put_element(f, 2, "model", s->cpu);
	fputs("  </cpu>\n  <clock offset='utc'/>\n  <on_poweroff>destroy</on_poweroff>\n", f);
	put_element(f, 2, "on_reboot", spec_actions[s->on_reboot]);
	fputs("  <on_crash>destroy</on_crash>\n", f);
	put_devices(f, s);
	put_pogo(f, s);
	fputs("</domain>\n", f);
	bool failed = ferror(f);

	if (fclose(f) || failed) {
		free(text);
		return NULL;
	}
	return text;
}

/* All of it; a negative errno. */
static int write_whole(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		left -= (size_t)n;
	}
	return fsync(fd) ? -errno : 0;
}

bool machine_xml_create(const struct machine_spec *spec, const char *path, char *err, size_t errlen)
{
	char *text = machine_xml_write(spec);
	int fd, code;

	if (!text) {
		snprintf(err, errlen, "%s: no memory", path);
		return false;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	code = fd < 0 ? -errno : write_whole(fd, text);
	if (fd >= 0 && close(fd) && !code)
		code = -errno;
	if (code && fd >= 0)
		unlink(path);
	free(text);
	if (code == -EEXIST)
		snprintf(err, errlen, "%s is there already; choose another name, or remove it",
			 path);
	else if (code)
		snprintf(err, errlen, "%s: cannot be written: %s", path, fail_text(-code));
	return !code;
}
