/*
 * tls_context.c: the OpenSSL server contexts of one listener.
 * Job      versions and ciphers, ALPN, tickets, client certificates; which certificates for whom.
 * Thread   made and reloaded by the main thread; used by all loops, read-only, as OpenSSL allows.
 * Never    compression, renegotiation, early data, or a protocol older than TLS 1.2.
 *
 *    slot --> SSL_CTX of the default certificates --ex_data--> set: names, other contexts by name
 *
 * A connection is made from the default one, which therefore lives as long as it, and the set with
 * it. The callback for the host name moves the connection to the context of its certificates.
 */
#include "net/tls_context.h"

#include "base/clock.h"
#include "base/log.h"
#include "config/tls_files.h"
#include "net/tls.h"
#include "net/tls_names.h"
#include "net/tls_provider.h"
#include "net/tls_tickets.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 256u   /* of one certificate */
#define DAYS_LEFT_MIN 14 /* less is worth a warning: renewals are due at 30 */

struct group {
    uint64_t having; /* as in fg_tls_names */
    SSL_CTX *ctx;
};

/* Belongs to the default context and is freed with it. */
struct certificate_set {
    struct fg_tls_names names;
    uint64_t default_having;
    struct group *groups; /* but for the default one */
    size_t group_count;
    bool is_strict;
    X509 *leaves[FG_TLS_CERTIFICATES_MAX]; /* in the order of the configuration */
    unsigned leaf_count;
};

/* While a listener's files are being read. */
struct builder {
    const struct fg_listener_conf *conf;
    struct fg_ticket_keys *tickets;
    struct fg_error *error;
    const struct certificate_set *before; /* in use until now; NULL: nothing is */
    struct fg_tls_pair pairs[FG_TLS_CERTIFICATES_MAX];
    unsigned pair_count;
    STACK_OF(X509) * authorities;
    STACK_OF(X509_CRL) * revoked; /* NULL: not looked at */
    uint64_t revoked_until_s;     /* when the first of them is over; 0: never */
    unsigned char session_context[32];
};

static const char *last_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    return reason == NULL ? "unknown reason" : reason;
}

/* ---- callbacks: on loop threads ---- */

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

static int select_certificates(SSL *ssl, int *alert, void *arg)
{
    const struct certificate_set *set = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    uint64_t having = fg_tls_names_find(&set->names, fg_span_from_string(name));
    if (having == 0 && set->is_strict) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    if (having == 0)
        return SSL_TLSEXT_ERR_NOACK;
    for (size_t i = 0; i < set->group_count; i++) {
        if (set->groups[i].having == having)
            SSL_set_SSL_CTX(ssl, set->groups[i].ctx);
    }
    return SSL_TLSEXT_ERR_OK;
}

/* ---- one context ---- */

/*
 * Of TLS 1.2, in our order; an EC certificate before an RSA one. AES-128 first, as in TLS 1.3: its
 * handshakes hash with SHA-256, which processors have instructions for. With SHA-384 a resumed
 * handshake costs a quarter more.
 */
static const char ciphers_1_2[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
                                  "ECDHE-RSA-AES128-GCM-SHA256:ECDHE+AESGCM:ECDHE+CHACHA20";

static bool set_policy(SSL_CTX *ctx, const struct fg_listener_conf *conf)
{
    bool is_1_3_only = conf->tls_min != NULL && strcmp(conf->tls_min, "1.3") == 0;
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_SINGLE_ECDH_USE);
    /* The chain is the file's: looking one up anew would cost every handshake a path search. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets only: nothing to share */
    SSL_CTX_set_alpn_select_cb(ctx, select_protocol, NULL);
    fg_tls_watch(ctx);
    return SSL_CTX_set_max_early_data(ctx, 0) == 1 &&
           SSL_CTX_set_min_proto_version(ctx, is_1_3_only ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, ciphers_1_2) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1;
}

static bool set_client_auth(SSL_CTX *ctx, const struct builder *builder)
{
    if (builder->authorities == NULL)
        return true;
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    for (int i = 0; i < sk_X509_num(builder->authorities); i++) {
        X509 *authority = sk_X509_value(builder->authorities, i);
        if (X509_STORE_add_cert(store, authority) != 1 ||
            SSL_CTX_add_client_CA(ctx, authority) != 1)
            return false;
    }
    for (int i = 0; i < sk_X509_CRL_num(builder->revoked); i++) {
        if (X509_STORE_add_crl(store, sk_X509_CRL_value(builder->revoked, i)) != 1)
            return false;
    }
    if (builder->revoked != NULL &&
        X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1)
        return false;
    bool is_needed = builder->conf->client_auth == FG_CLIENT_AUTH_REQUIRED;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (is_needed ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       NULL);
    return true;
}

