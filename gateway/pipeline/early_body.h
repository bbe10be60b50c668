/*
 * early_body.h: what has come of a request's body before its backend is called, in one piece.
 * Thread   the request's loop.
 * Memory   the request's arena: at most twice what has come, whatever was announced, and 2 KiB.
 */
#ifndef FG_EARLY_BODY_H
#define FG_EARLY_BODY_H

#include "base/arena.h"

/* Zeroed is empty. */
struct fg_early_body {
    char *data; /* lives as long as the arena; moves when more is added */
    size_t len;
    size_t capacity;
};

/* Append a piece, not an empty one, of a body of at most `bytes_max`; false without memory: it is
 * what it was. */
FG_MUST_USE bool fg_early_body_try_add(struct fg_early_body *body, struct fg_arena *arena,
                                       const void *data, size_t len, uint64_t bytes_max);

#endif
