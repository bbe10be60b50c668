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
#include "net/tls.h"
#include "net/tls_clients.h"
#include "net/tls_ends.h"
#include "net/tls_hello.h"
#include "net/tls_provider.h"
#include "net/tls_staple.h"
#include "net/tls_tickets.h"
#include "tls/tls_files.h"

#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 256u /* of one certificate */

/* Certificates that go together, and what clients have to show for them. */
struct group {
    uint64_t having; /* as in fg_tls_names */
    SSL_CTX *ctx;
};

/* Of one certificate, its staple and its clients' lists; the main thread's alone. */
struct ends {
    enum fg_told certificate;
    enum fg_told staple;
    enum fg_told bare;
    enum fg_told revoked;
    enum fg_told authority;
};

/* Belongs to the default context and is freed with it. */
struct certificate_set {
    struct fg_tls_hosts hosts;
    struct group *groups; /* but for the default one */
    size_t group_count;
    bool is_strict;
    X509 *leaves[FG_TLS_CERTIFICATES_MAX];                 /* in the order of the configuration */
    struct fg_tls_staple staples[FG_TLS_CERTIFICATES_MAX]; /* of each */
    uint64_t revoked_until_s[FG_TLS_CERTIFICATES_MAX];     /* as in fg_tls_clients, of each rule */
    uint64_t trusted_until_s[FG_TLS_CERTIFICATES_MAX];     /* the same */
    struct ends told[FG_TLS_CERTIFICATES_MAX];             /* of each */
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
    struct fg_tls_clients clients[FG_TLS_CERTIFICATES_MAX]; /* loaded where rules are the index */
    struct certificate_set *set;                            /* that is made */
    struct fg_tls_hosts *hosts;                             /* of it */
    uint64_t revoked_until_s; /* when the first list is over; 0: never */
    unsigned char session_context[32];
};

static const char *last_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    return reason == NULL ? "unknown reason" : reason;
}

/* ---- callbacks: on loop threads ---- */

/* Our preference, not the client's order (RFC 7301 section 3.2). The HTTP/1 codec speaks both of
 * its versions, and a client that is held to the old one (curl --http1.0) may offer that alone. */
static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1\x08http/1.0";
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
    uint64_t having = fg_tls_names_find(&set->hosts.names, fg_span_from_string(name));
    if (having == 0 && set->is_strict) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    if (having == 0)
        return SSL_TLSEXT_ERR_NOACK;
    for (size_t i = 0; i < set->group_count; i++) {
        if (set->groups[i].having != having)
            continue;
        const SSL_CTX *ctx = SSL_set_SSL_CTX(ssl, set->groups[i].ctx);
        /* That takes along certificates and authorities, but not whether a client has any. */
        SSL_set_verify(ssl, SSL_CTX_get_verify_mode(ctx), SSL_CTX_get_verify_callback(ctx));
    }
    return SSL_TLSEXT_ERR_OK;
}

/* Which of the certificates it is to be is settled when a client's wish for a staple is looked at.
 * One that is over is as good as none. */
static int give_staple(SSL *ssl, void *arg)
{
    const struct certificate_set *set = arg;
    const X509 *leaf = SSL_get_certificate(ssl);
    unsigned i = 0;
    while (i < set->leaf_count && set->leaves[i] != leaf)
        i++;
    if (i == set->leaf_count || !fg_tls_staple_is_good(&set->staples[i], fg_clock_wall_ns() / FG_S))
        return SSL_TLSEXT_ERR_NOACK;
    const struct fg_tls_staple *staple = &set->staples[i];
    unsigned char *copy = OPENSSL_memdup(staple->response, staple->bytes);
    if (copy == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    if (SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)staple->bytes) == 1)
        return SSL_TLSEXT_ERR_OK; /* the connection owns it */
    OPENSSL_free(copy);
    return SSL_TLSEXT_ERR_NOACK;
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
    fg_tls_hello_bound(ctx);
    SSL_CTX_set_max_cert_list(ctx, (long)conf->client_chain_bytes_max);
    return SSL_CTX_set_max_early_data(ctx, 0) == 1 &&
           SSL_CTX_set_min_proto_version(ctx, is_1_3_only ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, ciphers_1_2) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1;
}

/* Where a context keeps the number of its rules for clients; asked for first before any thread
 * runs, as set_index. */
static int rules_index(void)
{
    static int index = -1;
    if (index == -1)
        index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    return index;
}

