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
 * x-request-id and x-request-timeout-ms (what is left of the deadline at now_ns).
 */
struct fg_span fg_request_head_make(const struct fg_exchange *ex, struct fg_span host,
                                    bool is_chunked, uint64_t now_ns);

#endif
