/* Commands for a machine's screen and keyboard: screendump and send-key are QMP's, what has x-pogo- before it is not. */
#include "control/instance.h"
#include "control/keymap.h"
#include "control/screenshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 16u /* held together */

static json_t *failed(struct qmp_call *call, const char *text)
{
	snprintf(call->error, sizeof(call->error), "%s", text);
	return NULL;
}

static const char *text_arg(const struct qmp_call *call, const char *name)
{
	return json_string_value(json_object_get(call->args, name));
}

/* NULL with the reason in call->error: there is nothing to look at, or nobody who types. */
static struct screen *find_screen(struct qmp_call *call)
{
	struct screen *s = machine_screen(call->instance->machine);

	if (!s)
		failed(call,
		       "the machine has no screen; <video><model type='vga'/></video> gives it one");
	return s;
}

static struct keyboard *find_keyboard(struct qmp_call *call)
{
	struct screens *screens = call->instance->screens;

	if (!screens)
		failed(call, "the machine has no keyboard yet, or no longer");
	return screens ? &screens->keyboard : NULL;
}

static json_t *screendump(struct qmp_call *call)
{
	const char *format = text_arg(call, "format");
	struct screen *s;

	if (format && strcmp(format, "png"))
		return failed(call, "screendump: the only format is png");
	s = find_screen(call);
	if (!s || screenshot_png(s, text_arg(call, "filename"), call->error, sizeof(call->error)))
		return NULL;
	return json_object();
}

static json_t *screen_text(struct qmp_call *call)
{
	struct screen *s = find_screen(call);
	char *text = s ? screenshot_text(s) : NULL;
	json_t *answer;

	if (!s)
		return NULL;
	if (!text)
		return failed(
			call,
			"the screen is not in a text mode; make a picture of it (screendump, `pogo screenshot`)");
	answer = json_pack("{s:s}", "text", text);
	free(text);
	return answer;
}

/* A make code of QMP's KeyValue: {"type": "qcode", "data": "ret"}, or {"type": "number", "data": 28}. 0: neither. */
static u16 key_code(const json_t *key)
{
	const char *type = json_string_value(json_object_get(key, "type"));
	const json_t *data = json_object_get(key, "data");
	json_int_t number = json_integer_value(data);

	if (type && !strcmp(type, "qcode") && json_is_string(data))
		return keymap_name(json_string_value(data));
	/* One byte, and QMP's bit 7 for those with the prefix E0h. */
	if (type && !strcmp(type, "number") && number > 0 && number < 0x100)
		return (u16)((number & 0x7f) | (number & 0x80 ? 0xe000 : 0));
	return 0;
}

/* Down in the order of the array, up in the reverse order. */
static json_t *send_key(struct qmp_call *call)
{
	const json_t *keys = json_object_get(call->args, "keys");
	struct keyboard *k = find_keyboard(call);
	size_t n = json_array_size(keys);
	u16 code[KEYS_MAX];

	if (!k)
		return NULL;
	if (!n || n > KEYS_MAX)
		return failed(call, "send-key: keys must have 1 to 16 elements");
	for (size_t at = 0; at < n; at++) {
		code[at] = key_code(json_array_get(keys, at));
		if (code[at])
			continue;
		snprintf(
			call->error, sizeof(call->error),
			"send-key: element %zu of keys is no key; write {\"type\": \"qcode\", \"data\": \"ret\"}",
			at);
		return NULL;
	}
	if (k->count + 2 * n > KEYBOARD_QUEUE)
		return failed(call, "send-key: the guest takes no keys, too many wait");
	for (size_t at = 0; at < n; at++)
		keyboard_key(k, code[at], true);
	for (size_t at = n; at > 0; at--)
		keyboard_key(k, code[at - 1], false);
	return json_object();
}

/* Nothing of a text that has a character without a key; else as much as fits: `typed` tells. */
static json_t *type_text(struct qmp_call *call)
{
	const char *text = text_arg(call, "text");
	struct keyboard *k = find_keyboard(call);
	size_t n = strlen(text);
	bool shift;

	if (!k)
		return NULL;
	for (size_t at = 0; at < n; at++) {
		if (keymap_char((u8)text[at], &shift))
			continue;
		snprintf(call->error, sizeof(call->error),
			 "x-pogo-type: no key of a US keyboard types character %zu (%02xh)", at + 1,
			 (u8)text[at]);
		return NULL;
	}
	return json_pack("{s:I}", "typed", (json_int_t)keyboard_type(k, text, n));
}

const struct qmp_command qmp_screen_commands[] = {
	{ "screendump", "filename:s format?:s", screendump },
	{ "send-key", "keys:a", send_key },
	{ "x-pogo-screen-text", "", screen_text },
	{ "x-pogo-type", "text:s", type_text },
	{ 0 },
};
