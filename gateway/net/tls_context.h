/*
 * tls_context.h: what connections need of a listener's TLS context; its public side is listener.h.
 */
#ifndef FG_NET_TLS_CONTEXT_H
#define FG_NET_TLS_CONTEXT_H

#include "net/listener.h"
#include "net/tls_hosts.h"
#include "tls/tls_slot_shared.h"

struct fg_tls_context {
    const struct fg_listener_conf *conf;
    struct fg_tls_slot slot;
    struct fg_ticket_keys *tickets; /* borrowed; NULL: no resumption */
    uint64_t ticket_lifetime_s;
    struct fg_tls_context *const *all; /* of the program, by listener; NULL: of one without TLS */
    size_t all_count;
    bool minds_hosts; /* some request may be misdirected; false: none, nobody need ask */
};

/* The number of the rules for clients that a handshake, which is done, has kept to. */
uint8_t fg_tls_context_rules(const SSL *ssl);

/*
 * Must a request for `authority` come by another connection than one that has asked for
 * `server_name` (empty: none) and kept to `rules`? So it is where clients have to show something
 * else for that host, at this listener or another whose it is, or where the listener wants its
 * certificate to stand for it. Any loop, while files are read anew.
 */
bool fg_tls_context_is_misdirected(struct fg_tls_context *tls, uint8_t rules,
                                   struct fg_span server_name, struct fg_span authority);

#endif
