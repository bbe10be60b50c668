/*
 * forwarded.h: where a request really comes from, by what the proxies on its way have written.
 * Job      walk their notes from the nearest hop outwards, as long as each hop is a trusted one;
 *          the first that is not is the client. What stands beyond it was written by the client
 *          itself and is worth nothing.
 * Thread   any; pure.
 * Source   RFC 7239 sections 4 to 6; X-Forwarded-For as its users write it.
 */
#ifndef FG_HTTP_FORWARDED_H
#define FG_HTTP_FORWARDED_H

#include "backends/backend.h"
#include "base/cidr.h"
#include "config/config.h"

#define FG_FORWARDED_HOPS_MAX 32u

struct fg_forwarded {
    struct fg_ip hops[FG_FORWARDED_HOPS_MAX]; /* from the nearest; the last one is the client */
    size_t hop_count;                         /* 0: nothing is known beyond the peer */
    struct fg_span scheme;                    /* "http" or "https" as the client spoke; or empty */
};

/*
 * Reads the fields of `conf->forwarded` that a trusted peer has sent. A note that cannot be read, a
 * hop that hides itself and more than FG_FORWARDED_HOPS_MAX hops end the walk: the client is then
 * the last hop that is known.
 */
void fg_forwarded_read(const struct fg_listener_conf *conf, const struct fg_field *fields,
                       size_t field_count, struct fg_forwarded *forwarded);

/* Is it a field that tells of hops, or what a request was before one? `name` is in lower case. */
bool fg_forwarded_is_field(struct fg_span name);
/* Of these, one that tells of a path. */
bool fg_forwarded_is_path(struct fg_span name);

#endif