static SSL_CTX *make_context(const struct builder *builder, uint64_t having,
                             uint64_t ticket_lifetime_s)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(NULL, fg_tls_provider_properties(), TLS_server_method());
    if (ctx == NULL || !set_policy(ctx, builder->conf) ||
        !fg_tls_tickets_set(ctx, builder->tickets, ticket_lifetime_s, builder->revoked_until_s) ||
        SSL_CTX_set_tlsext_status_cb(ctx, give_staple) != 1 ||
        SSL_CTX_set_tlsext_status_arg(ctx, builder->set) != 1 ||
        !fg_tls_clients_set(&builder->clients[fg_tls_hosts_rules(builder->hosts, having)], ctx) ||
        SSL_CTX_set_session_id_context(ctx, builder->session_context,
                                       sizeof(builder->session_context)) != 1)
        goto fail;
    for (unsigned i = 0; i < builder->pair_count; i++) {
        const struct fg_tls_pair *pair = &builder->pairs[i];
        if ((having & UINT64_C(1) << i) != 0 &&
            SSL_CTX_use_cert_and_key(ctx, pair->leaf, pair->key, pair->chain, 1) != 1)
            goto fail;
    }
    /* Which rules its connections keep to, as a number that a reload does not change. */
    uintptr_t rules = fg_tls_hosts_rules(builder->hosts, having);
    if (SSL_CTX_set_ex_data(ctx, rules_index(), (void *)rules) == 1)
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
    for (unsigned i = 0; i < FG_TLS_CERTIFICATES_MAX; i++)
        fg_tls_staple_fini(&set->staples[i]);
    fg_tls_names_fini(&set->hosts.names);
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

static const char *certificate_file(const struct fg_listener_conf *conf, size_t index)
{
    return index == 0 ? conf->certificate : conf->certificates[index - 1].certificate;
}

/* A response that is over; and none, good or over, for a certificate that demands one: of clients
 * that hold it to that (RFC 7633) none gets through the handshake. */
static void tell_of_staple(const struct fg_listener_conf *conf, struct certificate_set *set,
                           unsigned index, uint64_t now_s)
{
    const struct fg_tls_staple *staple = &set->staples[index];
    const bool is_missing = !fg_tls_staple_is_good(staple, now_s);
    const bool is_over = staple->response != NULL && is_missing;
    const bool is_bare = is_missing && fg_tls_wants_staple(set->leaves[index]);
    if (fg_told_is_news(&set->told[index].staple, is_over ? FG_TOLD_OVER : FG_TOLD_NOTHING))
        fg_log(FG_LOG_WARN, "ocsp_response_expired", "listener=%s file=\"%s\"", conf->name,
               staple->file);
    if (fg_told_is_news(&set->told[index].bare, is_bare ? FG_TOLD_OVER : FG_TOLD_NOTHING))
        fg_log(FG_LOG_WARN, "certificate_must_staple",
               "listener=%s file=\"%s\" reason=\"it demands an OCSP response, and there is none to "
               "show with it\"",
               conf->name, certificate_file(conf, index));
}

/*
 * What has come to its end, or is about to, while it was in use: nobody may have renewed it. Each
 * is said once.
 */
static void tell_ends(const struct fg_listener_conf *conf, struct certificate_set *set)
{
    const uint64_t now_s = fg_clock_wall_ns() / FG_S;
    for (unsigned i = 0; i < set->leaf_count; i++) {
        fg_tls_tell_ending(&set->told[i].certificate, FG_ENDING_CERTIFICATE, "listener", conf->name,
                           certificate_file(conf, i), fg_tls_seconds_left(set->leaves[i]));
        if (set->trusted_until_s[i] != 0)
            fg_tls_tell_ending(&set->told[i].authority, FG_ENDING_CLIENT_AUTHORITY, "listener",
                               conf->name, fg_tls_clients_of(conf, i).authorities_file,
                               (int64_t)(set->trusted_until_s[i] - now_s));
        tell_of_staple(conf, set, i, now_s);
        const bool is_over = set->revoked_until_s[i] != 0 && set->revoked_until_s[i] <= now_s;
        if (fg_told_is_news(&set->told[i].revoked, is_over ? FG_TOLD_OVER : FG_TOLD_NOTHING))
            fg_log(FG_LOG_WARN, "revocation_list_expired", "listener=%s file=\"%s\"", conf->name,
                   fg_tls_clients_of(conf, i).revoked_file);
    }
}

/* Once they are in use: what fails is tried again and again, and says so once. */
static void warn_of_files(const struct builder *builder)
{
    for (unsigned i = 0; i < builder->pair_count; i++) {
        const struct fg_tls_staple *staple = &builder->set->staples[i];
        if (staple->why[0] != '\0')
            fg_log(FG_LOG_WARN, "ocsp_file_not_used",
                   "listener=%s file=\"%s\" kept=%s reason=\"%s\"", builder->conf->name,
                   staple->file, staple->response == NULL ? "none" : "old", staple->why);
    }
    tell_ends(builder->conf, builder->set);
}

