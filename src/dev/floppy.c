/* Floppy disks by their size. */
#include "dev/floppy.h"

#define RATE_500 0x01
#define RATE_DD  0x06 /* 250 kbit/s, or 300 in a drive that turns at 360 rpm */
#define RATE_1M  0x08

static const struct floppy_geometry geometries[] = {
	{ 160, 40, 1, 8, RATE_DD, FLOPPY_360K },     { 180, 40, 1, 9, RATE_DD, FLOPPY_360K },
	{ 320, 40, 2, 8, RATE_DD, FLOPPY_360K },     { 360, 40, 2, 9, RATE_DD, FLOPPY_360K },
	{ 640, 80, 2, 8, RATE_DD, FLOPPY_1440K },    { 720, 80, 2, 9, RATE_DD, FLOPPY_1440K },
	{ 800, 80, 2, 10, RATE_DD, FLOPPY_1440K },   { 1200, 80, 2, 15, RATE_500, FLOPPY_1200K },
	{ 1440, 80, 2, 18, RATE_500, FLOPPY_1440K }, { 1600, 80, 2, 20, RATE_500, FLOPPY_1440K },
	{ 1680, 80, 2, 21, RATE_500, FLOPPY_1440K }, { 1722, 82, 2, 21, RATE_500, FLOPPY_1440K },
	{ 2880, 80, 2, 36, RATE_1M, FLOPPY_2880K },
};

const struct floppy_geometry *floppy_geometry(u64 size)
{
	for (unsigned n = 0; n < ARRAY_LEN(geometries); n++)
		if (size == geometries[n].kib * KIB)
			return &geometries[n];
	return NULL;
}

unsigned floppy_tracks(enum floppy_drive drive)
{
	switch (drive) {
	case FLOPPY_360K: return 42;
	case FLOPPY_1200K:
	case FLOPPY_720K:
	case FLOPPY_1440K:
	case FLOPPY_2880K: return 84;
	default: return 0;
	}
}
