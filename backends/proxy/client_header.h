/*
 * client_header.h: the PROXY protocol header that tells a server whose connection it is given.
 * Job      versions 1 (a line of text) and 2 (binary, with what else is asked for), sent.
 * Thread   any; pure.
 * Source   the PROXY protocol specification, sections 2.1 and 2.2.
 * Trap     a connection that began with one client's header is that client's: upstream.c reuses it
 *          for a request with the same header alone, byte by byte.
 */
#ifndef FG_PROXY_CLIENT_HEADER_H
#define FG_PROXY_CLIENT_HEADER_H

#include "backends/backend.h"
#include "proxy/cluster_conf.h"

/* Of both versions, with everything that can be asked for. */
#define FG_CLIENT_HEADER_BYTES_MAX ((size_t)512)

/*
 * The header for `ex`, which is not empty; of an exchange without a client (a check) it says that
 * nobody stands behind it. `alpn`: what will be spoken on the connection; empty: not known yet.
 * Returns the length of what is in `to`.
 */
size_t fg_client_header_make(const struct fg_exchange *ex, const struct fg_cluster_conf *conf,
                             struct fg_span alpn, char to[FG_CLIENT_HEADER_BYTES_MAX]);

#endif
