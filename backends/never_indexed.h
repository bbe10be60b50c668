/*
 * never_indexed.h: names of fields that came with the mark that no table may ever hold them.
 * Job      let the next HTTP/2 hop write them with the same mark, as an intermediary must.
 * Thread   the exchange's loop; no I/O.
 * Never    tells two fields of one name apart: all of a name are marked when one was.
 * Memory   the exchange's arena, and nothing for the many messages without such a field.
 * Source   RFC 7541 sections 6.2.3 and 7.1.3.
 */
#ifndef FG_NEVER_INDEXED_H
#define FG_NEVER_INDEXED_H

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"

#include <stdbool.h>

#define FG_NEVER_INDEXED_MAX 8u

struct fg_never_indexed {
    size_t count;
    bool is_all; /* there were more names than are kept here */
    struct fg_span names[FG_NEVER_INDEXED_MAX];
};

/* `*list` is NULL or what this has made; `name` is copied. False without memory. */
FG_MUST_USE bool fg_never_indexed_add(struct fg_never_indexed **list, struct fg_arena *arena,
                                      struct fg_span name);

/* May `name` not be indexed? A list of NULL names nothing. */
static inline bool fg_never_indexed_has(const struct fg_never_indexed *list, struct fg_span name)
{
    if (list == NULL)
        return false;
    for (size_t i = 0; i < list->count; i++) {
        if (fg_span_equal(list->names[i], name))
            return true;
    }
    return list->is_all;
}

#endif
