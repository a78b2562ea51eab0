/* An interrupt line: three words, given to a device by the board. */
#ifndef CORE_IRQ_H
#define CORE_IRQ_H

#include "base/types.h"

struct irq {
	void (*set)(void *chip, unsigned line, bool level);
	void *chip;
	unsigned line;
};

/* Drives the line; a line that is not wired (set == NULL) is ignored. Device lock held. */
static inline void irq_set(const struct irq *irq, bool level)
{
	if (irq->set)
		irq->set(irq->chip, irq->line, level);
}

static inline void irq_pulse(const struct irq *irq)
{
	irq_set(irq, true);
	irq_set(irq, false);
}

#endif
