/* Lockstep: two machines made from one configuration, the leader on the engine that is checked, the follower on another one. The
 * leader runs one unit, the follower as many instructions, and then all that the guest could see of the two is compared. What may
 * differ between runs cannot differ between the two: time is counted in instructions, disks are scratch, input goes to both. */
#ifndef MACHINE_CHECK_H
#define MACHINE_CHECK_H

#include "x86/vcpu.h"

struct check;
struct machine;

/* Joins two machines at power-on, and takes their CPUs' exits over. -ENOMEM. Sets `check` of both. */
int check_new(struct machine *lead, struct machine *follow) must_check;
/* Returns the follower, which is the caller's then. */
struct machine *check_free(struct check *c);
struct machine *check_follower(struct check *c);

/* Runs CPU n of both for about `insns` instructions, as the leader's engine would: the leader's stop. A difference is reported on
 * stderr and ends the leader with END_DIFFERENT. */
enum stop check_run(struct check *c, unsigned n, u64 insns);
/* Compares everything, at the end of a run. */
void check_finish(struct check *c);
/* The bytes that the leader was just given. */
void check_input(struct check *c, const u8 *buf, size_t n);
/* Lines for --stats. */
void check_stats(const struct check *c, void *file);

#endif
