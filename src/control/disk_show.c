/* `pogo disk info` and `check`. */
#include "control/disk.h"

#include "base/log.h"
#include "control/command.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* --- info ----------------------------------------------------------------------------------------- */

static u64 disk_usage(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : (u64)st.st_blocks * 512;
}

static void print_size(const char *label, u64 bytes)
{
	char text[32];

	printf("%-12s%s", label, disk_size_text(bytes, text, sizeof(text)));
	if (bytes >= 1024)
		printf(" (%llu bytes)", (unsigned long long)bytes);
	putchar('\n');
}

static void print_snapshots(const struct block_info *info)
{
	for (unsigned n = 0; n < MIN(info->snapshots, ARRAY_LEN(info->snapshot)); n++) {
		const struct block_snapshot *s = &info->snapshot[n];
		time_t when = (time_t)s->seconds;
		struct tm tm;
		char date[32] = "?";

		if (gmtime_r(&when, &tm))
			strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
		printf("%-12s%s  %s  %s UTC%s\n", n ? "" : "snapshots", s->id, s->name, date,
		       s->vm_state_size ? "  with the machine's state" : "");
	}
	if (info->snapshots > ARRAY_LEN(info->snapshot))
		printf("%-12sand %u more\n", "",
		       info->snapshots - (unsigned)ARRAY_LEN(info->snapshot));
}

static void print_info(const char *path, const struct block_info *info)
{
	printf("%-12s%s\n", "file", path);
	printf("%-12s%s%s%s\n", "format", info->format, info->variant ? ", " : "",
	       info->variant ? info->variant : "");
	print_size("size", info->size);
	print_size("allocated", info->allocated);
	print_size("file size", info->file_size);
	print_size("on disk", disk_usage(path));
	if (info->cluster_size)
		print_size("cluster", info->cluster_size);
	if (info->parent[0])
		printf("%-12s%s%s%s\n", "parent", info->parent, info->parent_format[0] ? ", " : "",
		       info->parent_format);
	if (info->dirty)
		printf("%-12sit was not closed; see `pogo disk check`\n", "state");
	print_snapshots(info);
	if (info->note[0])
		printf("%-12s%s\n", "note", info->note);
}

/* Names in images may be any bytes. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);

	if (json)
		return json;
	size_t length = strlen(text);
	char *clean = malloc(length + 1);

	if (!clean)
		return json_null();
	for (size_t n = 0; n <= length; n++)
		clean[n] = text[n] & 0x80 ? '?' : text[n];
	json = json_string(clean);
	free(clean);
	return json ? json : json_null();
}

static json_t *info_json(const char *path, const struct block_info *info)
{
	json_t *json = json_object(), *list;

	json_object_set_new(json, "file", text_json(path));
	json_object_set_new(json, "format", json_string(info->format));
	if (info->variant)
		json_object_set_new(json, "variant", json_string(info->variant));
	json_object_set_new(json, "size", json_integer((json_int_t)info->size));
	json_object_set_new(json, "allocated", json_integer((json_int_t)info->allocated));
	json_object_set_new(json, "file-size", json_integer((json_int_t)info->file_size));
	json_object_set_new(json, "on-disk", json_integer((json_int_t)disk_usage(path)));
	if (info->cluster_size)
		json_object_set_new(json, "cluster-size", json_integer(info->cluster_size));
	if (info->parent[0])
		json_object_set_new(json, "parent", text_json(info->parent));
	if (info->parent_format[0])
		json_object_set_new(json, "parent-format", text_json(info->parent_format));
	json_object_set_new(json, "dirty", json_boolean(info->dirty));
	if (info->note[0])
		json_object_set_new(json, "note", text_json(info->note));
	json_object_set_new(json, "snapshots", list = json_array());
	for (unsigned n = 0; n < MIN(info->snapshots, ARRAY_LEN(info->snapshot)); n++) {
		const struct block_snapshot *s = &info->snapshot[n];
		json_t *one = json_object();

		json_object_set_new(one, "id", text_json(s->id));
		json_object_set_new(one, "name", text_json(s->name));
		json_object_set_new(one, "seconds", json_integer(s->seconds));
		json_object_set_new(one, "vm-state-size",
				    json_integer((json_int_t)s->vm_state_size));
		json_array_append_new(list, one);
	}
	return json;
}

/* Where the parent is, seen from the caller's directory. */
static void parent_path(char *path, size_t room, const char *parent)
{
	const char *slash = strrchr(path, '/');
	size_t dir = slash && parent[0] != '/' ? (size_t)(slash - path) + 1 : 0;

	snprintf(path + dir, room - dir, "%s", parent);
}