static SSL_CTX *make_context(const struct builder *builder, uint64_t having,
                             uint64_t ticket_lifetime_s)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(NULL, fg_tls_provider_properties(), TLS_server_method());
    if (ctx == NULL || !set_policy(ctx, builder->conf) ||
        !fg_tls_tickets_set(ctx, builder->tickets, ticket_lifetime_s, builder->revoked_until_s) ||
        !set_client_auth(ctx, builder) ||
        SSL_CTX_set_session_id_context(ctx, builder->session_context,
                                       sizeof(builder->session_context)) != 1)
        goto fail;
    for (unsigned i = 0; i < builder->pair_count; i++) {
        const struct fg_tls_pair *pair = &builder->pairs[i];
        if ((having & UINT64_C(1) << i) != 0 &&
            SSL_CTX_use_cert_and_key(ctx, pair->leaf, pair->key, pair->chain, 1) != 1)
            goto fail;
    }
    return ctx;
fail:
    fg_error_set(builder->error, "listener %s: cannot set TLS up: %s", builder->conf->name,
                 last_reason());
    SSL_CTX_free(ctx);
    return NULL;
}

/* ---- all of a listener ---- */

static void destroy_set(struct certificate_set *set)
{
    for (size_t i = 0; i < set->group_count; i++)
        SSL_CTX_free(set->groups[i].ctx);
    for (unsigned i = 0; i < set->leaf_count; i++)
        X509_free(set->leaves[i]);
    fg_tls_names_fini(&set->names);
    free(set->groups);
    free(set);
}

static void on_context_free(void *parent, void *data, CRYPTO_EX_DATA *ex, int index, long number,
                            void *pointer)
{
    (void)parent;
    (void)ex;
    (void)index;
    (void)number;
    (void)pointer;
    if (data != NULL)
        destroy_set(data);
}

/* Where a context keeps its set; asked for first before any thread runs. */
static int set_index(void)
{
    static int index = -1;
    if (index == -1)
        index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_context_free);
    return index;
}

static unsigned key_type_of(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        return 0;
    case EVP_PKEY_RSA_PSS:
        return 1;
    case EVP_PKEY_EC:
        return 2;
    case EVP_PKEY_ED25519:
        return 3;
    default:
        return 4;
    }
}

/* One that nobody takes, in place of one that is good, is a mistake, or comes too early. */
static bool is_fit(const struct builder *builder, const struct fg_tls_pair *pair,
                   const char *certificate)
{
    const struct certificate_set *before = builder->before;
    const char *why = fg_tls_pair_unfit(pair->leaf);
    if (why == NULL || before == NULL || builder->pair_count >= before->leaf_count ||
        fg_tls_pair_unfit(before->leaves[builder->pair_count]) != NULL)
        return true;
    fg_error_set(builder->error,
                 "listener %s: cannot use certificate %s: %s, and the old one is good",
                 builder->conf->name, certificate, why);
    return false;
}

static bool load_pair(struct builder *builder, const char *certificate, const char *private_key)
{
    char why[192];
    const char *name = builder->conf->name;
    struct fg_tls_pair *pair = &builder->pairs[builder->pair_count];
    switch (fg_tls_pair_load(pair, certificate, private_key, why, sizeof(why))) {
    case FG_TLS_PAIR_CERTIFICATE:
        fg_error_set(builder->error, "listener %s: cannot use certificate %s: %s", name,
                     certificate, why);
        return false;
    case FG_TLS_PAIR_KEY:
        fg_error_set(builder->error, "listener %s: cannot use private key %s: %s", name,
                     private_key, why);
        return false;
    case FG_TLS_PAIR_FINE:
        break;
    }
    if (!is_fit(builder, pair, certificate)) {
        fg_tls_pair_fini(pair);
        return false;
    }
    builder->pair_count++;
    return true;
}

/* Once they are in use: what fails is tried again and again, and says so once. */
static void warn_of_expiry(const struct builder *builder)
{
    const struct fg_listener_conf *conf = builder->conf;
    for (unsigned i = 0; i < builder->pair_count; i++) {
        int days = fg_tls_pair_days_left(&builder->pairs[i]);
        if (days < DAYS_LEFT_MIN)
            fg_log(FG_LOG_WARN, days < 0 ? "certificate_expired" : "certificate_expires_soon",
                   "listener=%s file=\"%s\" days=%d", conf->name,
                   i == 0 ? conf->certificate : conf->certificates[i - 1].certificate, days);
    }
}

