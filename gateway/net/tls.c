/*
 * tls.c: a BIO over two pointers, OpenSSL's results put into four words, and the way from OpenSSL's
 * records to our own.
 *
 * OpenSSL derives its secrets by tls_provider, which tells of them. What else the records need is
 * how many have gone under these keys before: written were tickets, which OpenSSL sends behind its
 * Finished; read there can be none, as it takes no more than the record of the client's Finished.
 * Both are counted record by record. Where anything is not as it has to be OpenSSL keeps the
 * connection.
 *
 * SSL_get_error is not used: it looks at the thread's error queue, in which other users of OpenSSL
 * may have left something. SSL_want and the shutdown state say the same about this connection
 * alone.
 */
#include "net/tls.h"

#include "net/tls_provider.h"

#include <assert.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
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

static BIO_METHOD *create_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "floodgate");
    if (method == NULL)
        return NULL;
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    return method;
}

enum fg_status fg_tls_env_init(struct fg_tls_env *env, struct fg_segment_pool *segments)
{
    *env = (struct fg_tls_env){.segments = segments};
    if (fg_tls_crypto_init(&env->crypto) != FG_OK)
        return FG_ERR_NO_MEMORY;
    env->bio_method = create_bio_method();
    if (env->bio_method != NULL)
        return FG_OK;
    fg_tls_crypto_fini(&env->crypto);
    ERR_clear_error();
    return FG_ERR_NO_MEMORY;
}

void fg_tls_env_fini(struct fg_tls_env *env)
{
    if (env->bio_method != NULL)
        BIO_meth_free(env->bio_method);
    fg_tls_crypto_fini(&env->crypto);
    *env = (struct fg_tls_env){.segments = NULL};
}

static struct fg_tls *tls_of(const SSL *ssl)
{
    return BIO_get_data(SSL_get_rbio(ssl));
}

/* A flood is not read to the end of what is there: each step of it is as dear as the one before. */
static void on_step(const SSL *ssl, int where, int result)
{
    (void)result;
    struct fg_tls *tls = tls_of(ssl);
    if ((where & SSL_CB_LOOP) != 0 || (where & SSL_CB_ALERT) != 0)
        tls->chatter++;
    if (tls->chatter > FG_TLS_CHATTER_MAX)
        tls->in_len = 0;
}

/* A place for secrets, from the first on; NULL: there is no memory, and OpenSSL goes on. */
static struct fg_tls_records *hold_records(struct fg_tls *tls)
{
    if (tls->records == NULL)
        tls->records = calloc(1, sizeof(*tls->records));
    return tls->records;
}

/* A secret comes once, when OpenSSL begins to use it, before any record under it. */
static void note_secret(struct fg_tls *tls, bool is_servers, struct fg_span secret)
{
    struct fg_tls_account *account = is_servers ? &tls->written : &tls->read;
    if (hold_records(tls) == NULL || secret.len > FG_TLS_SECRET_BYTES_MAX)
        return;
    struct fg_tls_keys *keys = is_servers ? &tls->records->sealing : &tls->records->opening;
    memcpy(keys->secret, secret.data, secret.len);
    *account = (struct fg_tls_account){.secret_bytes = (uint8_t)secret.len};
}

static void on_derived(void *ctx, struct fg_span label, struct fg_span secret, struct fg_span out)
{
    struct fg_tls *tls = ctx;
    bool is_servers = fg_span_equal(label, FG_SPAN("s ap traffic"));
    if (is_servers || fg_span_equal(label, FG_SPAN("c ap traffic"))) {
        note_secret(tls, is_servers, out);
    } else if (tls->records != NULL) {
        fg_tls_keys_learn(&tls->records->opening, label, secret, out);
        fg_tls_keys_learn(&tls->records->sealing, label, secret, out);
    }
}

static void on_message(int is_written, int version, int type, const void *data, size_t len,
                       SSL *ssl, void *arg)
{
    (void)version;
    (void)data;
    (void)len;
    (void)arg;
    struct fg_tls *tls = tls_of(ssl);
    if (type == SSL3_RT_HEADER)
        (is_written != 0 ? &tls->written : &tls->read)->records++;
}

void fg_tls_watch(SSL_CTX *ctx)
{
    SSL_CTX_set_info_callback(ctx, on_step);
    SSL_CTX_set_msg_callback(ctx, on_message);
}

