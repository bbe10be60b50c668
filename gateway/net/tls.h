/*
 * tls.h: one connection's TLS, between bytes in memory and bytes in memory.
 * Job      take ciphertext from where the connection points, and put ciphertext where it says.
 * Thread   the loop's.
 * Never    makes a system call: sockets are the connection's.
 * Memory   OpenSSL's state; its record buffers are freed whenever they are empty.
 */
#ifndef FG_NET_TLS_H
#define FG_NET_TLS_H

#include "net/tls_context.h"

enum fg_tls_result {
    FG_TLS_OK,
    FG_TLS_MORE,   /* all input is used up; more is needed to go on */
    FG_TLS_EOF,    /* the peer said goodbye properly */
    FG_TLS_FLOOD,  /* the peer says too much that brings no data */
    FG_TLS_FAILED, /* broken, for good */
};

/*
 * Key updates, alerts and attempts to renegotiate, after the handshake: each costs as much as some
 * KiB of data (new keys, a record in answer), and OpenSSL takes them without end. A peer may say
 * so many steps' worth of them at once (a key update is five), and one more for so many bytes of
 * data in a read.
 */
#define FG_TLS_CHATTER_MAX 300u
#define FG_TLS_CHATTER_DATA ((size_t)2048)

/* Takes `len` bytes of ciphertext; false when there is no place for them. */
typedef bool (*fg_tls_output_fn)(void *ctx, const void *data, size_t len);

/* The connection's side of the custom BIO. */
struct fg_tls {
    SSL *ssl;
    const char *in; /* ciphertext not read yet; borrowed for the time of a call */
    size_t in_len;
    fg_tls_output_fn output;
    void *output_ctx;
    unsigned chatter; /* steps of that kind, less those that data has paid for */
};

/* One for the process; NULL when memory is short. Made by the first caller before threads start or
 * by each thread for itself: cheap either way. */
BIO_METHOD *fg_tls_bio_method_create(void);
void fg_tls_bio_method_destroy(BIO_METHOD *method);

/* Count what its connections say beside data. */
void fg_tls_watch(SSL_CTX *ctx);

/* FG_ERR_NO_MEMORY. */
FG_MUST_USE enum fg_status fg_tls_open(struct fg_tls *tls, struct fg_tls_context *context,
                                       BIO_METHOD *method, fg_tls_output_fn output,
                                       void *output_ctx);
void fg_tls_close(struct fg_tls *tls);

/* FG_TLS_OK: done. Uses tls->in. */
enum fg_tls_result fg_tls_handshake(struct fg_tls *tls);

/* FG_TLS_OK: *got bytes of plaintext. */
enum fg_tls_result fg_tls_read(struct fg_tls *tls, char *to, size_t room, size_t *got);

/* Is there nothing that another read could give? */
bool fg_tls_is_drained(const struct fg_tls *tls);

/* Encrypts all of at most 16 KiB; false: broken. */
bool fg_tls_write(struct fg_tls *tls, const char *data, size_t len);

/* Writes the goodbye. */
void fg_tls_shutdown(struct fg_tls *tls);

bool fg_tls_is_h2(const struct fg_tls *tls);
const char *fg_tls_version(const struct fg_tls *tls);
/* That the client asked for; empty: none. Lives as long as the connection's TLS. */
struct fg_span fg_tls_server_name(const struct fg_tls *tls);
/* Has the client shown a certificate that was verified? */
bool fg_tls_has_certificate(const struct fg_tls *tls);

/* The user that the client's verified certificate names, with a NUL; false: it sent none, or has
 * no such name. After the handshake. */
bool fg_tls_client_user(const struct fg_tls *tls, enum fg_client_user kind, char *user,
                        size_t room);

#endif
