/* Drives as the command line gives them. */
#ifndef CONTROL_DISK_OPTION_H
#define CONTROL_DISK_OPTION_H

#include "machine/machine.h"

/* Reads FILE[,ro][,format=NAME][,bus=virtio|ide][,serial=TEXT][,overlay[=FILE]][,parent=FILE|*][,boot=N][,on-error=POLICY] and adds it to the
 * machine; text is cut apart in place and outlives the machine. A comma in a file's name is written twice. False, and one line in
 * err, if it means nothing. */
bool disk_option_add(struct machine_config *cfg, enum machine_drive drive, char *text, char *err,
		     size_t errlen) must_check;

/* --disk, --cdrom and --floppy, in the order of each. */
struct drive_options {
	struct opt_list disks, cdroms, floppies;
};

/* Rows for struct drive_options, without --disk: commands differ in what else it takes. */
extern const struct opt drive_opts[];

/* disk_option_add for each of them: disks, then CD-ROMs, then floppies. The texts are argv's, which are writable. */
bool drive_options_add(struct machine_config *cfg, const struct drive_options *drives, char *err,
		       size_t errlen) must_check;

#endif
