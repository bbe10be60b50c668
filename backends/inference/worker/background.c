/*
 * background.c: where cores are shared, orders go before tokens.
 * Job      less weight, no pre-emption of others, and short slices, each given up as soon as a
 *          portion of a step is done (kernels/pool_shared).
 * Thread   a process's first one, before it starts others: they inherit all of it.
 * Never    SCHED_IDLE: beside a gateway that needs its cores for seconds, streams would stand.
 * Source   sched(7), sched_setattr(2); Linux's Documentation/scheduler/sched-eevdf.rst. Since 6.6
 *          the scheduler lets a task run for a slice before another of its class that has woken,
 *          and since 6.12 not before one whose own slice is shorter. Older kernels ignore the
 *          slice of such a task; there the weight alone decides.
 */
#include "inference/worker/background.h"

#include "base/clock.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICENESS 10 /* a tenth of the usual weight */
/* What a thread that yields forfeits: with longer ones it would get next to nothing beside others
 * that never sleep, as each of its portions ends in giving way. */
#define SLICE_NS (300 * FG_US)

/* The kernel's struct of the first version, which the C library does not declare everywhere. */
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns;
    uint64_t deadline_ns;
    uint64_t period_ns;
};
_Static_assert(sizeof(struct attributes) == 48, "SCHED_ATTR_SIZE_VER0");

void fg_background_enter(void)
{
    const struct attributes wanted = {
        .size = sizeof(wanted), .policy = SCHED_BATCH, .nice = NICENESS, .runtime_ns = SLICE_NS};
    if (syscall(SYS_sched_setattr, 0, &wanted, 0) == -1)
        (void)setpriority(PRIO_PROCESS, 0, NICENESS);
}
