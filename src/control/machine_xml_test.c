#include "base/test.h"
#include "control/machine_xml.h"
#include "control/suggest.h"

#include <stdlib.h>
#include <string.h>

static const char whole[] =
	"<domain type='pogo'><name>web</name><uuid>0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0</uuid>"
	"<title>a &lt;&amp;&apos;\" b</title><memory unit='KiB'>65540</memory><vcpu>3</vcpu>"
	"<os firmware='efi'><type arch='x86_64' machine='440fx'>hvm</type><nvram>v.fd</nvram>"
	"<boot dev='cdrom'/><boot dev='hd'/><bootmenu enable='yes'/></os><cpu><model>max</model></cpu>"
	"<on_reboot>destroy</on_reboot><devices>"
	"<disk type='file'><driver type='vhd'/><source file='c.vhd'/><backingStore><format type='vhd'/>"
	"<source file='b.vhd'/><backingStore><format type='raw'/><source file='/a.raw'/></backingStore>"
	"</backingStore><target dev='vdb' bus='virtio'/><transient/><serial>S1</serial></disk>"
	"<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>"
	"<disk type='file' device='floppy'><driver type='raw'/><source file='f.img'/>"
	"<target dev='fda' bus='fdc'/><readonly/></disk>"
	"<serial type='unix'><source path='s.sock'/></serial>"
	"<parallel type='file'><source path='p.out' append='on'/></parallel>"
	"<graphics type='vnc' listen='::1' port='5901' passwdFile='pw'/>"
	"<video><model type='vga'/></video></devices>"
	"<pogo><engine>interp</engine><cache unit='MiB'>8</cache><time>insns</time><entry>32</entry>"
	"<debugexit port='0xf4'/><timeout>7</timeout></pogo></domain>";

static struct machine_spec *parse(const char *text)
{
	struct machine_spec *s = malloc(sizeof(*s));
	char err[512];

	assert_non_null(s);
	if (!machine_xml_parse(s, "dir/web.xml", text, strlen(text), err, sizeof(err)))
		fail_msg("%s", err);
	return s;
}

static void drop(struct machine_spec *s)
{
	spec_free(s);
	free(s);
}

/* The line of the message that a document is refused with. */
static void check_refused(const char *text, size_t size, const char *wanted)
{
	struct machine_spec *s = malloc(sizeof(*s));
	char err[512] = "";

	assert_non_null(s);
	assert_false(machine_xml_parse(s, "web.xml", text, size, err, sizeof(err)));
	if (!strstr(err, wanted))
		fail_msg("'%s' has no '%s'", err, wanted);
	free(s);
}

/* Everything that a file can say arrives in the spec. */
static void values(void **state)
{
	struct machine_spec *s = parse(whole);

	assert_string_equal(s->name, "web");
	assert_string_equal(s->title, "a <&'\" b");
	assert_int_equal(s->memory, 65540 * KIB);
	assert_int_equal(s->cpus, 3);
	assert_int_equal(s->firmware, SPEC_EFI);
	assert_string_equal(s->board, "440fx");
	assert_string_equal(s->nvram, "v.fd");
	assert_int_equal(s->boots, 2);
	assert_int_equal(s->boot[0], SPEC_BOOT_CDROM);
	assert_true(s->boot_menu);
	assert_int_equal(s->on_reboot, SPEC_DESTROY);
	assert_int_equal(s->disks, 3);
	assert_int_equal(s->disk[0].backings, 2);
	assert_string_equal(s->disk[0].backing[1].source, "/a.raw");
	assert_string_equal(s->disk[0].backing[1].format, "raw");
	assert_true(s->disk[0].transient);
	assert_null(s->disk[1].source);
	assert_int_equal(s->disk[2].device, SPEC_FLOPPY);
	assert_true(s->disk[2].readonly);
	assert_int_equal(s->serial[0].type, SPEC_CHAR_UNIX);
	assert_true(s->has_parallel && s->parallel.append);
	assert_int_equal(s->vnc.port, 5901);
	assert_int_equal(s->video, SPEC_VGA);
	assert_string_equal(s->clock, "insns");
	assert_int_equal(s->cache, 8 * MIB);
	assert_int_equal(s->debug_exit, 0xf4);
	drop(s);
}

