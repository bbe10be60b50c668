/*
 * cache_serve.h: a stored response, or one on its way into the store, to a client.
 * Thread   the request's loop.
 */
#ifndef FG_PIPELINE_CACHE_SERVE_H
#define FG_PIPELINE_CACHE_SERVE_H

#include "flow.h"

/* Answer with a whole object: 304, a range, a coding, or all of it. */
void fg_cache_serve(struct fg_flow *flow, struct fg_cache_object *object);

/*
 * Takes over the caller's use of the lease: what is served of it stays as long as the request, so
 * that nothing of it need be copied. False: there is no memory, and the use is still the caller's.
 */
bool fg_cache_hold(struct fg_flow *flow, struct fg_cache_lease *lease);

/* Begin to answer with what flow->cache_reader reads, and send what is there. */
void fg_cache_serve_stream(struct fg_flow *flow, const struct fg_cache_news *news);
/* There is more to read, or the client takes more. */
void fg_cache_pump(struct fg_flow *flow);

/* Does the request ask for less than the whole? */
bool fg_cache_is_partial(const struct fg_exchange *ex);

#endif
