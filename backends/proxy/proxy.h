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
#include "proxy/endpoint_change.h"

/*
 * Takes addresses apart and looks names up (may block; start-up). A name that is not known now is
 * no error: it is asked for again when it is needed. NULL with `error` set when an address cannot
 * be read or memory is short. `name` and what `conf` points at must outlive the backend.
 */
struct fg_backend *fg_proxy_create(const char *name, const struct fg_cluster_conf *conf,
                                   unsigned thread_count, struct fg_error *error);

/*
 * The operators' hand. Any thread, one at a time: from now on the cluster has, besides its own, the
 * endpoints that its part of `changes` adds, and asks none that they disable. An added one that is
 * its own, too, is its own alone. FG_ERR_INVALID: an added address is not host:port with a numeric
 * host or unix:/path; FG_ERR_LIMIT: endpoints_max; FG_ERR_NO_MEMORY. Then nothing has changed, or
 * without memory only who is listed.
 */
FG_MUST_USE enum fg_status fg_proxy_obey(struct fg_backend *backend,
                                         const struct fg_endpoint_changes *changes);
/* Is the address one of its own, by the configuration or the endpoints file? */
bool fg_proxy_is_configured(struct fg_backend *backend, const char *address);
/* Is an endpoint of this name, or at this address, listed? */
bool fg_proxy_has_endpoint(struct fg_backend *backend, struct fg_span name);

/* The file of the certificate that its servers are shown, and seconds until that is over (below 0:
 * it is); NULL: they are shown none. Any thread. */
const char *fg_proxy_certificate(struct fg_backend *backend, int64_t *left_s);
/* Read the files of its TLS anew, for connections that begin from now on. FG_ERR_CONFIG with
 * `error`: all is as it was. On the main thread. */
FG_MUST_USE enum fg_status fg_proxy_reload_tls(struct fg_backend *backend, struct fg_error *error);

#endif
