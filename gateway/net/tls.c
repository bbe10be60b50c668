/*
 * tls.c: a BIO over two pointers, and OpenSSL's results put into four words.
 *
 * SSL_get_error is not used: it looks at the thread's error queue, in which other users of OpenSSL
 * may have left something. SSL_want and the shutdown state say the same about this connection
 * alone.
 */
#include "net/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static int bio_read(BIO *bio, char *to, size_t room, size_t *got)
{
    struct fg_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->in_len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t len = room < tls->in_len ? room : tls->in_len;
    memcpy(to, tls->in, len);
    tls->in += len;
    tls->in_len -= len;
    *got = len;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *written)
{
    struct fg_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!tls->output(tls->output_ctx, data, len))
        return 0;
    *written = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_PUSH || command == BIO_CTRL_POP ? 1 : 0;
}

BIO_METHOD *fg_tls_bio_method_create(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "floodgate");
    if (method == NULL)
        return NULL;
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    return method;
}

void fg_tls_bio_method_destroy(BIO_METHOD *method)
{
    if (method != NULL)
        BIO_meth_free(method);
}

/* A flood is not read to the end of what is there: each step of it is as dear as the one before. */
static void on_step(const SSL *ssl, int where, int result)
{
    (void)result;
    struct fg_tls *tls = BIO_get_data(SSL_get_rbio(ssl));
    if ((where & SSL_CB_LOOP) != 0 || (where & SSL_CB_ALERT) != 0)
        tls->chatter++;
    if (tls->chatter > FG_TLS_CHATTER_MAX)
        tls->in_len = 0;
}

void fg_tls_watch(SSL_CTX *ctx)
{
    SSL_CTX_set_info_callback(ctx, on_step);
}

enum fg_status fg_tls_open(struct fg_tls *tls, struct fg_tls_context *context, BIO_METHOD *method,
                           fg_tls_output_fn output, void *output_ctx)
{
    *tls = (struct fg_tls){.output = output, .output_ctx = output_ctx};
    SSL_CTX *ctx = fg_tls_slot_take(&context->slot);
    BIO *bio = BIO_new(method);
    if (bio == NULL)
        goto fail;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    tls->ssl = SSL_new(ctx);
    if (tls->ssl == NULL)
        goto free_bio;
    SSL_CTX_free(ctx);               /* the connection has a reference of its own */
    SSL_set_bio(tls->ssl, bio, bio); /* owns it from here */
    SSL_set_accept_state(tls->ssl);
    return FG_OK;
free_bio:
    BIO_free(bio);
fail:
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return FG_ERR_NO_MEMORY;
}

void fg_tls_close(struct fg_tls *tls)
{
    if (tls->ssl != NULL)
        SSL_free(tls->ssl);
    tls->ssl = NULL;
}

static enum fg_tls_result why(const struct fg_tls *tls)
{
    if ((SSL_get_shutdown(tls->ssl) & SSL_RECEIVED_SHUTDOWN) != 0)
        return FG_TLS_EOF;
    if (SSL_want(tls->ssl) == SSL_READING && tls->in_len == 0)
        return FG_TLS_MORE;
    ERR_clear_error(); /* what went wrong here is nobody else's business */
    return FG_TLS_FAILED;
}

enum fg_tls_result fg_tls_handshake(struct fg_tls *tls)
{
    if (SSL_do_handshake(tls->ssl) != 1)
        return why(tls);
    tls->chatter = 0; /* so far it had to be */
    return FG_TLS_OK;
}

enum fg_tls_result fg_tls_read(struct fg_tls *tls, char *to, size_t room, size_t *got)
{
    bool has_data = SSL_read_ex(tls->ssl, to, room, got) == 1;
    if (tls->chatter > FG_TLS_CHATTER_MAX)
        return FG_TLS_FLOOD;
    if (!has_data)
        return why(tls);
    size_t paid = *got / FG_TLS_CHATTER_DATA;
    tls->chatter -= paid < tls->chatter ? (unsigned)paid : tls->chatter;
    return FG_TLS_OK;
}

