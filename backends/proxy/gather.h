/*
 * gather.h: small pieces of an answer, handed on together.
 * Job      a server that cuts its answer into chunks or frames of a few bytes must not cost a call
 *          through all of the answer's way, and a chunk or frame towards the client, for each.
 * Thread   the exchange's loop. One lives on the stack while one read is taken apart.
 * Never    keeps a byte longer than that: what came is handed on before the next read.
 */
#ifndef FG_PROXY_GATHER_H
#define FG_PROXY_GATHER_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define FG_GATHER_PIECE ((size_t)512) /* from here on a piece is handed on as it lies */
#define FG_GATHER_ROOM ((size_t)4096)

struct fg_gather {
    size_t len;
    char bytes[FG_GATHER_ROOM];
};

/* Must what was gathered be handed on before `data` is taken? */
static inline bool fg_gather_is_full(const struct fg_gather *gather, struct fg_span data)
{
    return data.len >= FG_GATHER_PIECE || data.len > FG_GATHER_ROOM - gather->len;
}

/* False: it is large, and to be handed on as it lies. */
static inline bool fg_gather_add(struct fg_gather *gather, struct fg_span data)
{
    if (data.len >= FG_GATHER_PIECE)
        return false;
    memcpy(gather->bytes + gather->len, data.data, data.len);
    gather->len += data.len;
    return true;
}

/* All of it, which is then empty; its bytes are valid until something is added. */
static inline struct fg_span fg_gather_take(struct fg_gather *gather)
{
    struct fg_span all = fg_span_make(gather->bytes, gather->len);
    gather->len = 0;
    return all;
}

#endif