/* Rules that differ may have a file in common, which is told of with the first of them. */
static void note_ends(const struct builder *builder, unsigned index)
{
    const struct fg_tls_clients *clients = &builder->clients[index];
    bool has_ca = false, has_crl = false;
    for (unsigned i = 0; i < index; i++) {
        has_ca = has_ca || fg_tls_clients_share_ca(&builder->clients[i], clients);
        has_crl = has_crl || fg_tls_clients_share_crl(&builder->clients[i], clients);
    }
    builder->set->trusted_until_s[index] = has_ca ? 0 : clients->trusted_until_s;
    builder->set->revoked_until_s[index] = has_crl ? 0 : clients->revoked_until_s;
}

/* The rules for clients of each certificate, those that are the same once. */
static bool load_clients(struct builder *builder)
{
    for (unsigned i = 0; i < builder->pair_count; i++) {
        struct fg_tls_clients clients = fg_tls_clients_of(builder->conf, i);
        unsigned first = 0;
        while (first < i && !fg_tls_clients_equal(&clients, &builder->clients[first]))
            first++;
        builder->clients[i] = clients;
        builder->hosts->rules[i] = (uint8_t)first;
        if (first < i)
            continue;
        if (!fg_tls_clients_load(&builder->clients[i], builder->conf->name, builder->error))
            return false;
        uint64_t until_s = builder->clients[i].revoked_until_s;
        note_ends(builder, i);
        if (until_s != 0 && (builder->revoked_until_s == 0 || until_s < builder->revoked_until_s))
            builder->revoked_until_s = until_s;
    }
    return true;
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
    return load_clients(builder);
}

static bool digest_rules(const struct builder *builder, EVP_MD_CTX *digest)
{
    for (unsigned i = 0; i < builder->pair_count; i++) {
        if (builder->hosts->rules[i] == i && !fg_tls_clients_digest(&builder->clients[i], digest))
            return false;
    }
    return true;
}

/* Where rules differ, a name that goes from one to another takes no session along. */
static bool digest_names(const struct builder *builder, const struct certificate_set *set,
                         EVP_MD_CTX *digest)
{
    for (size_t n = 0; set->hosts.has_rules && n < set->hosts.names.count; n++) {
        const struct fg_tls_name *name = &set->hosts.names.names[n];
        const uint8_t rules = fg_tls_hosts_rules(builder->hosts, name->having);
        if (EVP_DigestUpdate(digest, name->text, strlen(name->text) + 1) != 1 ||
            EVP_DigestUpdate(digest, &rules, 1) != 1)
            return false;
    }
    return true;
}

/*
 * A ticket is good only where it would have been given: at this listener, under these rules for
 * clients. Otherwise one from a listener that asks for no certificate would open one that does, and
 * one from before a certificate was revoked would outlive it. (That it is good for one name alone
 * is in the ticket: of which listener's contexts it comes is not known yet when it is read.)
 */
static bool make_session_context(struct builder *builder, const struct certificate_set *set)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    const struct fg_listener_conf *conf = builder->conf;
    bool is_fine = digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                   EVP_DigestUpdate(digest, conf->name, strlen(conf->name) + 1) == 1 &&
                   digest_rules(builder, digest) && digest_names(builder, set, digest);
    unsigned len;
    is_fine = is_fine && EVP_DigestFinal_ex(digest, builder->session_context, &len) == 1;
    EVP_MD_CTX_free(digest);
    return is_fine;
}

/* One name, one rule: of which key type a client's certificate will be, nobody knows beforehand. */
static bool has_one_rule_each(const struct builder *builder, const struct certificate_set *set)
{
    for (size_t n = 0; n < set->hosts.names.count; n++) {
        const struct fg_tls_name *name = &set->hosts.names.names[n];
        for (unsigned i = 0; i < builder->pair_count; i++) {
            if ((name->having & UINT64_C(1) << i) == 0 ||
                builder->hosts->rules[i] == fg_tls_hosts_rules(builder->hosts, name->having))
                continue;
            fg_error_set(builder->error,
                         "listener %s: two certificates are for %s, and their client_auth, "
                         "client_ca, client_crl or client_user differ; expected the same",
                         builder->conf->name, name->text);
            return false;
        }
    }
    return true;
}

