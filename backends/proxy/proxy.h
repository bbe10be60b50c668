/*
 * proxy.h: a cluster of HTTP/1.1 servers as a backend, over kept-alive connections.
 * Thread   create and destroy at start-up; each event loop has connections of its own.
 * Memory   a loop keeps at most max_connections / threads connections and as many upload buffers
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

#endif
