/* Floppy disks and drives: what a disk of so many bytes looks like, and where it fits. */
#ifndef DEV_FLOPPY_H
#define DEV_FLOPPY_H

#include "base/types.h"

#define FLOPPY_SECTOR 512u

/* The values are those of CMOS byte 10h, in which firmware finds the drives. */
enum floppy_drive {
	FLOPPY_NONE = 0,
	FLOPPY_360K = 1, /* 5.25 inch, 40 tracks */
	FLOPPY_1200K = 2,
	FLOPPY_720K = 3, /* 3.5 inch */
	FLOPPY_1440K = 4,
	FLOPPY_2880K = 5,
};

struct floppy_geometry {
	u16 kib;
	u8 cylinders, heads, sectors;
	u8 rates; /* bit n: data rate n of the controller reads it: 500, 300, 250, 1000 kbit/s */
	enum floppy_drive drive; /* the drive to give a machine that starts with this disk */
};

/* NULL: a floppy disk has no such size. */
const struct floppy_geometry *floppy_geometry(u64 size);
/* Tracks that a drive's head reaches; 0 for none. */
unsigned floppy_tracks(enum floppy_drive drive);

#endif