bool fg_tls_is_drained(const struct fg_tls *tls)
{
    return tls->in_len == 0 && SSL_has_pending(tls->ssl) == 0;
}

bool fg_tls_write(struct fg_tls *tls, const char *data, size_t len)
{
    size_t written;
    while (len > 0) {
        if (SSL_write_ex(tls->ssl, data, len, &written) != 1) {
            ERR_clear_error();
            return false;
        }
        data += written;
        len -= written;
    }
    return true;
}

void fg_tls_shutdown(struct fg_tls *tls)
{
    if (SSL_is_init_finished(tls->ssl) != 0 && SSL_shutdown(tls->ssl) < 0)
        ERR_clear_error();
}

bool fg_tls_is_h2(const struct fg_tls *tls)
{
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(tls->ssl, &name, &len);
    return len == 2 && memcmp(name, "h2", 2) == 0;
}

const char *fg_tls_version(const struct fg_tls *tls)
{
    return SSL_get_version(tls->ssl);
}

struct fg_span fg_tls_server_name(const struct fg_tls *tls)
{
    const char *name = SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name);
    return name == NULL ? FG_SPAN("") : fg_span_from_string(name);
}

bool fg_tls_has_certificate(const struct fg_tls *tls)
{
    return SSL_get0_peer_certificate(tls->ssl) != NULL &&
           SSL_get_verify_result(tls->ssl) == X509_V_OK;
}

/* Printable, without blanks: it goes into logs and to backends. */
static bool copy_user(const unsigned char *data, int len, char *user, size_t room)
{
    if (len <= 0 || (size_t)len >= room)
        return false;
    for (int i = 0; i < len; i++) {
        if (data[i] <= 0x20 || data[i] >= 0x7f)
            return false;
    }
    memcpy(user, data, (size_t)len);
    user[len] = '\0';
    return true;
}

static bool user_of_alternative(const X509 *certificate, int type, char *user, size_t room)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool is_found = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(all) && !is_found; i++) {
        const GENERAL_NAME *one = sk_GENERAL_NAME_value(all, i);
        if (one->type == type)
            is_found = copy_user(ASN1_STRING_get0_data(one->d.ia5), ASN1_STRING_length(one->d.ia5),
                                 user, room);
    }
    GENERAL_NAMES_free(all);
    return is_found;
}

static bool user_of_name(const X509 *certificate, char *user, size_t room)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0)
        return false;
    const ASN1_STRING *name = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    return copy_user(ASN1_STRING_get0_data(name), ASN1_STRING_length(name), user, room);
}

static bool user_of_fingerprint(const X509 *certificate, char *user, size_t room)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    if (X509_digest(certificate, EVP_sha256(), digest, &len) != 1 || room < 2 * (size_t)len + 1)
        return false;
    for (unsigned i = 0; i < len; i++)
        snprintf(user + 2 * i, 3, "%02x", digest[i]);
    return true;
}

bool fg_tls_client_user(const struct fg_tls *tls, enum fg_client_user kind, char *user, size_t room)
{
    const X509 *certificate = SSL_get0_peer_certificate(tls->ssl);
    bool is_found = false;
    if (!fg_tls_has_certificate(tls))
        return false;
    switch (kind) {
    case FG_CLIENT_USER_CN:
        is_found = user_of_name(certificate, user, room);
        break;
    case FG_CLIENT_USER_SAN_DNS:
        is_found = user_of_alternative(certificate, GEN_DNS, user, room);
        break;
    case FG_CLIENT_USER_SAN_URI:
        is_found = user_of_alternative(certificate, GEN_URI, user, room);
        break;
    case FG_CLIENT_USER_FINGERPRINT:
        is_found = user_of_fingerprint(certificate, user, room);
        break;
    }
    ERR_clear_error();
    return is_found;
}
