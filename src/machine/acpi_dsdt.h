/* What the DSDT says, without the table around it. */
#ifndef MACHINE_ACPI_DSDT_H
#define MACHINE_ACPI_DSDT_H

#include "machine/acpi.h"
#include "machine/aml.h"

/* Appends the definitions of the board; a->overflow tells whether they fit. */
void acpi_dsdt_write(struct aml *a, const struct acpi_board *board);

#endif