int disk_info(struct disk_args *a)
{
	char path[2 * PATH_MAX], format[16] = "";
	struct block_info *info = malloc(sizeof(*info));
	json_t *list = json_array();
	int code = EXIT_ERROR;
	unsigned count = 0;

	if (!info || !list || strlen(a->words[0]) >= PATH_MAX)
		goto out;
	snprintf(path, sizeof(path), "%s", a->words[0]);
	if (a->format)
		snprintf(format, sizeof(format), "%s", a->format);
	do {
		struct block *block =
			disk_open(path, format[0] ? format : NULL, true, BLOCK_BACKING_UNSEEN);

		if (!block)
			goto out;
		*info = (struct block_info){ .format = block->ops->name, .size = block->size };
		if (block->ops->info)
			block->ops->info(block, info);
		block_close(block);
		if (a->json) {
			json_array_append_new(list, info_json(path, info));
		} else {
			if (count)
				putchar('\n');
			print_info(path, info);
		}
		parent_path(path, PATH_MAX, info->parent);
		snprintf(format, sizeof(format), "%s", info->parent_format);
		count++;
	} while (a->chain && info->parent[0] && count < BLOCK_CHAIN_MAX);
	code = EXIT_OK;
	if (a->json)
		disk_print_json(json_incref(a->chain ? list : json_array_get(list, 0)));
out:
	json_decref(list);
	free(info);
	return code;
}

/* --- check ---------------------------------------------------------------------------------------- */

static void print_line(void *opaque, const char *line)
{
	(void)opaque;
	puts(line);
}

static void collect_line(void *opaque, const char *line)
{
	json_array_append_new(opaque, text_json(line));
}

static void print_check(const char *path, const struct block_check *c, bool repair)
{
	if (c->errors || c->leaks)
		printf("%s: %llu errors, %llu lost clusters", path, (unsigned long long)c->errors,
		       (unsigned long long)c->leaks);
	else
		printf("%s: clean", path);
	if (c->repaired)
		printf(", %llu repaired", (unsigned long long)c->repaired);
	if (c->clusters)
		printf(" (%.1f%% allocated)", 100.0 * (double)c->allocated / (double)c->clusters);
	putchar('\n');
	if (!repair && (c->errors || c->leaks))
		printf("repair it with: pogo disk check --repair '%s'\n", path);
}

static void print_check_json(const char *path, const struct block *block,
			     const struct block_check *c, json_t *lines)
{
	json_t *json = json_object();

	json_object_set_new(json, "file", text_json(path));
	json_object_set_new(json, "format", json_string(block->ops->name));
	json_object_set_new(json, "errors", json_integer((json_int_t)c->errors));
	json_object_set_new(json, "leaks", json_integer((json_int_t)c->leaks));
	json_object_set_new(json, "repaired", json_integer((json_int_t)c->repaired));
	json_object_set_new(json, "clusters", json_integer((json_int_t)c->clusters));
	json_object_set_new(json, "allocated", json_integer((json_int_t)c->allocated));
	json_object_set_new(json, "findings", lines);
	disk_print_json(json);
}

int disk_check(struct disk_args *a)
{
	const char *path = a->words[0];
	struct block_options o = { .path = path,
				   .format = a->format,
				   .readonly = !a->repair,
				   .repair = a->repair,
				   .backing = BLOCK_BACKING_UNSEEN };
	struct block *block = NULL;
	char err[1024];
	json_t *lines = json_array();
	struct block_check c = { .report = a->json ? collect_line : print_line, .opaque = lines };
	bool stored;
	int r = 0;

	if (block_open(&block, &o, err, sizeof(err))) {
		log_error("%s", err);
		json_decref(lines);
		return EXIT_ERROR;
	}
	if (block->ops->check)
		r = block->ops->check(block, &c, a->repair);
	if (!r && c.repaired) { /* what is left now? */
		struct block_check again = { 0 };

		r = block->ops->check(block, &again, false);
		again.repaired = c.repaired;
		c = again;
	}
	if (r)
		log_error("disk '%s' cannot be checked: %s", path, strerror(-r));
	else if (a->json)
		print_check_json(path, block, &c, json_incref(lines));
	else
		print_check(path, &c, a->repair);
	json_decref(lines);
	stored = disk_finish(block);
	if (r || c.errors || !stored)
		return EXIT_ERROR;
	return c.leaks ? DISK_EXIT_LEAKS : EXIT_OK;
}
