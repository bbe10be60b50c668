/*
 * tls.h: one connection's TLS, between bytes in memory and bytes in memory.
 * Job      take ciphertext from where the connection points, and put ciphertext where it says.
 * Thread   the loop's.
 * Never    makes a system call: sockets are the connection's. Lets a secret out of the process.
 * Memory   during the handshake, and for TLS 1.2, OpenSSL's, whose record buffers are freed
 *          whenever they are empty; afterwards what tls_records.h says.
 *
 *    open --> handshake (OpenSSL) --settle--> records of our own     TLS 1.3, one of three suites
 *                                       `---> OpenSSL goes on        all else
 */
#ifndef FG_NET_TLS_H
#define FG_NET_TLS_H

#include "base/prefetch.h"
#include "net/tls_context.h"
#include "net/tls_records.h"

/* Takes `len` bytes of ciphertext; false when there is no place for them. */
typedef bool (*fg_tls_output_fn)(void *ctx, const void *data, size_t len);

/* What the TLS of all connections of a loop is made with. */
struct fg_tls_env {
    BIO_METHOD *bio_method;
    struct fg_tls_crypto crypto;
    struct fg_segment_pool *segments; /* the loop's */
};

/* What the end of a handshake has to know of it. */
struct fg_tls_account {
    uint8_t secret_bytes; /* of the traffic secret; 0: it has not been told yet */
    unsigned records;     /* since then, under the keys of it */
};

struct fg_tls {
    struct fg_tls_env *env;
    SSL *ssl;                       /* NULL: it is settled, or was never opened */
    struct fg_tls_records *records; /* of our own; before it is settled they hold secrets alone */
    const char *in;                 /* ciphertext not read yet; borrowed for the time of a call */
    size_t in_len;
    fg_tls_output_fn output;
    void *output_ctx;
    char *server_name; /* once settled; NULL: it asked for none */
    unsigned chatter;  /* of OpenSSL's, as in tls_records.h */
    struct fg_tls_account read, written;
    bool is_h2; /* once settled, and so on */
    bool has_certificate;
    uint8_t rules; /* for clients, that the handshake has kept to, as in tls_context.h */
};

/* FG_ERR_NO_MEMORY. */
FG_MUST_USE enum fg_status fg_tls_env_init(struct fg_tls_env *env,
                                           struct fg_segment_pool *segments);
/* No connection of it is open. */
void fg_tls_env_fini(struct fg_tls_env *env);

/* Count what its connections say, beside data and in all. */
void fg_tls_watch(SSL_CTX *ctx);

/* FG_ERR_NO_MEMORY. */
FG_MUST_USE enum fg_status fg_tls_open(struct fg_tls *tls, struct fg_tls_context *context,
                                       struct fg_tls_env *env, fg_tls_output_fn output,
                                       void *output_ctx);
void fg_tls_close(struct fg_tls *tls);

/* FG_TLS_OK: done. Uses tls->in. */
enum fg_tls_result fg_tls_handshake(struct fg_tls *tls);
/* Of one that needs more: has the client been asked for a second hello? */
bool fg_tls_awaits_hello(const struct fg_tls *tls);
/* Of a handshake that is done: was it another one's session? */
bool fg_tls_is_resumed(const struct fg_tls *tls);
/* Of a handshake that has failed: what is wrong with the client's certificate; NULL: it was not
 * that. */
const char *fg_tls_certificate_fault(const struct fg_tls *tls);
/* Has the client been given an OCSP response with the certificate? */
bool fg_tls_is_stapled(const struct fg_tls *tls);
/*
 * The user that the client's verified certificate names, with a NUL; false: it sent none, or has
 * no such name. After the handshake, before it is settled.
 */
bool fg_tls_client_user(const struct fg_tls *tls, enum fg_client_user kind, char *user,
                        size_t room);
/* Behind the handshake: from here on records are our own, if they can be. */
void fg_tls_settle(struct fg_tls *tls);
static inline bool fg_tls_has_own_records(const struct fg_tls *tls)
{
    return tls->ssl == NULL && tls->records != NULL;
}

/* FG_TLS_OK: *got bytes of plaintext in `to`, of FG_TLS_OPEN_ROOM. FG_TLS_FAILED: if the client is
 * to be told why, that was put out. */
enum fg_tls_result fg_tls_read(struct fg_tls *tls, char *to, size_t *got);

/* Is there nothing that another read could give? */
bool fg_tls_is_drained(const struct fg_tls *tls);

/* Of own records: fg_tls_records_seal. */
static inline size_t fg_tls_seal(struct fg_tls *tls, char *at, size_t len)
{
    return fg_tls_records_seal(tls->records, at, len);
}
/* Of OpenSSL's: encrypts all of at most 16 KiB; false: broken. */
bool fg_tls_write(struct fg_tls *tls, const char *data, size_t len);

/* Writes the goodbye. */
void fg_tls_shutdown(struct fg_tls *tls);

/* Does it hold memory that is of use only while it is read and written? */
static inline bool fg_tls_is_awake(const struct fg_tls *tls)
{
    return fg_tls_has_own_records(tls) &&
           (tls->records->opening.ctx != NULL || tls->records->sealing.ctx != NULL);
}
/* What a read will need, and what a write will. */
static inline void fg_tls_prefetch_read(const struct fg_tls *tls)
{
    if (!fg_tls_has_own_records(tls))
        return;
    fg_prefetch(tls->records, sizeof(*tls->records));
    fg_tls_keys_prefetch(&tls->records->opening);
}
static inline void fg_tls_prefetch_write(const struct fg_tls *tls)
{
    if (fg_tls_has_own_records(tls))
        fg_tls_keys_prefetch(&tls->records->sealing);
}
/* Gives that back, unless it was of use since the last call; true: it has. */
bool fg_tls_rest(struct fg_tls *tls);

/* The rest may be asked once it is settled, for as long as it is open. */
bool fg_tls_is_h2(const struct fg_tls *tls);
/* A constant. */
const char *fg_tls_version(const struct fg_tls *tls);
/* That the client asked for; empty: none. Lives until the TLS is closed. */
struct fg_span fg_tls_server_name(const struct fg_tls *tls);
/* Has the client shown a certificate that was verified? */
bool fg_tls_has_certificate(const struct fg_tls *tls);

#endif
