/* What the monitor says of itself (VESA E-EDID Standard, release A revision 1: EDID 1.3): 1024 x 768 at 60 Hz preferred. */
#include "dev/vga_internal.h"

/* One detailed timing (3.10.2). 1024 x 768 at 60 Hz (VESA DMT): 65 MHz; blanking 320 x 38; sync 24 + 136, 3 + 6, both negative. */
#define CLOCK_10KHZ 6500u
#define H_SHOWN     1024u
#define H_BLANK     320u
#define H_FRONT     24u
#define H_SYNC      136u
#define V_SHOWN     768u
#define V_BLANK     38u
#define V_FRONT     3u
#define V_SYNC      6u
#define WIDTH_MM    270u
#define HEIGHT_MM   203u

/* Standard timings (3.9): width / 8 - 31; aspect 0 is 16:10, 1 is 4:3, 2 is 5:4; rate - 60. */
static const struct {
	u16 width;
	u8 aspect;
} standard[8] = { { 2048, 1 }, { 1920, 0 }, { 1680, 0 }, { 1600, 1 },
		  { 1440, 0 }, { 1280, 2 }, { 1280, 0 }, { 1024, 1 } };

static void detailed_timing(u8 *d)
{
	le_store(d, CLOCK_10KHZ, 2);
	d[2] = (u8)H_SHOWN;
	d[3] = (u8)H_BLANK;
	d[4] = (u8)(H_SHOWN >> 8 << 4 | H_BLANK >> 8);
	d[5] = (u8)V_SHOWN;
	d[6] = (u8)V_BLANK;
	d[7] = (u8)(V_SHOWN >> 8 << 4 | V_BLANK >> 8);
	d[8] = H_FRONT;
	d[9] = H_SYNC;
	d[10] = V_FRONT << 4 | V_SYNC;
	d[12] = (u8)WIDTH_MM;
	d[13] = (u8)HEIGHT_MM;
	d[14] = (u8)(WIDTH_MM >> 8 << 4 | HEIGHT_MM >> 8);
	d[17] = 0x18; /* digital separate sync, both negative */
}

static void text_descriptor(u8 *d, u8 tag, const char *text)
{
	size_t length = strlen(text);

	d[3] = tag;
	memset(d + 5, ' ', 13);
	memcpy(d + 5, text, MIN(length, 13));
	if (length < 13)
		d[5 + length] = '\n';
}

static void range_limits(u8 *d)
{
	static const u8 limits[18] = { 0,    0,   0,    0xfd, 0,   50,  125, /* Hz */
				       30,   160,                            /* kHz */
				       0xff, 0,   '\n', ' ',  ' ', ' ', ' ', ' ', ' ' };

	memcpy(d, limits, sizeof(limits));
}

void vga_edid(u8 edid[VGA_EDID_SIZE])
{
	/* Identity: "PGO", an identifier in three letters of five bits; chromaticities of sRGB. */
	static const u8 head[] = { 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00 };
	static const u8 srgb[] = { 0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54 };
	u8 sum = 0;

	memset(edid, 0, VGA_EDID_SIZE);
	memcpy(edid, head, sizeof(head));
	edid[8] = ('P' - '@') << 2 | ('G' - '@') >> 3;
	edid[9] = (u8)(('G' - '@') << 5 | ('O' - '@'));
	edid[10] = 1;           /* product */
	edid[16] = 1;           /* week */
	edid[17] = 2024 - 1990; /* year */
	edid[18] = 1;
	edid[19] = 3;
	edid[20] = 0x80; /* digital */
	edid[21] = 27;   /* cm */
	edid[22] = 20;
	edid[23] = 120;  /* gamma 2.2 */
	edid[24] = 0x0a; /* RGB; the first detailed timing is preferred */
	memcpy(edid + 25, srgb, sizeof(srgb));
	edid[35] = 0x21; /* 640 x 480, 800 x 600, 1024 x 768 at 60 Hz */
	edid[36] = 0x08;
	for (unsigned n = 0; n < ARRAY_LEN(standard); n++) {
		edid[38 + 2 * n] = (u8)(standard[n].width / 8 - 31);
		edid[39 + 2 * n] = (u8)(standard[n].aspect << 6);
	}
	detailed_timing(edid + 54);
	range_limits(edid + 72);
	text_descriptor(edid + 90, 0xfc, "Pogo");
	text_descriptor(edid + 108, 0xff, "1");
	for (unsigned n = 0; n < VGA_EDID_SIZE - 1; n++)
		sum = (u8)(sum + edid[n]);
	edid[VGA_EDID_SIZE - 1] = (u8)-sum;
}
