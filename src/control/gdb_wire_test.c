/* Packets of gdb in pieces, with wrong sums, too long, and mixed with interrupts. */
#include "control/gdb_wire.h"

#include "base/test.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
	struct wire wire;
	int gdb;
	char text[WIRE_PACKET_MAX];
};

static int setup(void **state)
{
	static struct fixture f;
	int fd[2];

	f = (struct fixture){ 0 };
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd))
		return -1;
	f.wire.fd = fd[0];
	f.gdb = fd[1];
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	return close(f->wire.fd) | close(f->gdb);
}

static void send_n(struct fixture *f, const char *bytes, size_t n)
{
	assert_int_equal(write(f->gdb, bytes, n), n);
	assert_true(wire_receive(&f->wire));
}

static void send_text(struct fixture *f, const char *text) { send_n(f, text, strlen(text)); }

static void expect(struct fixture *f, const char *text)
{
	assert_int_equal(wire_next(&f->wire, f->text), WIRE_PACKET);
	assert_string_equal(f->text, text);
}

static void expect_nothing(struct fixture *f)
{
	assert_int_equal(wire_next(&f->wire, f->text), WIRE_NOTHING);
}

/* What gdb has been sent since it last looked. */
static void expect_sent(struct fixture *f, const char *text)
{
	char buf[256] = "";
	ssize_t n = read(f->gdb, buf, sizeof(buf) - 1);

	assert_int_equal(MAX(n, 0), strlen(text));
	assert_string_equal(buf, text);
}

static void in_pieces(void **state)
{
	struct fixture *f = *state;
	static const char packet[] = "$qC#b4";

	for (const char *p = packet; p[1]; p++) {
		send_n(f, p, 1);
		expect_nothing(f);
		expect_sent(f, "");
	}
	send_n(f, "4", 1);
	expect(f, "qC");
	expect_sent(f, "+");
	/* Several at once, after acknowledgements and noise. */
	send_text(f, "+-x$g#67\x03$?#3f");
	expect(f, "g");
	assert_int_equal(wire_next(&f->wire, f->text), WIRE_INTERRUPT);
	expect(f, "?");
	expect_nothing(f);
	expect_sent(f, "++");
	send_text(f, "$#00");
	expect(f, "");
	expect_sent(f, "+");
}

static void wrong_sums(void **state)
{
	struct fixture *f = *state;

	send_text(f, "$g#68$g#6$g#xy$g#67");
	expect(f, "g");
	expect_nothing(f);
	/* Of the second, "6$" is no sum, and what is left of the third is noise. */
	expect_sent(f, "--+");
	send_n(f, "$g\0g#ce", 7);
	expect_nothing(f);
	expect_sent(f, "-");
	f->wire.no_ack = true;
	send_text(f, "$g#67$g#68");
	expect(f, "g");
	expect_nothing(f);
	expect_sent(f, "");
}

static void too_long(void **state)
{
	struct fixture *f = *state;
	char part[1024];

	memset(part, 'a', sizeof(part));
	part[0] = '$';
	for (unsigned n = 0; n < WIRE_PACKET_MAX / sizeof(part); n++) {
		send_n(f, part, sizeof(part) - (n == 3));
		expect_nothing(f);
		part[0] = 'a';
	}
	assert_int_equal(write(f->gdb, "a", 1), 1);
	assert_false(wire_receive(&f->wire));
}

static void replies(void **state)
{
	struct fixture *f = *state;

	wire_put(&f->wire, "T");
	wire_put_hex(&f->wire, "\x05\xaf", 2);
	wire_reply(&f->wire);
	expect_sent(f, "$T05af#80");
	wire_reply_text(&f->wire, "");
	wire_reply_bool(&f->wire, true);
	expect_sent(f, "$#00$OK#9a");
	/* More than a packet holds. */
	for (unsigned n = 0; n < 3 * WIRE_PACKET_MAX; n++)
		wire_put(&f->wire, "x");
	assert_int_equal(f->wire.out_len, sizeof(f->wire.out) - 3);
	shutdown(f->gdb, SHUT_RDWR);
	wire_reply(&f->wire);
	assert_false(wire_receive(&f->wire));
}

static void parts(void **state)
{
	const char *p = "ab,1fz00";
	u64 n;
	u8 bytes[2];

	(void)state;
	assert_false(wire_take_word(&p, "ac"));
	assert_true(wire_take_word(&p, "ab"));
	assert_false(wire_take(&p, '.'));
	assert_true(wire_take(&p, ','));
	assert_true(wire_take_number(&p, &n));
	assert_int_equal(n, 0x1f);
	assert_false(wire_take_number(&p, &n));
	assert_true(wire_take(&p, 'z'));
	assert_false(wire_take_hex(&p, bytes, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_sums, setup, teardown),
		cmocka_unit_test_setup_teardown(too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(replies, setup, teardown),
		cmocka_unit_test(parts),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("gdb_wire", tests, NULL, NULL);
}
