/*
 * admin_query.h: the query of a request to the admin side, word by word: "name=value&name=value".
 * Job      percent signs decoded (RFC 3986 section 2.1), in names and values. "+" is a plus.
 * Thread   the admin loop's.
 * Memory   what is decoded lies in the request's arena; what holds no percent sign is not copied.
 */
#ifndef FG_ADMIN_ADMIN_QUERY_H
#define FG_ADMIN_ADMIN_QUERY_H

#include "backends/backend.h"

struct fg_admin_query {
    struct fg_arena *arena;
    struct fg_span rest; /* data NULL: nothing is left */
    bool is_bad;         /* an escape that is none or of a control character, or no memory */
};

void fg_admin_query_init(struct fg_admin_query *query, const struct fg_exchange *ex);

/* False at the end, and where the query is bad. A word without "=" has a value with data NULL. */
bool fg_admin_query_next(struct fg_admin_query *query, struct fg_span *name, struct fg_span *value);

/*
 * A path as cache keys have it: what can stand there only as an escape is one again, so that a path
 * is found whether its own percent signs were escaped once more or not. Data NULL without memory.
 */
struct fg_span fg_admin_query_path(struct fg_arena *arena, struct fg_span value);

#endif
