/*
 * limit_shared.h: so many at once and not one more, counted by any number of threads.
 * Protocol  `used` is one atomic number, moved by compare and swap: it never rises above the limit,
 *           not even for a moment, whatever the interleaving. Sequentially consistent, so that who
 *           says that he waits and then looks again cannot miss what was given back meanwhile. No
 *           other memory is published through it.
 * Memory    the caller's; a zeroed one allows nothing.
 */
#ifndef FG_BASE_LIMIT_SHARED_H
#define FG_BASE_LIMIT_SHARED_H

#include "base/counters_shared.h"

#include <assert.h>

struct fg_limit {
    _Atomic uint32_t used;
    uint32_t max;              /* constant once threads run; UINT32_MAX: none */
    struct fg_counter most;    /* largest `used` so far: advice */
    struct fg_counter refused; /* times that nothing was left */
};

static inline void fg_limit_init(struct fg_limit *limit, uint32_t max)
{
    *limit = (struct fg_limit){.max = max};
}

static inline uint32_t fg_limit_used(const struct fg_limit *limit)
{
    return atomic_load(&limit->used);
}

static inline void fg_limit_note_most(struct fg_limit *limit, uint64_t used)
{
    if (used > fg_counter_get(&limit->most))
        fg_counter_set(&limit->most, used);
}

/* One more, if there are fewer than `max` and than the limit's own. */
static inline bool fg_limit_try_take_below(struct fg_limit *limit, uint64_t max)
{
    uint64_t most = max < limit->max ? max : limit->max;
    uint32_t used = atomic_load(&limit->used);
    do {
        if (used >= most) {
            fg_counter_add(&limit->refused, 1);
            return false;
        }
    } while (!atomic_compare_exchange_weak(&limit->used, &used, used + 1));
    fg_limit_note_most(limit, (uint64_t)used + 1);
    return true;
}

static inline bool fg_limit_try_take(struct fg_limit *limit)
{
    return fg_limit_try_take_below(limit, UINT32_MAX);
}

/* In shadow: one more although none is left, after try_take has said (and counted) so. */
static inline void fg_limit_take_over(struct fg_limit *limit)
{
    fg_limit_note_most(limit, (uint64_t)atomic_fetch_add(&limit->used, 1) + 1);
}

static inline void fg_limit_give(struct fg_limit *limit)
{
    uint32_t before = atomic_fetch_sub(&limit->used, 1);
    assert(before > 0);
    (void)before;
}

#endif
