/* Between the parts of the 82077AA: its registers and commands (fdc82077.c), the commands that
 * touch sectors (fdc82077_data.c). */
#ifndef DEV_FDC82077_INTERNAL_H
#define DEV_FDC82077_INTERNAL_H

#include "base/bits.h"
#include "dev/fdc82077.h"

enum fdc_phase { PHASE_COMMAND, PHASE_EXECUTION, PHASE_RESULT };

/* Of a data command; regs.stage. */
enum fdc_stage {
	STAGE_SEARCH,  /* the next sector has yet to come by */
	STAGE_READING, /* the backend reads it */
	STAGE_HOST,    /* its bytes go to or come from the host */
	STAGE_WRITING, /* the backend writes it */
};

/* Command codes without MT, MFM, SK. */
enum {
	CMD_READ_TRACK = 0x02,
	CMD_SPECIFY = 0x03,
	CMD_SENSE_DRIVE = 0x04,
	CMD_WRITE = 0x05,
	CMD_READ = 0x06,
	CMD_RECALIBRATE = 0x07,
	CMD_SENSE_INTERRUPT = 0x08,
	CMD_WRITE_DELETED = 0x09,
	CMD_READ_ID = 0x0a,
	CMD_READ_DELETED = 0x0c,
	CMD_FORMAT = 0x0d,
	CMD_DUMPREG = 0x0e,
	CMD_SEEK = 0x0f,
	CMD_VERSION = 0x10,
	CMD_PERPENDICULAR = 0x12,
	CMD_CONFIGURE = 0x13,
	CMD_LOCK = 0x14,
	CMD_VERIFY = 0x16,
	CMD_RELATIVE_SEEK = 0x8f,
};

#define CMD_CODE 0x1fu
#define CMD_MT   0x80u
#define CMD_MFM  0x40u
#define CMD_SK   0x20u

/* Bytes of a data command (5.1, "command set"). */
enum { ARG_UNIT = 1, ARG_C, ARG_H, ARG_R, ARG_N, ARG_EOT, ARG_GPL, ARG_DTL };
#define UNIT_DS  0x03u
#define UNIT_HDS 0x04u
#define UNIT_EC  0x80u /* VERIFY: DTL counts sectors */
/* And of FORMAT TRACK. */
enum { FORMAT_N = 2, FORMAT_SC, FORMAT_GPL, FORMAT_D };

/* Status registers (6.0). */
#define ST0_ABNORMAL 0x40u
#define ST0_INVALID  0x80u
#define ST0_POLLED   0xc0u
#define ST0_SE       0x20u
#define ST0_EC       0x10u
#define ST1_EN       0x80u /* end of cylinder */
#define ST1_DE       0x20u
#define ST1_OR       0x10u
#define ST1_ND       0x04u
#define ST1_NW       0x02u
#define ST1_MA       0x01u
#define ST2_CM       0x40u
#define ST2_DD       0x20u
#define ST2_WC       0x10u

#define CONFIG_EIS     0x40u
#define CONFIG_EFIFO   0x20u /* 1: FIFO off */
#define CONFIG_FIFOTHR 0x0fu
#define SPECIFY_ND     0x01u /* in specify[1] */

#define DOR_DMAGATE 0x08u

/* --- fdc82077.c --- */

/* The interrupt pin, as far as DOR lets it out. */
void fdc_irq(struct fdc82077 *fdc, bool level);
/* Arms the timer for whatever is due first. */
void fdc_arm(struct fdc82077 *fdc);
/* Goes on with the data command `ns` from now. */
void fdc_wait(struct fdc82077 *fdc, u64 ns);
/* Enters the result phase with regs.length bytes in fifo. */
void fdc_result(struct fdc82077 *fdc, unsigned length);
/* Steps the head so that the chip's count becomes `pcn`; returns how long that takes, ns. */
u64 fdc_step(struct fdc82077 *fdc, unsigned unit, u8 pcn);
/* The drive that is there, or NULL. */
struct fdc82077_drive *fdc_drive(struct fdc82077 *fdc, unsigned unit);

/* --- fdc82077_data.c --- */

/* The command in fifo is complete: READ, WRITE, their kin, FORMAT TRACK, READ ID. */
void fdc_data_start(struct fdc82077 *fdc);
/* regs.due_ns has come. */
void fdc_data_due(struct fdc82077 *fdc);
/* A byte at the data port in STAGE_HOST. */
u8 fdc_data_read(struct fdc82077 *fdc);
void fdc_data_write(struct fdc82077 *fdc, u8 value);
/* The data command's direction is to the host. */
bool fdc_data_to_host(const struct fdc82077_regs *r);
/* Forgets what the backend is doing. */
void fdc_data_cancel(struct fdc82077 *fdc);
/* A state was loaded: asks the backend again. */
void fdc_data_loaded(struct fdc82077 *fdc);

#endif