static bool collect_names(struct certificate_set *set, const struct builder *builder)
{
    set->hosts.default_having = 1;
    for (unsigned i = 0; i < builder->pair_count; i++) {
        char *names[NAMES_MAX];
        size_t count = fg_tls_pair_names(&builder->pairs[i], names, NAMES_MAX);
        unsigned type = key_type_of(builder->pairs[i].key);
        bool is_fine = true;
        set->hosts.has_rules = set->hosts.has_rules || builder->hosts->rules[i] != 0;
        for (size_t n = 0; n < count; n++) {
            is_fine = is_fine && fg_tls_names_add(&set->hosts.names, i, type, names[n]) == FG_OK;
            OPENSSL_free(names[n]);
        }
        if (!is_fine)
            return false;
    }
    fg_tls_names_complete(&set->hosts.names);
    /* The other key types of the first certificate's name go with it by default, too. */
    for (size_t n = 0; n < set->hosts.names.count; n++) {
        if ((set->hosts.names.names[n].having & 1) != 0) {
            set->hosts.default_having = set->hosts.names.names[n].having;
            break;
        }
    }
    return true;
}

/* A file that is no good takes the place of no response that is. */
static bool load_staples(const struct builder *builder)
{
    const struct fg_listener_conf *conf = builder->conf;
    const struct certificate_set *before = builder->before;
    for (unsigned i = 0; i < builder->pair_count; i++) {
        struct fg_tls_staple *staple = &builder->set->staples[i];
        const struct fg_tls_pair *pair = &builder->pairs[i];
        fg_tls_staple_load(staple, i == 0 ? conf->ocsp_file : conf->certificates[i - 1].ocsp_file,
                           pair);
        if (staple->file != NULL && staple->response == NULL && before != NULL &&
            i < before->leaf_count && X509_cmp(before->leaves[i], pair->leaf) == 0 &&
            fg_tls_staple_is_good(&before->staples[i], fg_clock_wall_ns() / FG_S) &&
            !fg_tls_staple_keep(staple, &before->staples[i]))
            return false;
    }
    return true;
}

static bool has_group(const struct certificate_set *set, uint64_t having)
{
    for (size_t i = 0; i < set->group_count; i++) {
        if (set->groups[i].having == having)
            return true;
    }
    return having == set->hosts.default_having;
}

static bool make_groups(struct certificate_set *set, const struct builder *builder,
                        uint64_t ticket_lifetime_s)
{
    set->groups = calloc(set->hosts.names.count + 1, sizeof(*set->groups));
    if (set->groups == NULL)
        return false;
    for (size_t n = 0; n < set->hosts.names.count; n++) {
        uint64_t having = set->hosts.names.names[n].having;
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
    if (set == NULL)
        return NULL;
    builder->set = set;
    builder->hosts = &set->hosts;
    if (!load_files(builder) || !collect_names(set, builder) || !has_one_rule_each(builder, set) ||
        !make_session_context(builder, set) || !load_staples(builder) ||
        !make_groups(set, builder, ticket_lifetime_s))
        goto fail;
    set->is_strict = builder->conf->sni_strict;
    for (unsigned i = 0; i < builder->pair_count && X509_up_ref(builder->pairs[i].leaf) == 1; i++)
        set->leaves[set->leaf_count++] = builder->pairs[i].leaf;
    ctx = make_context(builder, set->hosts.default_having, ticket_lifetime_s);
    if (ctx == NULL || SSL_CTX_set_ex_data(ctx, set_index(), set) != 1)
        goto fail;
    SSL_CTX_set_tlsext_servername_callback(ctx, select_certificates);
    SSL_CTX_set_tlsext_servername_arg(ctx, set);
    return ctx;
fail:
    SSL_CTX_free(ctx);
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
        warn_of_files(&builder);
    for (unsigned i = 0; i < builder.pair_count; i++) {
        fg_tls_pair_fini(&builder.pairs[i]);
        fg_tls_clients_fini(&builder.clients[i]);
    }
    ERR_clear_error();
    if (ctx == NULL)
        return FG_ERR_CONFIG;
    fg_tls_slot_put(&tls->slot, ctx);
    return FG_OK;
}

void fg_tls_context_tell_ends(struct fg_tls_context *tls)
{
    SSL_CTX *current = fg_tls_slot_take(&tls->slot);
    tell_ends(tls->conf, SSL_CTX_get_ex_data(current, set_index()));
    SSL_CTX_free(current);
}

/* Can any request of it be misdirected, as far as its own configuration goes? */
static bool is_particular(const struct fg_listener_conf *conf)
{
    bool is = conf->foreign_hosts == FG_FOREIGN_HOSTS_REFUSE;
    for (size_t i = 0; i < conf->certificate_count; i++)
        is = is || conf->certificates[i].client_auth != FG_CLIENT_AUTH_INHERITED;
    return is;
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
    tls->conf = conf;
    tls->minds_hosts = is_particular(conf);
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

/* ---- whom a connection may ask for ---- */

uint8_t fg_tls_context_rules(const SSL *ssl)
{
    return (uint8_t)(uintptr_t)SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), rules_index());
}

