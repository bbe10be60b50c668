/*
 * cache_hint.h: an interim answer (103, RFC 8297) from a fetch of the cache to the client that
 * caused it.
 * Job      copy status and fields, whose text is the backend's for one call alone.
 * Thread   the loop of the fetch, which is its leader's.
 * Memory   one heap block a hint; a backend's heads of one answer are bounded, and so are these.
 */
#ifndef FG_PIPELINE_CACHE_HINT_H
#define FG_PIPELINE_CACHE_HINT_H

#include "backends/backend.h"

struct fg_cache_hint {
    struct fg_cache_hint *next;
    unsigned status;
    size_t field_count;
    struct fg_field fields[];
};

/* NULL without memory: a hint is help, and an answer without it is as good. */
struct fg_cache_hint *fg_cache_hint_create(unsigned status, const struct fg_field *fields,
                                           size_t field_count);
/* It and all behind it; NULL is fine. */
void fg_cache_hint_destroy_all(struct fg_cache_hint *hint);

#endif
