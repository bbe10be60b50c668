/*
 * body_collector.h: gather a small request body into one piece of the request's arena.
 * Thread   the exchange's loop. Memory: the arena, at most bytes_max.
 */
#ifndef FG_BODY_COLLECTOR_H
#define FG_BODY_COLLECTOR_H

#include "backends/backend.h"

/* Zeroed plus bytes_max (and values_max, for parse_object) is empty. */
struct fg_body_collector {
    char *data;
    size_t len;
    size_t capacity;
    size_t bytes_max;
    size_t values_max; /* of JSON, see base/json_values.h */
};

/*
 * Append a piece and tell the gateway that it was consumed. FG_ERR_LIMIT when bytes_max would be
 * passed, FG_ERR_NO_MEMORY when the arena is used up.
 */
FG_MUST_USE enum fg_status fg_body_collector_add(struct fg_body_collector *body,
                                                 struct fg_exchange *ex, const void *data,
                                                 size_t len);

/*
 * Parse what was gathered as one JSON object. NULL after it has answered 400 `invalid_json` with
 * the place and the reason, or 413 `body_too_complex`, in which case `ex` is gone. The caller owns
 * the reference.
 */
json_t *fg_body_collector_parse_object(const struct fg_body_collector *body,
                                       struct fg_exchange *ex);

#endif