/* Is a certificate demanded for some name of the listener? */
static bool may_demand_certificates(const struct fg_listener_conf *conf)
{
    bool may = conf->client_auth == FG_CLIENT_AUTH_REQUIRED;
    for (size_t i = 0; i < conf->certificate_count; i++)
        may = may || conf->certificates[i].client_auth == FG_CLIENT_AUTH_REQUIRED;
    return may;
}

void fg_tls_context_join(struct fg_tls_context *const *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (all[i] == NULL)
            continue;
        all[i]->all = all;
        all[i]->all_count = count;
        for (size_t j = 0; j < count; j++)
            all[i]->minds_hosts = all[i]->minds_hosts || (j != i && all[j] != NULL &&
                                                          may_demand_certificates(all[j]->conf));
    }
}

/* Does it let nobody in without a certificate who comes for this host of its own? */
static bool demands_certificates_for(struct fg_tls_context *tls, struct fg_span host)
{
    SSL_CTX *current = fg_tls_slot_take(&tls->slot);
    const struct certificate_set *set = SSL_CTX_get_ex_data(current, set_index());
    const uint64_t having = fg_tls_names_find(&set->hosts.names, host);
    const uint8_t rules = fg_tls_hosts_rules(&set->hosts, having);
    bool does = having != 0 && fg_tls_clients_of(tls->conf, rules).auth == FG_CLIENT_AUTH_REQUIRED;
    SSL_CTX_free(current);
    return does;
}

bool fg_tls_context_is_misdirected(struct fg_tls_context *tls, uint8_t rules,
                                   struct fg_span server_name, struct fg_span authority)
{
    const struct fg_span host = fg_tls_host_of(authority);
    if (host.len == 0 || fg_span_equal_nocase(host, server_name))
        return false;
    SSL_CTX *current = fg_tls_slot_take(&tls->slot);
    const struct certificate_set *set = SSL_CTX_get_ex_data(current, set_index());
    bool is_wrong = !fg_tls_hosts_allow(&set->hosts, rules, host) ||
                    (tls->conf->foreign_hosts == FG_FOREIGN_HOSTS_REFUSE &&
                     !fg_tls_hosts_cover(&set->hosts, server_name, host));
    bool is_ours = fg_tls_names_find(&set->hosts.names, host) != 0;
    SSL_CTX_free(current);
    for (size_t i = 0; !is_ours && !is_wrong && i < tls->all_count; i++)
        is_wrong = tls->all[i] != NULL && tls->all[i] != tls &&
                   demands_certificates_for(tls->all[i], host);
    return is_wrong;
}

bool fg_tls_context_report(struct fg_tls_context *tls, size_t index,
                           struct fg_tls_certificate_report *report)
{
    SSL_CTX *current = fg_tls_slot_take(&tls->slot);
    const struct certificate_set *set = SSL_CTX_get_ex_data(current, set_index());
    bool is_there = index < set->leaf_count;
    if (is_there) {
        const struct fg_tls_staple *staple = &set->staples[index];
        const uint64_t now_s = fg_clock_wall_ns() / FG_S;
        const uint64_t revoked_until_s = set->revoked_until_s[index];
        const uint64_t trusted_until_s = set->trusted_until_s[index];
        const struct fg_tls_clients clients = fg_tls_clients_of(tls->conf, (size_t)index);
        *report = (struct fg_tls_certificate_report){
            .file = certificate_file(tls->conf, index),
            .left_s = fg_tls_seconds_left(set->leaves[index]),
            .ocsp_file = staple->file,
            .must_staple = fg_tls_wants_staple(set->leaves[index]),
            .is_stapled = fg_tls_staple_is_good(staple, now_s),
            .ocsp_left_s = staple->until_s > now_s ? staple->until_s - now_s : 0,
            .ca_file = trusted_until_s == 0 ? NULL : clients.authorities_file,
            .ca_left_s = (int64_t)(trusted_until_s - now_s),
            .crl_file = revoked_until_s == 0 ? NULL : clients.revoked_file,
            .crl_left_s = revoked_until_s > now_s ? revoked_until_s - now_s : 0,
        };
        snprintf(report->ocsp_fault, sizeof(report->ocsp_fault), "%s", staple->why);
    }
    SSL_CTX_free(current);
    return is_there;
}
