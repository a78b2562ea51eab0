/* What the machine is, in the tables of the System Management BIOS (DMTF DSP0134 2.8). */
#ifndef MACHINE_SMBIOS_H
#define MACHINE_SMBIOS_H

#include "dev/fw_cfg.h"

struct smbios_board {
	u64 ram_low_end, ram_high; /* bytes below 4 GiB, and above */
	unsigned cpus;
	const char *name; /* of the machine, as its user calls it; NULL: none */
	u8 uuid[16];      /* in the order in which it is written */
};

/* Adds the files "etc/smbios/smbios-anchor" and "etc/smbios/smbios-tables", of which firmware makes the tables, with a structure about
 * itself. -ENOSPC: too many processors; -ENOMEM. */
int smbios_add_files(struct fw_cfg *f, const struct smbios_board *board) must_check;

#endif
