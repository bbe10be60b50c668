/*
 * tls_context.c: the OpenSSL server context of one listener.
 * Job      certificate and key, versions and ciphers, ALPN, tickets.
 * Thread   made by the supervisor's start-up; then shared read-only by all loops, as OpenSSL
 * allows. Ticket keys are in the context, so that a client may resume on any thread. Never
 * compression, renegotiation, or a protocol older than TLS 1.2.
 */
#include "net/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

static const char reason_unknown[] = "unknown reason";

static const char *last_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    return reason == NULL ? reason_unknown : reason;
}

/* Our preference, not the client's order (RFC 7301 section 3.2). */
static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    (void)ssl;
    (void)arg;
    unsigned char *chosen;
    int result = SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, in, in_len);
    if (result != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static enum fg_status load_files(SSL_CTX *ctx, const struct fg_listener_conf *conf,
                                 struct fg_error *error)
{
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, conf->certificate) != 1)
        return fg_error_set(error, "listener %s: cannot use certificate %s: %s", conf->name,
                            conf->certificate, last_reason());
    if (SSL_CTX_use_PrivateKey_file(ctx, conf->private_key, SSL_FILETYPE_PEM) != 1)
        return fg_error_set(error, "listener %s: cannot use private key %s: %s", conf->name,
                            conf->private_key, last_reason());
    if (SSL_CTX_check_private_key(ctx) != 1)
        return fg_error_set(error, "listener %s: private key %s does not belong to certificate %s",
                            conf->name, conf->private_key, conf->certificate);
    return FG_OK;
}

static bool set_policy(SSL_CTX *ctx, const struct fg_listener_conf *conf)
{
    static const unsigned char session_context[] = "floodgate";
    bool is_1_3_only = conf->tls_min != NULL && strcmp(conf->tls_min, "1.3") == 0;
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_SINGLE_ECDH_USE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets only: nothing to share */
    SSL_CTX_set_alpn_select_cb(ctx, select_protocol, NULL);
    return SSL_CTX_set_min_proto_version(ctx, is_1_3_only ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1 &&
           SSL_CTX_set_session_id_context(ctx, session_context, sizeof(session_context) - 1) == 1;
}

struct fg_tls_context *fg_tls_context_create(const struct fg_listener_conf *conf,
                                             struct fg_error *error)
{
    struct fg_tls_context *tls = calloc(1, sizeof(*tls));
    if (tls == NULL) {
        fg_error_set(error, "listener %s: out of memory", conf->name);
        return NULL;
    }
    tls->ctx = SSL_CTX_new(TLS_server_method());
    if (tls->ctx == NULL || !set_policy(tls->ctx, conf)) {
        fg_error_set(error, "listener %s: cannot set TLS up: %s", conf->name, last_reason());
        goto destroy;
    }
    if (load_files(tls->ctx, conf, error) != FG_OK)
        goto destroy;
    return tls;
destroy:
    ERR_clear_error();
    fg_tls_context_destroy(tls);
    return NULL;
}

void fg_tls_context_destroy(struct fg_tls_context *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->ctx);
    free(tls);
}
