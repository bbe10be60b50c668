/*
 * sticky_cookie.h: the cookie that binds a client to the server that it came to first.
 * Thread   any; pure functions over a request's head and its answer's.
 *
 *    cookie there --> its hash chooses the server
 *    missing --> a new one is made, its hash chooses, and the answer sets it
 */
#ifndef FG_PROXY_STICKY_COOKIE_H
#define FG_PROXY_STICKY_COOKIE_H

#include "backends/backend.h"
#include "proxy/cluster_conf.h"

/* A new value, of the exchange's arena; data NULL: no memory. */
struct fg_span fg_sticky_cookie_make(const struct fg_exchange *ex, uint64_t random);

/*
 * Sets the cookie in an answer, unless that may be kept and given to others, or sets it itself.
 * *fields are replaced by a copy in the arena; without memory the answer is left as it is, and the
 * client gets its cookie with the next one.
 */
void fg_sticky_cookie_add(const struct fg_hash_cookie_conf *conf, const struct fg_exchange *ex,
                          struct fg_span name, struct fg_span value, struct fg_field **fields,
                          size_t *count);

#endif