static bool load_authorities(struct builder *builder)
{
    const struct fg_listener_conf *conf = builder->conf;
    char why[192];
    builder->authorities = fg_tls_authorities_load(conf->client_ca, why, sizeof(why));
    if (builder->authorities == NULL)
        fg_error_set(builder->error, "listener %s: cannot use client CA %s: %s", conf->name,
                     conf->client_ca, why);
    return builder->authorities != NULL;
}

/* A list whose time is over lets nobody in any more: worth a word before clients ask. */
static bool load_revoked(struct builder *builder)
{
    const struct fg_listener_conf *conf = builder->conf;
    char why[192];
    builder->revoked = fg_tls_crls_load(conf->client_crl, why, sizeof(why));
    if (builder->revoked == NULL)
        fg_error_set(builder->error, "listener %s: cannot use client CRL %s: %s", conf->name,
                     conf->client_crl, why);
    for (int i = 0; i < sk_X509_CRL_num(builder->revoked); i++) {
        const ASN1_TIME *until = X509_CRL_get0_nextUpdate(sk_X509_CRL_value(builder->revoked, i));
        int days = 0, seconds = 0;
        if (until == NULL || ASN1_TIME_diff(&days, &seconds, NULL, until) != 1)
            continue;
        int64_t left_s = (int64_t)days * 86400 + seconds;
        uint64_t until_s = left_s <= 0 ? 1 : fg_clock_wall_ns() / FG_S + (uint64_t)left_s;
        if (builder->revoked_until_s == 0 || until_s < builder->revoked_until_s)
            builder->revoked_until_s = until_s;
        if (left_s < 0)
            fg_log(FG_LOG_WARN, "revocation_list_expired", "listener=%s file=\"%s\"", conf->name,
                   conf->client_crl);
    }
    return builder->revoked != NULL;
}

static bool load_files(struct builder *builder)
{
    const struct fg_listener_conf *conf = builder->conf;
    if (!load_pair(builder, conf->certificate, conf->private_key))
        return false;
    for (size_t i = 0; i < conf->certificate_count && i + 1 < FG_TLS_CERTIFICATES_MAX; i++) {
        if (!load_pair(builder, conf->certificates[i].certificate,
                       conf->certificates[i].private_key))
            return false;
    }
    return conf->client_auth == FG_CLIENT_AUTH_NONE ||
           (load_authorities(builder) && (conf->client_crl == NULL || load_revoked(builder)));
}

static bool digest_authorities(const struct builder *builder, EVP_MD_CTX *digest)
{
    unsigned char fingerprint[EVP_MAX_MD_SIZE];
    unsigned len;
    for (int i = 0; i < sk_X509_num(builder->authorities); i++) {
        if (X509_digest(sk_X509_value(builder->authorities, i), EVP_sha256(), fingerprint, &len) !=
                1 ||
            EVP_DigestUpdate(digest, fingerprint, len) != 1)
            return false;
    }
    for (int i = 0; i < sk_X509_CRL_num(builder->revoked); i++) {
        if (X509_CRL_digest(sk_X509_CRL_value(builder->revoked, i), EVP_sha256(), fingerprint,
                            &len) != 1 ||
            EVP_DigestUpdate(digest, fingerprint, len) != 1)
            return false;
    }
    return true;
}

/*
 * A ticket is good only where it would have been given: at this listener, under these rules for
 * clients. Otherwise one from a listener that asks for no certificate would open one that does, and
 * one from before a certificate was revoked would outlive it.
 */
static bool make_session_context(struct builder *builder)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    const struct fg_listener_conf *conf = builder->conf;
    const unsigned char rules[] = {(unsigned char)conf->client_auth,
                                   (unsigned char)conf->client_user};
    bool is_fine = digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                   EVP_DigestUpdate(digest, conf->name, strlen(conf->name) + 1) == 1 &&
                   EVP_DigestUpdate(digest, rules, sizeof(rules)) == 1 &&
                   digest_authorities(builder, digest);
    unsigned len;
    is_fine = is_fine && EVP_DigestFinal_ex(digest, builder->session_context, &len) == 1;
    EVP_MD_CTX_free(digest);
    return is_fine;
}

