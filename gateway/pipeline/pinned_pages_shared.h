/*
 * pinned_pages_shared.h: what `cache: pinned` keeps, from one gateway process to the next.
 * Job      write the pinned objects into memory that the supervisor holds, and read back what the
 *          gateway before this one has written: neither a reload nor a crash loses a pinned page.
 * Protocol one thread (the gateway's main one) writes, to the area that is not valid, and makes it
 *          valid by the head; any thread may make what is there void, under the mutex, as soon as a
 *          pinned object is gone for good: it must not come back. A reader of another process takes
 *          the head before and after, and tries again where it has moved.
 * Never    runs on an event loop but for forgetting, which is one write of a few bytes.
 * Memory   as much as the pinned objects have, and while they are written twice as much.
 *
 *    head (sequence, valid area, its bytes) | area 1 | area 2     an area: page after page
 */
#ifndef FG_PIPELINE_PINNED_PAGES_SHARED_H
#define FG_PIPELINE_PINNED_PAGES_SHARED_H

#include "config/config.h"
#include "pipeline/cache_store_shared.h"

/* Memory files; -1: none. */
struct fg_page_memory {
    int fd;        /* empty, to be written */
    int before_fd; /* what the gateway before has written, and may still write */
};

struct fg_pinned_pages;

/*
 * Takes over what is in before_fd, as far as `config` has a route of that name that pins, and
 * writes it into fd at once. `store`, `config` and the descriptors outlive it. NULL without memory.
 */
struct fg_pinned_pages *fg_pinned_pages_create(struct fg_cache_store *store,
                                               const struct fg_config *config,
                                               const struct fg_page_memory *memory);
void fg_pinned_pages_destroy(struct fg_pinned_pages *pages); /* NULL is fine */

/* Writes what has changed, if anything has; again and again, by one thread. Blocks. */
void fg_pinned_pages_keep(struct fg_pinned_pages *pages, uint64_t now_ns);

/* How many the next process would find; 0 for NULL. Any thread. */
size_t fg_pinned_pages_kept(struct fg_pinned_pages *pages);
/* How many were taken over. */
size_t fg_pinned_pages_restored(const struct fg_pinned_pages *pages);

#endif