enum fg_status fg_tls_open(struct fg_tls *tls, struct fg_tls_context *context,
                           struct fg_tls_env *env, fg_tls_output_fn output, void *output_ctx)
{
    *tls = (struct fg_tls){.env = env, .output = output, .output_ctx = output_ctx};
    SSL_CTX *ctx = fg_tls_slot_take(&context->slot);
    BIO *bio = BIO_new(env->bio_method);
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

static void drop_records(struct fg_tls *tls)
{
    if (tls->records != NULL)
        fg_tls_records_fini(tls->records);
    free(tls->records);
    tls->records = NULL;
}

void fg_tls_close(struct fg_tls *tls)
{
    SSL_free(tls->ssl);
    tls->ssl = NULL;
    drop_records(tls);
    free(tls->server_name);
    tls->server_name = NULL;
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

/* Around all by which OpenSSL may derive keys. */
static void enter(struct fg_tls *tls)
{
    fg_tls_provider_enter(&tls->env->crypto.kdf, on_derived, tls);
}

enum fg_tls_result fg_tls_handshake(struct fg_tls *tls)
{
    enter(tls);
    int result = SSL_do_handshake(tls->ssl);
    fg_tls_provider_leave();
    if (result != 1)
        return why(tls);
    tls->chatter = 0; /* so far it had to be */
    tls->rules = fg_tls_context_rules(tls->ssl);
    return FG_TLS_OK;
}

/* The state is the same behind an answer to a hello; but that has chosen one of the keys. */
bool fg_tls_awaits_hello(const struct fg_tls *tls)
{
    EVP_PKEY *key = NULL;
    if (tls->ssl == NULL || SSL_version(tls->ssl) != TLS1_3_VERSION ||
        SSL_get_state(tls->ssl) != TLS_ST_EARLY_DATA)
        return false;
    bool has_key = SSL_get_peer_tmp_key(tls->ssl, &key) == 1;
    EVP_PKEY_free(key);
    return !has_key;
}

bool fg_tls_is_resumed(const struct fg_tls *tls)
{
    return SSL_session_reused(tls->ssl) != 0;
}

const char *fg_tls_certificate_fault(const struct fg_tls *tls)
{
    const long verdict = SSL_get_verify_result(tls->ssl);
    return verdict == X509_V_OK ? NULL : X509_verify_cert_error_string(verdict);
}

bool fg_tls_is_stapled(const struct fg_tls *tls)
{
    const unsigned char *response = NULL;
    return SSL_get_tlsext_status_ocsp_resp(tls->ssl, &response) > 0;
}

/* ---- from OpenSSL's records to our own ---- */

static bool find_suite(const SSL *ssl, enum fg_tls_suite *suite)
{
    switch (SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl))) {
    case TLS1_3_CK_AES_128_GCM_SHA256 & 0xffff:
        *suite = FG_TLS_AES_128_GCM_SHA256;
        return true;
    case TLS1_3_CK_AES_256_GCM_SHA384 & 0xffff:
        *suite = FG_TLS_AES_256_GCM_SHA384;
        return true;
    case TLS1_3_CK_CHACHA20_POLY1305_SHA256 & 0xffff:
        *suite = FG_TLS_CHACHA20_POLY1305_SHA256;
        return true;
    default:
        return false;
    }
}

static bool may_settle(const struct fg_tls *tls, enum fg_tls_suite *suite)
{
    const SSL *ssl = tls->ssl;
    if (SSL_version(ssl) != TLS1_3_VERSION || SSL_is_init_finished(ssl) == 0 ||
        !find_suite(ssl, suite) || tls->records == NULL)
        return false;
    size_t secret_bytes = fg_tls_secret_bytes(*suite);
    return tls->read.secret_bytes == secret_bytes && tls->written.secret_bytes == secret_bytes &&
           tls->read.records == 0 && SSL_has_pending(ssl) == 0 &&
           SSL_get_key_update_type(ssl) == SSL_KEY_UPDATE_NONE &&
           SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl)) ==
               TLSEXT_max_fragment_length_DISABLED;
}

/* What is asked for later on. */
static bool note_facts(struct fg_tls *tls)
{
    struct fg_span name = fg_tls_server_name(tls);
    if (name.len > 0) {
        tls->server_name = strndup(name.data, name.len);
        if (tls->server_name == NULL)
            return false;
    }
    tls->is_h2 = fg_tls_is_h2(tls);
    tls->has_certificate = fg_tls_has_certificate(tls);
    return true;
}

