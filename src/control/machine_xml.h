/* The machine file: libvirt's domain vocabulary, where it has a word, as docs/pogo-machine.5.scd describes it and
 * docs/schema/pogo-machine.rng defines it. */
#ifndef CONTROL_MACHINE_XML_H
#define CONTROL_MACHINE_XML_H

#include "control/spec.h"

/* A document beyond this is refused unread. Attributes of one element are compared each with each, which bounds it from above. */
#define MACHINE_XML_MAX   (256 * KIB)
#define MACHINE_XML_DEPTH 64u

/* Reads and checks a machine file. The spec is the caller's to free if true is returned; else one line in err: file, line, what
 * is wrong, the fix. No other file is opened, nothing is fetched. */
bool machine_xml_read(struct machine_spec *spec, const char *path, char *err, size_t errlen)
	must_check;
/* The same with a document in memory; path is what messages call it and what relative paths are relative to. */
bool machine_xml_parse(struct machine_spec *spec, const char *path, const char *text, size_t size,
		       char *err, size_t errlen) must_check;
/* The document of a spec, for free(). NULL: no memory. What was read back from it equals the spec. */
char *machine_xml_write(const struct machine_spec *spec) must_check;
/* Writes it to a file that must not exist yet. */
bool machine_xml_create(const struct machine_spec *spec, const char *path, char *err, size_t errlen)
	must_check;

#endif
