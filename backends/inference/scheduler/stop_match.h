/*
 * stop_match.h: find the first stop string in a stream of text, holding back what may become one.
 * Job      text goes in by pieces, comes out as soon as no stop string can begin in it any more.
 * Thread   the owner's. Memory: by value, at most FG_STOP_BYTES_MAX - 1 bytes are held.
 *
 *    in    "Hello wo"  "rl"  "d!"        stop "world!"
 *    out   "Hello "    ""    "" + found
 */
#ifndef FG_INFERENCE_STOP_MATCH_H
#define FG_INFERENCE_STOP_MATCH_H

#include "base/span.h"

#define FG_STOP_COUNT_MAX 4u
#define FG_STOP_BYTES_MAX ((size_t)256)

struct fg_stop_match {
    uint32_t count;
    size_t lens[FG_STOP_COUNT_MAX];
    char stops[FG_STOP_COUNT_MAX][FG_STOP_BYTES_MAX];
    size_t held_len;
    char held[FG_STOP_BYTES_MAX];
};

/* Copies the stops. False when one is empty or longer than FG_STOP_BYTES_MAX, or there are too
 * many. */
bool fg_stop_match_init(struct fg_stop_match *match, const struct fg_span *stops, uint32_t count);

/*
 * Feed `text`; what may go out is written to `out`, which has room for FG_STOP_BYTES_MAX bytes more
 * than the text. Returns whether a stop string was found: then *out_len bytes before it have been
 * written and nothing is held.
 */
bool fg_stop_match_push(struct fg_stop_match *match, struct fg_span text, char *out,
                        size_t *out_len);

/* The stream ended: writes what is held (at most FG_STOP_BYTES_MAX bytes) and returns its length.
 */
size_t fg_stop_match_finish(struct fg_stop_match *match, char *out);

#endif