static bool collect_names(struct certificate_set *set, const struct builder *builder)
{
    set->default_having = 1;
    for (unsigned i = 0; i < builder->pair_count; i++) {
        char *names[NAMES_MAX];
        size_t count = fg_tls_pair_names(&builder->pairs[i], names, NAMES_MAX);
        unsigned type = key_type_of(builder->pairs[i].key);
        bool is_fine = true;
        for (size_t n = 0; n < count; n++) {
            is_fine = is_fine && fg_tls_names_add(&set->names, i, type, names[n]) == FG_OK;
            OPENSSL_free(names[n]);
        }
        if (!is_fine)
            return false;
    }
    fg_tls_names_complete(&set->names);
    /* The other key types of the first certificate's name go with it by default, too. */
    for (size_t n = 0; n < set->names.count; n++) {
        if ((set->names.names[n].having & 1) != 0) {
            set->default_having = set->names.names[n].having;
            break;
        }
    }
    return true;
}

static bool has_group(const struct certificate_set *set, uint64_t having)
{
    for (size_t i = 0; i < set->group_count; i++) {
        if (set->groups[i].having == having)
            return true;
    }
    return having == set->default_having;
}

static bool make_groups(struct certificate_set *set, const struct builder *builder,
                        uint64_t ticket_lifetime_s)
{
    set->groups = calloc(set->names.count + 1, sizeof(*set->groups));
    if (set->groups == NULL)
        return false;
    for (size_t n = 0; n < set->names.count; n++) {
        uint64_t having = set->names.names[n].having;
        if (has_group(set, having))
            continue;
        SSL_CTX *ctx = make_context(builder, having, ticket_lifetime_s);
        if (ctx == NULL)
            return false;
        set->groups[set->group_count++] = (struct group){having, ctx};
    }
    return true;
}

static SSL_CTX *build(struct builder *builder, uint64_t ticket_lifetime_s)
{
    struct certificate_set *set = calloc(1, sizeof(*set));
    SSL_CTX *ctx = NULL;
    fg_error_set(builder->error, "listener %s: out of memory", builder->conf->name);
    if (set == NULL || !load_files(builder) || !make_session_context(builder) ||
        !collect_names(set, builder) || !make_groups(set, builder, ticket_lifetime_s))
        goto fail;
    set->is_strict = builder->conf->sni_strict;
    for (unsigned i = 0; i < builder->pair_count && X509_up_ref(builder->pairs[i].leaf) == 1; i++)
        set->leaves[set->leaf_count++] = builder->pairs[i].leaf;
    ctx = make_context(builder, set->default_having, ticket_lifetime_s);
    if (ctx == NULL || SSL_CTX_set_ex_data(ctx, set_index(), set) != 1)
        goto fail;
    SSL_CTX_set_tlsext_servername_callback(ctx, select_certificates);
    SSL_CTX_set_tlsext_servername_arg(ctx, set);
    return ctx;
fail:
    SSL_CTX_free(ctx);
    if (set != NULL)
        destroy_set(set);
    return NULL;
}

enum fg_status fg_tls_context_load(struct fg_tls_context *tls, const struct fg_listener_conf *conf,
                                   struct fg_error *error)
{
    SSL_CTX *current = fg_tls_slot_take(&tls->slot);
    struct builder builder = {
        .conf = conf,
        .tickets = tls->tickets,
        .error = error,
        .before = current == NULL ? NULL : SSL_CTX_get_ex_data(current, set_index()),
    };
    SSL_CTX *ctx = build(&builder, tls->ticket_lifetime_s);
    SSL_CTX_free(current);
    if (ctx != NULL)
        warn_of_expiry(&builder);
    for (unsigned i = 0; i < builder.pair_count; i++)
        fg_tls_pair_fini(&builder.pairs[i]);
    sk_X509_pop_free(builder.authorities, X509_free);
    sk_X509_CRL_pop_free(builder.revoked, X509_CRL_free);
    ERR_clear_error();
    if (ctx == NULL)
        return FG_ERR_CONFIG;
    fg_tls_slot_put(&tls->slot, ctx);
    return FG_OK;
}

struct fg_tls_context *fg_tls_context_create(const struct fg_listener_conf *conf,
                                             struct fg_ticket_keys *tickets,
                                             uint64_t ticket_lifetime_s, struct fg_error *error)
{
    struct fg_tls_context *tls = calloc(1, sizeof(*tls));
    if (tls == NULL || !fg_tls_slot_init(&tls->slot)) {
        free(tls);
        fg_error_set(error, "listener %s: out of memory", conf->name);
        return NULL;
    }
    tls->tickets = tickets;
    tls->ticket_lifetime_s = ticket_lifetime_s;
    if (fg_tls_context_load(tls, conf, error) == FG_OK)
        return tls;
    fg_tls_context_destroy(tls);
    return NULL;
}

void fg_tls_context_destroy(struct fg_tls_context *tls)
{
    if (tls == NULL)
        return;
    fg_tls_slot_fini(&tls->slot);
    free(tls);
}
