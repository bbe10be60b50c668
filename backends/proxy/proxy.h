/*
 * proxy.h: a cluster of HTTP servers as a backend.
 * Thread   create and destroy at start-up; each event loop has connections of its own.
 * Memory   all loops together keep at most max_connections connections and as many upload buffers
 *          as they need; what one request needs lives in the request's arena.
 */
#ifndef FG_PROXY_H
#define FG_PROXY_H

#include "backends/backend.h"
#include "proxy/cluster_conf.h"

/*
 * Takes addresses apart and looks names up (may block; start-up). A name that is not known now is
 * no error: it is asked for again when it is needed. NULL with `error` set when an address cannot
 * be read or memory is short. `name` and what `conf` points at must outlive the backend.
 */
struct fg_backend *fg_proxy_create(const char *name, const struct fg_cluster_conf *conf,
                                   unsigned thread_count, struct fg_error *error);

/*
 * The operator's hand, until the next start. Any thread. `address` is host:port with a numeric
 * host, or unix:/path. FG_ERR_INVALID: it is none; FG_ERR_LIMIT: endpoints_max; FG_ERR_NO_MEMORY.
 */
FG_MUST_USE enum fg_status fg_proxy_add_endpoint(struct fg_backend *backend, struct fg_span address,
                                                 uint32_t weight, uint32_t priority);
/* One that was added so. False: there is none. */
bool fg_proxy_remove_endpoint(struct fg_backend *backend, struct fg_span address);
/* Any: it gets no new requests while it is disabled. False: there is none. */
bool fg_proxy_set_endpoint_enabled(struct fg_backend *backend, struct fg_span address,
                                   bool is_enabled);

#endif
