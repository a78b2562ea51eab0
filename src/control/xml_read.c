/* Reads a machine file by the rules of xml_rules.c. */
#include "control/machine_xml.h"

#include "control/suggest.h"
#include "control/xml_rules.h"
#include "x86/cpuid.h"

#include <errno.h>
#include <fcntl.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOWN 60 /* characters of a value in a message */

bool xml_fail(struct xml_reader *r, u32 line, const char *fmt, ...)
{
	va_list ap;
	int n = line ? snprintf(r->err, r->errlen, "%s:%u: ", r->spec->file, line)
		     : snprintf(r->err, r->errlen, "%s: ", r->spec->file);

	if (n < 0 || (size_t)n >= r->errlen)
		return false;
	va_start(ap, fmt);
	vsnprintf(r->err + n, r->errlen - (size_t)n, fmt, ap);
	va_end(ap);
	/* One line, whatever value it quotes. */
	for (char *c = r->err + n; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	return false;
}

static u32 line_of(const xmlNode *node)
{
	long line = xmlGetLineNo(node);

	return line > 0 ? (u32)line : 0;
}

/* "a, b or c" */
static const char *join(const char *const *words, char *buf, size_t size)
{
	size_t n = 0;

	buf[0] = 0;
	for (unsigned k = 0; words[k] && n < size; k++)
		n += (size_t)snprintf(buf + n, size - n, "%s%s",
				      k == 0         ? ""
				      : words[k + 1] ? ", "
						     : " or ",
				      words[k]);
	return buf;
}

static unsigned count_words(const char *const *words)
{
	unsigned n = 0;

	while (words[n])
		n++;
	return n;
}

/* --- Values ---------------------------------------------------------------------------------- */

/* Where a value stands, for messages. */
struct place {
	const xmlNode *node;
	const char *attr; /* NULL: the element's text */
};

/* "<vcpu>" or "<target bus>" */
static const char *place_name(const struct place *p, char *buf, size_t size)
{
	snprintf(buf, size, p->attr ? "<%.40s %.40s>" : "<%.40s>", (const char *)p->node->name,
		 p->attr);
	return buf;
}

static bool printf_like(4, 5) bad_value(struct xml_reader *r, const struct place *p,
					const char *text, const char *fmt, ...)
{
	char name[96], fix[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(fix, sizeof(fix), fmt, ap);
	va_end(ap);
	return xml_fail(r, line_of(p->node), "%s '%.*s': %s", place_name(p, name, sizeof(name)),
			SHOWN, text, fix);
}

static bool bad_word(struct xml_reader *r, const struct place *p, const char *text,
		     const char *const *words)
{
	const char *nearest = suggest_nearest(text, words, count_words(words));
	char list[256];

	if (nearest)
		return bad_value(r, p, text, "no such word; did you mean '%s'?", nearest);
	return bad_value(r, p, text, "write %s", join(words, list, sizeof(list)));
}

/* XML's white space around a word or number does not count. */
static const char *trim(const char *text, char *buf, size_t size)
{
	static const char space[] = " \t\r\n";
	size_t n;

	text += strspn(text, space);
	n = strlen(text);
	while (n && strchr(space, text[n - 1]))
		n--;
	if (n >= size)
		return NULL;
	memcpy(buf, text, n);
	buf[n] = 0;
	return buf;
}

static int word_index(const char *const *words, const char *text)
{
	for (unsigned n = 0; words[n]; n++)
		if (!strcmp(words[n], text))
			return (int)n;
	return -1;
}

/* Decimal digits alone, or after "0x" hexadecimal ones. */
static bool read_number(const char *text, bool hex, u64 *value)
{
	const char *digits = hex ? "0123456789abcdefABCDEF" : "0123456789";
	char *end;

	if (hex && strncmp(text, "0x", 2))
		return false;
	text += hex ? 2 : 0;
	if (!*text || text[strspn(text, digits)] || strlen(text) > 18)
		return false;
	*value = strtoull(text, &end, hex ? 16 : 10);
	return true;
}

static bool store_word(struct xml_reader *r, const struct place *p, const struct xml_value *v,
		       const char *text, void *field)
{
	int index = word_index(v->words, text);

	if (index < 0)
		return bad_word(r, p, text, v->words);
	switch (v->kind) {
	case XML_WORD: *(const char **)field = v->words[index]; break;
	case XML_CHOICE: *(u32 *)field = (u32)index; break;
	case XML_SWITCH: *(bool *)field = index == 1; break;
	default: break;
	}
	return true;
}

static bool store_number(struct xml_reader *r, const struct place *p, const struct xml_value *v,
			 const char *text, u32 *field)
{
	bool hex = v->kind == XML_PORT;
	u64 value;

	if (!read_number(text, hex, &value) || value < v->min || value > v->max)
		return bad_value(r, p, text,
				 hex ? "write a number from 0x%llx to 0x%llx"
				     : "write a number from %llu to %llu",
				 (unsigned long long)v->min, (unsigned long long)v->max);
	*field = (u32)value;
	return true;
}

/* libvirt's rule: KiB unless the unit is named. */
static bool store_size(struct xml_reader *r, const struct place *p, const struct xml_value *v,
		       const char *text, u64 *field)
{
	xmlChar *attr = xmlGetNoNsProp(p->node, (const xmlChar *)"unit");
	char word[16];
	const char *name = attr ? trim((const char *)attr, word, sizeof(word)) : "KiB";
	u64 value, unit = name ? xml_unit_bytes(name) : 0;

	xmlFree(attr);
	if (!read_number(text, false, &value))
		return bad_value(r, p, text,
				 "not a number; write for example <%s unit='MiB'>512</%s>",
				 (const char *)p->node->name, (const char *)p->node->name);
	if (!unit || value > v->max / unit || value * unit < v->min)
		return bad_value(r, p, text, "must be %llu MiB to %llu MiB; the unit is %s",
				 (unsigned long long)(v->min / MIB),
				 (unsigned long long)(v->max / MIB),
				 attr ? "that of the attribute" : "KiB, since none is named");
	*field = value * unit;
	return true;
}

static bool check_engine(struct xml_reader *r, const struct place *p, const char *text)
{
	const char *names[16];
	unsigned n = 0;

	if (engine_find(text))
		return true;
	for (; engines[n] && n < ARRAY_LEN(names) - 1; n++)
		names[n] = engines[n]->name;
	names[n] = NULL;
	return bad_word(r, p, text, names);
}

static bool store_text(struct xml_reader *r, const struct place *p, const struct xml_value *v,
		       const char *text, const char **field)
{
	for (const char *c = text; *c; c++)
		if ((u8)*c < ' ' || *c == 0x7f)
			return bad_value(r, p, "", "has a control character; write it on one line");
	if (v->kind == XML_PATH && !*text)
		return bad_value(r, p, text, "empty; write a value, or remove it");
	if (strlen(text) > (v->max ? v->max : 4095))
		return bad_value(r, p, text, "longer than %llu characters",
				 (unsigned long long)(v->max ? v->max : 4095));
	if (v->kind == XML_NAME && !spec_name_good(text))
		return bad_value(
			r, p, text,
			"write 1 to %u letters, digits and . _ - +, the first a letter or digit",
			SPEC_NAME_MAX);
	if (v->kind == XML_UUID && !spec_uuid_good(text))
		return bad_value(r, p, text,
				 "write 32 hexadecimal digits as 8-4-4-4-12, or remove it");
	if (v->kind == XML_MODEL && !cpuid_model_find(text))
		return bad_value(r, p, text, "no such model; choose one of: %s",
				 cpuid_model_list());
	if (v->kind == XML_ENGINE && !check_engine(r, p, text))
		return false;
	*field = spec_keep(r->spec, text, SIZE_MAX);
	return *field || xml_fail(r, 0, "no memory");
}

static bool store(struct xml_reader *r, const struct place *p, const struct xml_value *v,
		  const char *text, void *object)
{
	void *field = (u8 *)object + v->offset;
	char buf[SHOWN + 4] = "";
	const char *word;

	switch (v->kind) {
	case XML_NOTHING:
	case XML_PRESENT:
		if (text[strspn(text, " \t\r\n")])
			return bad_value(r, p, text, "the element takes no text; remove it");
		if (v->kind == XML_PRESENT)
			*(bool *)field = true;
		return true;
	case XML_STRING:
	case XML_PATH:
	case XML_NAME:
	case XML_UUID: return store_text(r, p, v, text, field);
	default: break;
	}
	word = trim(text, buf, sizeof(buf));
	if (!word)
		return bad_value(r, p, text, "too long");
	switch (v->kind) {
	case XML_NUMBER:
	case XML_PORT: return store_number(r, p, v, word, field);
	case XML_SIZE: return store_size(r, p, v, word, field);
	case XML_MODEL:
	case XML_ENGINE: return store_text(r, p, v, word, field);
	default: return store_word(r, p, v, word, field);
	}
}

/* --- Elements -------------------------------------------------------------------------------- */

static bool unknown(struct xml_reader *r, const xmlNode *node, const char *what, const char *name,
		    const char *around, const char *const *known)
{
	const char *nearest = suggest_nearest(name, known, count_words(known));
	char list[384];

	if (nearest)
		return xml_fail(r, line_of(node),
				"%s '%.*s' is not known in <%s>; did you mean '%s'?", what, SHOWN,
				name, around, nearest);
	if (!known[0])
		return xml_fail(r, line_of(node),
				"%s '%.*s' is not known in <%s>, which has none; remove it", what,
				SHOWN, name, around);
	return xml_fail(r, line_of(node), "%s '%.*s' is not known in <%s>; it may have %s", what,
			SHOWN, name, around, join(known, list, sizeof(list)));
}

static bool unknown_attr(struct xml_reader *r, const xmlNode *node, const struct xml_rule *rule,
			 const char *name)
{
	const char *known[XML_CHILDREN + 1];
	unsigned n = 0;

	for (const struct xml_attr *a = rule->attrs; a && a->name && n < XML_CHILDREN; a++)
		known[n++] = a->name;
	known[n] = NULL;
	return unknown(r, node, "attribute", name, rule->name, known);
}

static bool unknown_element(struct xml_reader *r, const xmlNode *node, const struct xml_rule *rule)
{
	const char *known[XML_CHILDREN + 1];
	unsigned n = 0;

	for (const struct xml_child *c = rule->children; c && c->rule && n < XML_CHILDREN; c++)
		known[n++] = c->rule->name;
	known[n] = NULL;
	return unknown(r, node, "element", (const char *)node->name, rule->name, known);
}

static bool read_attrs(struct xml_reader *r, const xmlNode *node, const struct xml_rule *rule,
		       void *object)
{
	for (const xmlAttr *x = node->properties; x; x = x->next) {
		const char *name = (const char *)x->name;
		const struct xml_attr *a = rule->attrs;

		while (a && a->name && strcmp(a->name, name))
			a++;
		if (!a || !a->name || x->ns)
			return unknown_attr(r, node, rule, name);
		xmlChar *text = xmlNodeListGetString(node->doc, x->children, 1);
		bool good = store(r, &(struct place){ node, name }, &a->value,
				  text ? (const char *)text : "", object);

		xmlFree(text);
		if (!good)
			return false;
	}
	for (const struct xml_attr *a = rule->attrs; a && a->name; a++)
		if (a->required && !xmlHasProp(node, (const xmlChar *)a->name))
			return xml_fail(r, line_of(node),
					"<%s> without the attribute '%s': add %s='...'", rule->name,
					a->name, a->name);
	return true;
}

static bool read_element(struct xml_reader *r, const xmlNode *node, const struct xml_rule *rule,
			 void *around);

static bool read_child(struct xml_reader *r, const xmlNode *node, const struct xml_rule *rule,
		       u32 *counts, void *object)
{
	const struct xml_child *c = rule->children;
	unsigned n = 0;

	while (c[n].rule && strcmp(c[n].rule->name, (const char *)node->name))
		n++;
	if (!c[n].rule || node->ns)
		return unknown_element(r, node, rule);
	if (counts[n]++ == c[n].max)
		return xml_fail(r, line_of(node),
				c[n].max == 1 ? "a second <%s> in <%s>: remove one"
					      : "too many <%s> in <%s>: at most %u",
				c[n].rule->name, rule->name, c[n].max);
	return read_element(r, node, c[n].rule, object);
}

static bool read_children(struct xml_reader *r, const xmlNode *node, const struct xml_rule *rule,
			  void *object)
{
	u32 counts[XML_CHILDREN] = { 0 };

	for (const xmlNode *n = node->children; n; n = n->next) {
		if (n->type == XML_COMMENT_NODE || n->type == XML_PI_NODE)
			continue;
		if (n->type == XML_ELEMENT_NODE) {
			if (!read_child(r, n, rule, counts, object))
				return false;
		} else if (!xmlIsBlankNode(n)) {
			return xml_fail(r, line_of(node),
					"text in <%s>, which has elements alone; remove it",
					rule->name);
		}
	}
	for (unsigned n = 0; rule->children[n].rule; n++)
		if (rule->children[n].required && !counts[n])
			return xml_fail(r, line_of(node), "<%s> without a <%s>: add it", rule->name,
					rule->children[n].rule->name);
	return true;
}

static bool read_text(struct xml_reader *r, const xmlNode *node, const struct xml_rule *rule,
		      void *object)
{
	for (const xmlNode *n = node->children; n; n = n->next)
		if (n->type == XML_ELEMENT_NODE)
			return unknown_element(r, n, rule);
	xmlChar *text = xmlNodeGetContent(node);
	bool good = store(r, &(struct place){ node, NULL }, &rule->text,
			  text ? (const char *)text : "", object);

	xmlFree(text);
	return good;
}

/* Recursion is bounded by the depth of the document. */
static bool read_element(struct xml_reader *r, const xmlNode *node, const struct xml_rule *rule,
			 void *around)
{
	void *object = rule->open ? rule->open(r, line_of(node)) : around;

	return object && read_attrs(r, node, rule, object) &&
	       (rule->children ? read_children(r, node, rule, object)
			       : read_text(r, node, rule, object)) &&
	       (!rule->close || rule->close(r, object, line_of(node)));
}

/* --- Documents ------------------------------------------------------------------------------- */

/* What the parser found that is no machine file's business; lies in the parser's context. */
struct document {
	bool has_dtd, too_deep;
	u32 line;
};

static void stop(xmlParserCtxt *x, bool *why)
{
	struct document *d = x->_private;

	*why = true;
	d->line = (u32)xmlSAX2GetLineNumber(x);
	xmlStopParser(x);
}

/* A document type can name entities and other files. */
static void on_dtd(void *ctx, const xmlChar *name, const xmlChar *external, const xmlChar *system)
{
	xmlParserCtxt *x = ctx;

	(void)name;
	(void)external;
	(void)system;
	stop(x, &((struct document *)x->_private)->has_dtd);
}

static void on_element(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
		       int namespaces, const xmlChar **ns, int attributes, int defaulted,
		       const xmlChar **attrs)
{
	xmlParserCtxt *x = ctx;

	if (x->nodeNr >= (int)MACHINE_XML_DEPTH)
		stop(x, &((struct document *)x->_private)->too_deep);
	else
		xmlSAX2StartElementNs(ctx, name, prefix, uri, namespaces, ns, attributes, defaulted,
				      attrs);
}

static bool syntax_error(struct xml_reader *r, xmlParserCtxt *x, const struct document *d)
{
	const xmlError *e = xmlCtxtGetLastError(x);
	char text[160] = "unexpected end";

	if (d->has_dtd)
		return xml_fail(r, d->line, "<!DOCTYPE> has no place in a machine file; remove it");
	if (d->too_deep)
		return xml_fail(r, d->line, "more than %u elements in each other",
				MACHINE_XML_DEPTH);
	/* The parser calls both an end of the text that comes too early and what follows a whole document "extra content". */
	bool ends = e && (e->code == XML_ERR_DOCUMENT_END || e->code == XML_ERR_DOCUMENT_EMPTY);

	if (ends && x->nodeNr) {
		snprintf(text, sizeof(text), "the file ends before </%.60s>",
			 (const char *)x->nodeTab[x->nodeNr - 1]->name);
	} else if (ends && (!x->myDoc || !xmlDocGetRootElement(x->myDoc))) {
		snprintf(text, sizeof(text), "no <domain type='pogo'> in it");
	} else if (e && e->message) {
		snprintf(text, sizeof(text), "%s", e->message);
		text[strcspn(text, "\n")] = 0;
	}
	return xml_fail(r, e && e->line > 0 ? (u32)e->line : 1, "not XML: %s; correct it there",
			text);
}

static bool read_document(struct xml_reader *r, const char *text, size_t size)
{
	struct document d = { 0 };
	xmlParserCtxt *x = xmlCreatePushParserCtxt(NULL, NULL, NULL, 0, NULL);
	bool good = false;

	if (!x)
		return xml_fail(r, 0, "no memory");
	xmlCtxtUseOptions(x, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
				     XML_PARSE_NOCDATA | XML_PARSE_BIG_LINES);
	x->_private = &d;
	x->sax->internalSubset = on_dtd;
	x->sax->startElementNs = on_element;
	xmlParseChunk(x, text, (int)size, 0);
	if (!d.has_dtd && !d.too_deep)
		xmlParseChunk(x, text, 0, 1);
	const xmlNode *root = x->myDoc ? xmlDocGetRootElement(x->myDoc) : NULL;

	if (!x->wellFormed || d.has_dtd || d.too_deep || !root)
		syntax_error(r, x, &d);
	else if (strcmp((const char *)root->name, xml_domain.name) || root->ns)
		xml_fail(r, line_of(root),
			 "<%.*s> is no machine; a machine file is <domain type='pogo'>...</domain>",
			 SHOWN, (const char *)root->name);
	else
		good = read_element(r, root, &xml_domain, r->spec);
	xmlFreeDoc(x->myDoc);
	xmlFreeParserCtxt(x);
	return good;
}

bool machine_xml_parse(struct machine_spec *spec, const char *path, const char *text, size_t size,
		       char *err, size_t errlen)
{
	struct xml_reader r = { .spec = spec, .err = err, .errlen = errlen };
	bool good;

	spec_init(spec);
	if (!spec_set_file(spec, path))
		good = xml_fail(&r, 0, "no memory");
	else if (size > MACHINE_XML_MAX)
		good = xml_fail(&r, 0, "larger than %llu KiB: no machine file",
				(unsigned long long)(MACHINE_XML_MAX / KIB));
	else
		good = read_document(&r, text, size) && spec_check(spec, err, errlen);
	if (!good)
		spec_free(spec);
	return good;
}

/* At most limit + 1 bytes, for free(). */
static char *read_file(const char *path, size_t limit, size_t *size, char *err, size_t errlen)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	char *text = NULL;

	*size = 0;
	if (fd < 0 || fstat(fd, &st)) {
		snprintf(err, errlen, "%s: %s%s", path, strerror(errno),
			 errno == ENOENT
				 ? "; `pogo create` makes a machine file, `pogo ls` lists them"
				 : "");
	} else if (!S_ISREG(st.st_mode)) {
		snprintf(err, errlen, "%s: no ordinary file; name a machine's XML file", path);
	} else if (!(text = malloc(limit + 1))) {
		snprintf(err, errlen, "%s: no memory", path);
	} else {
		ssize_t n;

		while (*size <= limit && (n = read(fd, text + *size, limit + 1 - *size)) > 0)
			*size += (size_t)n;
	}
	if (fd >= 0)
		close(fd);
	return text;
}

bool machine_xml_read(struct machine_spec *spec, const char *path, char *err, size_t errlen)
{
	size_t size;
	char *text = read_file(path, MACHINE_XML_MAX, &size, err, errlen);
	bool good = text && machine_xml_parse(spec, path, text, size, err, errlen);

	free(text);
	return good;
}
