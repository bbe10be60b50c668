/*
 * request_head.h: an exchange as the head of an HTTP/1.1 request.
 * Thread   the exchange's loop; pure but for the arena.
 */
#ifndef FG_PROXY_REQUEST_HEAD_H
#define FG_PROXY_REQUEST_HEAD_H

#include "backends/backend.h"

/*
 * The whole head in the exchange's arena, data NULL without memory. `host` goes into Host.
 * `is_chunked` frames a body of unknown length. Adds x-forwarded-for (appended), x-forwarded-proto,
 * x-request-id and x-request-timeout-ms (what is left of the deadline at now_ns); asks for the
 * exchange's upgrade, or for trailers where the client can read them.
 */
struct fg_span fg_request_head_make(const struct fg_exchange *ex, struct fg_span host,
                                    bool is_chunked, uint64_t now_ns);

/* "0" and the exchange's trailers, in its arena; data NULL without memory. Behind a chunked body.
 */
struct fg_span fg_request_last_chunk_make(const struct fg_exchange *ex);

#endif