/* What is written reads as the same, and is written the same again. */
static void round_trip(void **state)
{
	struct machine_spec *s = parse(whole), *again;
	char *text = machine_xml_write(s), *second;

	assert_non_null(text);
	again = parse(text);
	second = machine_xml_write(again);
	assert_non_null(second);
	assert_string_equal(text, second);
	assert_string_equal(again->title, s->title);
	assert_string_equal(again->disk[0].backing[1].source, "/a.raw");
	assert_int_equal(again->memory, s->memory);
	assert_int_equal(again->vnc.port, 5901);
	free(text);
	free(second);
	drop(s);
	drop(again);
}

/* The machine that is built from it: paths from the file's directory, boot order, chains. */
static void config(void **state)
{
	struct machine_spec *s = parse(whole);
	const char *listen;
	struct machine_config c;
	char err[512];

	assert_true(spec_config(s, &c, err, sizeof(err)));
	assert_string_equal(c.firmware, "uefi");
	assert_string_equal(c.nvram, "dir/v.fd");
	assert_string_equal(c.board, "440fx");
	assert_int_equal(c.memory, 65540 * KIB);
	assert_true(c.no_reboot && !c.no_vga && c.boot_menu);
	assert_string_equal(c.parallel, "dir/p.out");
	assert_int_equal(c.disk_count, 3);
	assert_string_equal(c.disks[0].path, "dir/c.vhd");
	assert_string_equal(c.disks[0].parent, "dir/b.vhd");
	assert_string_equal(c.disks[0].parent_format, "vhd");
	assert_non_null(c.disks[0].below);
	assert_string_equal(c.disks[0].below->path, "/a.raw");
	assert_null(c.disks[0].below->next);
	assert_string_equal(c.disks[0].overlay, "");
	assert_int_equal(c.disks[0].boot, 2);
	assert_null(c.disks[1].path);
	assert_int_equal(c.disks[1].boot, 1);
	assert_int_equal(c.disks[2].bus, DISK_BUS_FDC);
	assert_int_equal(c.disks[2].boot, 0);
	assert_true(spec_vnc(s, "/run/vnc.sock", &listen));
	assert_string_equal(listen, "::1:5901");
	drop(s);
}

/* Without a word of its own a machine boots by SeaBIOS, and refers to no other image. */
static void defaults(void **state)
{
	struct machine_spec *s =
		parse("<domain type='pogo'><name>a</name><memory unit='MiB'>64</memory>"
		      "<devices><disk type='file'><driver type='vhd'/><source file='/c'/>"
		      "<target dev='hda' bus='ide'/></disk>"
		      "<video><model type='none'/></video></devices></domain>");
	struct machine_config c;
	const char *listen;
	char err[512];

	assert_true(spec_config(s, &c, err, sizeof(err)));
	assert_string_equal(c.firmware, "bios");
	assert_string_equal(c.board, "auto");
	assert_string_equal(c.clock, "real");
	assert_int_equal(c.cpus, 1);
	assert_string_equal(c.disks[0].path, "/c");
	assert_null(c.disks[0].parent);
	assert_null(c.disks[0].below);
	assert_true(spec_vnc(s, "/run/vnc.sock", &listen));
	assert_null(listen);
	assert_true(c.no_vga);
	s->vnc.on = true;
	assert_true(spec_vnc(s, "/run/vnc.sock", &listen));
	assert_string_equal(listen, "unix:/run/vnc.sock");
	s->vnc.socket = "/a";
	assert_true(spec_vnc(s, "/run/vnc.sock", &listen));
	assert_string_equal(listen, "unix:/a");
	assert_string_equal(spec_free_target(s, SPEC_IDE), "hdb");
	drop(s);
}

