/*
 * tls_clients.h: what clients must show who come for one name: their certificates' authorities, and
 * what those have revoked; and whom they are taken for.
 * Thread   the main thread: it reads files.
 * Memory   its own until _fini; zeroed is "nothing".
 * Source   RFC 5280 section 6.
 */
#ifndef FG_NET_TLS_CLIENTS_H
#define FG_NET_TLS_CLIENTS_H

#include "config/config.h"

#include <openssl/ssl.h>

struct fg_tls_clients {
    const char *authorities_file; /* of the configuration, as the next two */
    const char *revoked_file;     /* NULL: not looked at */
    enum fg_client_auth auth;
    enum fg_client_user user;
    const char *user_prefix; /* NULL: none */
    STACK_OF(X509) * authorities;
    STACK_OF(X509_CRL) * revoked;
    uint64_t revoked_until_s; /* when the first of them is over; 0: never */
    uint64_t trusted_until_s; /* the same of the authorities */
};

/* The rules of a listener, or of its certificate `index` (the listener's own is 0), not loaded. */
struct fg_tls_clients fg_tls_clients_of(const struct fg_listener_conf *conf, size_t index);
/* Do both demand the same of the same clients? */
bool fg_tls_clients_equal(const struct fg_tls_clients *a, const struct fg_tls_clients *b);

/* Do both have their authorities, or their lists, from one file? */
bool fg_tls_clients_share_ca(const struct fg_tls_clients *a, const struct fg_tls_clients *b);
bool fg_tls_clients_share_crl(const struct fg_tls_clients *a, const struct fg_tls_clients *b);

/* False with `error`, which names `listener` and the file. */
bool fg_tls_clients_load(struct fg_tls_clients *clients, const char *listener,
                         struct fg_error *error);
void fg_tls_clients_fini(struct fg_tls_clients *clients);

/* Connections of ctx ask for it; false: OpenSSL is short of memory. */
bool fg_tls_clients_set(const struct fg_tls_clients *clients, SSL_CTX *ctx);
/* All that decides who gets in, for a digest. */
bool fg_tls_clients_digest(const struct fg_tls_clients *clients, EVP_MD_CTX *digest);

#endif
