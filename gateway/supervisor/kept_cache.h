/*
 * kept_cache.h: memory for the pinned pages of the cache.
 * Job      keep them from one gateway process to the next, over reloads and crashes: the supervisor
 *          holds the memory, each gateway writes its own and reads that of the one before.
 * Thread   the supervisor's only one, which never looks into it.
 * Memory   a descriptor, and two while a gateway comes up.
 *
 *    prepare --fork--> the gateway reads `before_fd`, writes `fd`
 *       `-- ready: settle --> before_fd is let go
 */
#ifndef FG_SUPERVISOR_KEPT_CACHE_H
#define FG_SUPERVISOR_KEPT_CACHE_H

#include "config/config.h"
#include "pipeline/pinned_pages_shared.h"

/* None yet. */
#define FG_KEPT_CACHE_INIT                                                                         \
    {                                                                                              \
        -1, -1                                                                                     \
    }

/* Before a gateway with `config` is forked. False: it keeps nothing, since no route of it pins or
 * there is no memory, which is logged. */
bool fg_kept_cache_prepare(struct fg_page_memory *kept, const struct fg_config *config);

/* The gateway that was forked last, with `config`, serves. */
void fg_kept_cache_settle(struct fg_page_memory *kept, const struct fg_config *config);

void fg_kept_cache_fini(struct fg_page_memory *kept);

#endif
