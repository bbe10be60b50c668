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

enum fg_status fg_tls_open(struct fg_tls *tls, const struct fg_tls_context *context,
                           BIO_METHOD *method, fg_tls_output_fn output, void *output_ctx)
{
    *tls = (struct fg_tls){.output = output, .output_ctx = output_ctx};
    BIO *bio = BIO_new(method);
    if (bio == NULL)
        goto fail;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    tls->ssl = SSL_new(context->ctx);
    if (tls->ssl == NULL)
        goto free_bio;
    SSL_set_bio(tls->ssl, bio, bio); /* owns it from here */
    SSL_set_accept_state(tls->ssl);
    return FG_OK;
free_bio:
    BIO_free(bio);
fail:
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
    return SSL_do_handshake(tls->ssl) == 1 ? FG_TLS_OK : why(tls);
}

enum fg_tls_result fg_tls_read(struct fg_tls *tls, char *to, size_t room, size_t *got)
{
    return SSL_read_ex(tls->ssl, to, room, got) == 1 ? FG_TLS_OK : why(tls);
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