/* Cut anywhere, or with any byte changed, a document is read or refused; nothing else. */
static void damaged(void **state)
{
	struct machine_spec *s = malloc(sizeof(*s));
	char *text = strdup(whole), err[512];

	assert_non_null(s);
	assert_non_null(text);
	for (size_t n = 0; n < sizeof(whole) - 1; n++) {
		err[0] = 0;
		assert_false(machine_xml_parse(s, "w.xml", text, n, err, sizeof(err)));
		assert_true(!strncmp(err, "w.xml:", 6));
		for (unsigned k = 0; k < 4; k++) {
			text[n] = "<'\0\xff"[k];
			err[0] = 0;
			if (machine_xml_parse(s, "w.xml", text, sizeof(whole) - 1, err,
					      sizeof(err)))
				spec_free(s);
			else
				assert_true(!strncmp(err, "w.xml:", 6));
		}
		text[n] = whole[n];
	}
	free(text);
	free(s);
}

static void hostile(void **state)
{
	/* A message is one line, whatever it quotes. */
	static const char lines[] = "<domain type='pogo'><name>w</name><memory unit='MiB'>64"
				    "</memory><vcpu>1\n\t2</vcpu></domain>";
	size_t size = MACHINE_XML_MAX;
	char *big = malloc(size + 2);

	assert_non_null(big);
	check_refused("", 0, "web.xml:1: not XML");
	memset(big, ' ', size + 1);
	check_refused(big, size + 1, "larger than 256 KiB");
	check_refused(lines, strlen(lines), "'1  2'");
	/* Elements in each other. */
	for (size_t n = 0; n + 3 <= size; n += 3)
		memcpy(big + n, "<a>", 3);
	check_refused(big, size - 1, "more than 64 elements in each other");
	/* A name, and a value, as long as the document. */
	memset(big, 'a', size);
	big[0] = '<';
	check_refused(big, size, "not XML");
	memcpy(big, "<a b='", 6);
	check_refused(big, size, "not XML");
	memcpy(big, "<!DOCTYPE a [<!ENTITY b '", 25);
	check_refused(big, size, "web.xml:");
	free(big);
}

static void names(void **state)
{
	static const char *const good[] = { "a", "web-1.example_2+", "0" };
	static const char *const bad[] = { "", ".a", "-a", "a/b", "a b", "..", "a\n", "\xc3\xa4" };

	for (unsigned n = 0; n < ARRAY_LEN(good); n++)
		assert_true(spec_name_good(good[n]));
	for (unsigned n = 0; n < ARRAY_LEN(bad); n++)
		assert_false(spec_name_good(bad[n]));
	char uuid[SPEC_UUID_SIZE], other[SPEC_UUID_SIZE];

	spec_uuid_make(uuid);
	spec_uuid_make(other);
	assert_true(spec_uuid_good(uuid));
	assert_int_equal(uuid[14], '4');
	assert_string_not_equal(uuid, other);
	assert_false(spec_uuid_good("0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0f"));
}

static void suggestions(void **state)
{
	static const char *const words[] = { "memory", "vcpu", "devices", "os" };

	assert_int_equal(suggest_distance("memory", "memory"), 0);
	assert_int_equal(suggest_distance("memroy", "memory"), 1);
	assert_int_equal(suggest_distance("kitten", "sitting"), 3);
	assert_int_equal(suggest_distance("", "abc"), 3);
	assert_int_equal(suggest_distance("Memory", "memory"), 0);
	assert_string_equal(suggest_nearest("memroy", words, 4), "memory");
	assert_string_equal(suggest_nearest("vcpus", words, 4), "vcpu");
	assert_null(suggest_nearest("interface", words, 4));
	assert_null(suggest_nearest("", words, 4));
	assert_null(suggest_nearest("xy", words, 4));
	assert_null(suggest_nearest(
		"0123456789012345678901234567890123456789012345678901234567890123456789", words,
		4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),  cmocka_unit_test(round_trip),
		cmocka_unit_test(config),  cmocka_unit_test(defaults),
		cmocka_unit_test(damaged), cmocka_unit_test(hostile),
		cmocka_unit_test(names),   cmocka_unit_test(suggestions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
