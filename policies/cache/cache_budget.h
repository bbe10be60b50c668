/*
 * cache_budget.h: how much of its memory a cache may use while memory is short.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_CACHE_BUDGET_H
#define FG_POLICIES_CACHE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define FG_CACHE_BUDGET_ALL 1000u
#define FG_CACHE_BUDGET_LEAST 62u /* a sixteenth: what is asked for all the time */

struct fg_cache_budget {
    uint32_t permille; /* of what is configured */
    uint64_t stepped_ns;
};

void fg_cache_budget_init(struct fg_cache_budget *budget, uint64_t now_ns);

/* Call it often; a step is taken once a second, and a clock that went back is none. True: permille
 * is another one. `used_permille` is what the cache holds. */
bool fg_cache_budget_step(struct fg_cache_budget *budget, uint64_t now_ns, bool is_short,
                          uint32_t used_permille);

#endif
