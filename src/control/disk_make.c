/* `pogo disk create` and `resize`. */
#include "control/disk.h"

#include "base/fail.h"
#include "base/log.h"
#include "control/command.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* FILE:SIZE, or FILE and --size; a parent's size is the default. What follows the last colon of a name is a size if nothing else gives
 * one. */
static int create_size(const struct disk_args *a, char *path, size_t room, u64 *size)
{
	const char *word = a->words[0], *colon = strrchr(word, ':'), *text = a->size;
	size_t length = strlen(word);

	if (!text && colon && colon > word && disk_size(colon + 1, size)) {
		length = (size_t)(colon - word);
		text = colon + 1;
	}
	if (length == 0 || length >= room)
		return disk_usage_error("disk create: '%s' is no name of a file", word);
	memcpy(path, word, length);
	path[length] = 0;
	*size = 0;
	if (!text && a->parent)
		return EXIT_OK;
	if (!text && colon && colon[1] >= '0' && colon[1] <= '9')
		text = colon + 1;
	if (!text)
		return disk_usage_error(
			"disk create: how large? For example: pogo disk create %.*s:20G",
			(int)(length - (colon && !colon[1])), word);
	if (!disk_size(text, size))
		return disk_usage_error(
			"disk create: '%s' is not a size; write for example 512M or 20G", text);
	if (*size == 0 || *size % BLOCK_SECTOR)
		return disk_usage_error(
			"disk create: the size must be a multiple of %u bytes, and not 0",
			BLOCK_SECTOR);
	return EXIT_OK;
}

int disk_create(struct disk_args *a)
{
	char err[1024];
	struct block_create c = { .path = a->path,
				  .format = a->format,
				  .variant = a->variant,
				  .parent = a->parent,
				  .parent_format = a->parent_format,
				  .cluster_size = (u32)a->cluster_size };
	int code = create_size(a, a->path, sizeof(a->path), &c.size);

	if (code)
		return code;
	a->written = a->path;
	if (block_create(&c, err, sizeof(err)) == 0)
		return EXIT_OK;
	log_error("%s", err);
	return EXIT_ERROR;
}

int disk_resize(struct disk_args *a)
{
	const char *path = a->words[0], *text = a->words[1];
	bool more = text[0] == '+', good;
	struct block *block;
	char err[1024] = "";
	u64 size;
	int r;

	if (!disk_size(text + more, &size) || size % BLOCK_SECTOR || (!size && !more))
		return disk_usage_error(
			"disk resize: '%s' is not a size; write for example 20G, or +5G to add to what is there",
			text);
	block = disk_open(path, a->format, false, BLOCK_BACKING_ANY);
	if (!block)
		return EXIT_ERROR;
	a->written = path;
	if (more && size > INT64_MAX - block->size) {
		log_error("disk '%s' cannot be that large", path);
	} else if (!block->ops->resize) {
		log_error(
			"disk '%s': the size of a %s image cannot be changed; convert it: pogo disk convert",
			path, block->ops->name);
	} else {
		size += more ? block->size : 0;
		if (size < block->size && !a->shrink) {
			log_error(
				"disk '%s' is larger than that, and what lies behind the new end would be lost; if that is meant, add --shrink",
				path);
		} else {
			r = block->ops->resize(block, size, err, sizeof(err));
			if (r)
				log_error("%s", err[0] ? err : fail_text(-r));
			good = disk_finish(block);
			return !r && good ? EXIT_OK : EXIT_ERROR;
		}
	}
	block_close(block);
	return EXIT_ERROR;
}
