/* Fuzzes machine files: what is accepted is written and read again to the same, what is refused is refused with one line. */
#include "control/machine_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static _Noreturn void wrong(const char *what, const char *text)
{
	fprintf(stderr, "%s: %s\n", what, text);
	abort();
}

static char *write_again(const char *text, struct machine_spec *spec)
{
	char err[1024] = "", *again;

	if (!machine_xml_parse(spec, "dir/web.xml", text, strlen(text), err, sizeof(err)))
		wrong(err, text);
	again = machine_xml_write(spec);
	spec_free(spec);
	return again;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct machine_spec spec, second;
	struct machine_config config;
	char err[1024] = "", *text = malloc(size ? size : 1), *written, *again;

	memcpy(text, data, size); /* an end that the address sanitizer sees */
	if (machine_xml_parse(&spec, "dir/web.xml", text, size, err, sizeof(err))) {
		written = machine_xml_write(&spec);
		again = write_again(written, &second);
		if (strcmp(written, again))
			wrong("what was read back differs", written);
		if (!spec_config(&spec, &config, err, sizeof(err)) && !err[0])
			wrong("refused without a reason", written);
		spec_free(&spec);
		free(written);
		free(again);
	} else if (!err[0] || strchr(err, '\n')) {
		wrong("refused without one line of reason", err);
	}
	free(text);
	return 0;
}