void fg_tls_settle(struct fg_tls *tls)
{
    enum fg_tls_suite suite;
    if (!may_settle(tls, &suite) ||
        !fg_tls_records_init(tls->records, &tls->env->crypto, tls->env->segments, suite) ||
        !note_facts(tls)) {
        SSL_set_msg_callback(tls->ssl, NULL);
        drop_records(tls);
        return;
    }
    tls->records->sealing.sequence = tls->written.records;
    /* Without this OpenSSL would take the session for one that broke off. */
    SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(tls->ssl);
    tls->ssl = NULL;
}

/* ---- records ---- */

static void say_last(struct fg_tls *tls, enum fg_tls_alert alert)
{
    char record[FG_TLS_ALERT_BYTES];
    size_t len = fg_tls_records_say_last(tls->records, alert, record);
    if (len > 0)
        (void)tls->output(tls->output_ctx, record, len);
}

static enum fg_tls_result read_own(struct fg_tls *tls, char *to, size_t *got)
{
    enum fg_tls_result result = fg_tls_records_open(tls->records, &tls->in, &tls->in_len, to, got);
    if (result == FG_TLS_FAILED && tls->records->alert != FG_TLS_ALERT_NONE)
        say_last(tls, tls->records->alert);
    return result;
}

enum fg_tls_result fg_tls_read(struct fg_tls *tls, char *to, size_t *got)
{
    if (tls->ssl == NULL)
        return read_own(tls, to, got);
    enter(tls);
    bool has_data = SSL_read_ex(tls->ssl, to, FG_TLS_OPEN_ROOM, got) == 1;
    fg_tls_provider_leave();
    if (tls->chatter > FG_TLS_CHATTER_MAX)
        return FG_TLS_FLOOD;
    if (!has_data)
        return why(tls);
    fg_tls_chatter_pay(&tls->chatter, *got);
    return FG_TLS_OK;
}

bool fg_tls_is_drained(const struct fg_tls *tls)
{
    return tls->in_len == 0 && (tls->ssl == NULL || SSL_has_pending(tls->ssl) == 0);
}

bool fg_tls_write(struct fg_tls *tls, const char *data, size_t len)
{
    size_t written;
    bool is_fine = true;
    enter(tls);
    while (len > 0 && is_fine) {
        is_fine = SSL_write_ex(tls->ssl, data, len, &written) == 1;
        if (is_fine) {
            data += written;
            len -= written;
        }
    }
    fg_tls_provider_leave();
    if (!is_fine)
        ERR_clear_error();
    return is_fine;
}

void fg_tls_shutdown(struct fg_tls *tls)
{
    if (tls->ssl == NULL)
        say_last(tls, FG_TLS_ALERT_CLOSE_NOTIFY);
    else if (SSL_is_init_finished(tls->ssl) != 0 && SSL_shutdown(tls->ssl) < 0)
        ERR_clear_error();
}

bool fg_tls_rest(struct fg_tls *tls)
{
    return !fg_tls_is_awake(tls) || fg_tls_records_rest(tls->records);
}

/* ---- what it is asked ---- */

bool fg_tls_is_h2(const struct fg_tls *tls)
{
    const unsigned char *name;
    unsigned len;
    if (tls->ssl == NULL)
        return tls->is_h2;
    SSL_get0_alpn_selected(tls->ssl, &name, &len);
    return len == 2 && memcmp(name, "h2", 2) == 0;
}

const char *fg_tls_version(const struct fg_tls *tls)
{
    return tls->ssl == NULL ? "TLSv1.3" : SSL_get_version(tls->ssl);
}

struct fg_span fg_tls_server_name(const struct fg_tls *tls)
{
    const char *name = tls->ssl == NULL ? tls->server_name
                                        : SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name);
    return name == NULL ? FG_SPAN("") : fg_span_from_string(name);
}

bool fg_tls_has_certificate(const struct fg_tls *tls)
{
    if (tls->ssl == NULL)
        return tls->has_certificate;
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
    case FG_CLIENT_USER_INHERITED: /* is the listener's by now */
        assert(kind != FG_CLIENT_USER_INHERITED);
    }
    ERR_clear_error();
    return is_found;
}
