/*
 * tls_tickets.h: session tickets of one OpenSSL context.
 * Job      made and read with keys that rotate; good only for the server name that they were made
 *          under, so that no session, and no client's certificate in it, goes from one to another;
 *          and no longer than that certificate.
 * Thread   set by the main thread; the callbacks run on the loops'.
 * Memory   in the ticket, which the client keeps.
 */
#ifndef FG_NET_TLS_TICKETS_H
#define FG_NET_TLS_TICKETS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

struct fg_ticket_keys;

/*
 * `keys` outlives `ctx`; NULL: no session can be resumed. From `clients_until_s` on (since 1970; 0:
 * no end) none is that a client's certificate is in: nobody can say whether it was revoked. False
 * when OpenSSL is short of memory.
 */
bool fg_tls_tickets_set(SSL_CTX *ctx, struct fg_ticket_keys *keys, uint64_t lifetime_s,
                        uint64_t clients_until_s);

#endif
