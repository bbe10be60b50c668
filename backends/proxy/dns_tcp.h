/*
 * dns_tcp.h: asks a name server over TCP (RFC 7766), for answers that do not fit a datagram.
 * Thread   helper threads: it blocks, for TIMEOUT_S a server at most.
 */
#ifndef FG_PROXY_DNS_TCP_H
#define FG_PROXY_DNS_TCP_H

#include "proxy/dns_message.h"

/*
 * `server` as in the configuration. False: it gave no answer; otherwise `on_address` has been
 * called for each address, of which there may be none.
 */
bool fg_dns_tcp_ask(const char *server, const char *host, enum fg_dns_type type,
                    fg_dns_address_fn on_address, void *arg);

#endif
