#include "core/opt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool opt_parse_size(const char *text, u64 *bytes)
{
	static const char units[] = "KMGT";
	char *end;
	unsigned shift = 20;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	u64 n = strtoull(text, &end, 10);

	if (*end) {
		const char *u = strchr(units, *end & ~0x20);

		if (!u)
			return false;
		shift = 10 * (unsigned)(u - units + 1);
		end++;
		if (!strcmp(end, "iB") || !strcmp(end, "B"))
			end += strlen(end);
	}
	if (*end || errno || n > UINT64_MAX >> shift)
		return false;
	*bytes = n << shift;
	return true;
}

static const char *size_text(u64 bytes, char *buf, size_t len)
{
	static const char units[] = " KMGT";
	unsigned u = 0;

	while (u < 4 && bytes >= 1024 && bytes % 1024 == 0) {
		bytes /= 1024;
		u++;
	}
	if (u)
		snprintf(buf, len, "%llu%c", (unsigned long long)bytes, units[u]);
	else
		snprintf(buf, len, "%llu bytes", (unsigned long long)bytes);
	return buf;
}

/* The word of a space-separated list that equals text, or NULL. */
static bool in_words(const char *words, const char *text)
{
	size_t len = strlen(text);

	for (const char *w = words; *w;) {
		size_t n = strcspn(w, " ");

		if (n == len && !strncmp(w, text, n))
			return true;
		w += n + (w[n] == ' ');
	}
	return false;
}

static bool store_size(const struct opt *o, void *field, const char *value, char *err,
		       size_t errlen)
{
	char low[32], high[32];
	u64 n;

	if (!opt_parse_size(value, &n)) {
		snprintf(err, errlen, "--%s %s: not a size; write for example %s 512M or %s 2G",
			 o->key, value, o->key, o->key);
		return false;
	}
	if (n < o->min || n > o->max) {
		snprintf(err, errlen, "--%s %s: must be from %s to %s%s", o->key, value,
			 size_text(o->min, low, sizeof(low)), size_text(o->max, high, sizeof(high)),
			 value[strspn(value, "0123456789")] ? "" : "; without a unit it is MiB");
		return false;
	}
	memcpy(field, &n, sizeof(n));
	return true;
}

static bool store_uint(const struct opt *o, void *field, const char *value, char *err,
		       size_t errlen)
{
	char *end;
	u32 n32;

	errno = 0;
	u64 n = strtoull(value, &end, 0);

	if (*value < '0' || *value > '9' || *end || errno || n < o->min || n > o->max) {
		snprintf(err, errlen, "--%s %s: must be a number from %llu to %llu", o->key, value,
			 (unsigned long long)o->min, (unsigned long long)o->max);
		return false;
	}
	n32 = (u32)n;
	memcpy(field, &n32, sizeof(n32));
	return true;
}

static bool store(const struct opt *o, void *config, const char *value, char *err, size_t errlen)
{
	void *field = (u8 *)config + o->offset;
	struct opt_list *list = field;

	switch (o->kind) {
	case OPT_SIZE: return store_size(o, field, value, err, errlen);
	case OPT_UINT: return store_uint(o, field, value, err, errlen);
	case OPT_LIST:
		if (list->count == OPT_LIST_MAX) {
			snprintf(err, errlen, "--%s: at most %u of them", o->key, OPT_LIST_MAX);
			return false;
		}
		list->item[list->count++] = value;
		return true;
	case OPT_CHOICE:
		if (!in_words(o->choices, value)) {
			snprintf(err, errlen, "--%s %s: choose one of: %s", o->key, value,
				 o->choices);
			return false;
		}
		break;
	case OPT_STRING:
	case OPT_FLAG:
	case OPT_HELP: break;
	}
	memcpy(field, &value, sizeof(value));
	return true;
}

/* Moves *config on to the struct that the row is for. */
static const struct opt *opt_find(const struct opt *opts, const char *key, size_t len,
				  void **config)
{
	for (const struct opt *o = opts; o->key || o->rows; o++) {
		if (o->rows) {
			void *part = (u8 *)*config + o->offset;
			const struct opt *found = opt_find(o->rows, key, len, &part);

			if (!found)
				continue;
			*config = part;
			return found;
		}
		if (strlen(o->key) == len && !strncmp(o->key, key, len))
			return o;
	}
	return NULL;
}

int opt_parse(const struct opt *opts, void *config, int argc, char **argv, const char **words,
	      int max_words, bool *help, char *err, size_t errlen)
{
	int count = 0;

	*help = false;
	for (int n = 1; n < argc; n++) {
		const char *arg = argv[n];

		if (!strcmp(arg, "-h"))
			arg = "--help";
		if (strncmp(arg, "--", 2) || !arg[2]) {
			if (count == max_words) {
				snprintf(err, errlen, "unexpected argument '%s'", arg);
				return -1;
			}
			words[count++] = arg;
			continue;
		}
		size_t len = strcspn(arg + 2, "=");
		const char *value = arg[2 + len] ? arg + 3 + len : NULL;
		void *target = config;
		const struct opt *o = opt_find(opts, arg + 2, len, &target);

		if (!o) {
			snprintf(err, errlen, "unknown option '%.*s'", (int)len + 2, arg);
			return -1;
		}
		if (o->kind == OPT_HELP || o->kind == OPT_FLAG) {
			if (value) {
				snprintf(err, errlen, "--%s takes no value", o->key);
				return -1;
			}
			*(o->kind == OPT_HELP ? help : (bool *)((u8 *)target + o->offset)) = true;
			continue;
		}
		/* A value that may be left out is the next word unless that is an option. */
		if (!value && n + 1 < argc && !(o->implied && argv[n + 1][0] == '-'))
			value = argv[++n];
		else if (!value)
			value = o->implied;
		if (!value) {
			snprintf(err, errlen, "--%s needs a value: --%s %s", o->key, o->key,
				 o->value);
			return -1;
		}
		if (!store(o, target, value, err, errlen))
			return -1;
	}
	return count;
}

void opt_help(const struct opt *opts, void *file)
{
	for (const struct opt *o = opts; o->key || o->rows; o++) {
		char left[64];

		if (o->rows) {
			opt_help(o->rows, file);
			continue;
		}
		if (o->implied)
			snprintf(left, sizeof(left), "--%s[=%s]", o->key, o->value);
		else
			snprintf(left, sizeof(left), "--%s %s", o->key, o->value ? o->value : "");
		fprintf(file, "  %-24s %s\n", left, o->help);
	}
}
