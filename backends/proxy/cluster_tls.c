/*
 * cluster_tls.c: the context that connections to a cluster's servers are made from.
 * Job      versions, keys, ALPN, whom we trust and what we show; the same anew when files have
 *          changed.
 * Thread   made and read anew by the main thread; loops take a reference a connection.
 * Never    asks for a passphrase, or puts a context in place that is worse than the one before.
 * Memory   a connection holds the context that it was made from, and an endpoint the one that its
 *          session is of.
 */
#include "proxy_internal.h"

#include "proxy/proxy.h"
#include "tls/tls_files.h"

#include <assert.h>
#include <openssl/err.h>
#include <string.h>

/* The newest ticket is the endpoint's; TLS 1.3 sends several, each good for one resumption. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct fg_upstream *upstream = SSL_get_app_data(ssl);
    if (upstream == NULL || upstream->endpoint == NULL)
        return 0;
    struct fg_proxy_endpoint *endpoint = upstream->endpoint;
    SSL_CTX *tls = SSL_get_SSL_CTX(ssl);
    if (endpoint->session_tls != tls) {
        int is_counted = SSL_CTX_up_ref(tls);
        assert(is_counted == 1);
        SSL_CTX_free(endpoint->session_tls);
        endpoint->session_tls = tls;
    }
    SSL_SESSION_free(endpoint->session);
    endpoint->session = session;
    return 1; /* the reference is ours */
}

static bool set_protocols(SSL_CTX *tls, enum fg_upstream_protocol protocol)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1";
    static const unsigned char h2[] = "\x02h2";
    static const unsigned char h1[] = "\x08http/1.1";
    const unsigned char *list = protocol == FG_PROTOCOL_AUTO ? both
                                : protocol == FG_PROTOCOL_H2 ? h2
                                                             : h1;
    return SSL_CTX_set_alpn_protos(tls, list, (unsigned)strlen((const char *)list)) == 0;
}

/* ---- whom we trust ---- */

static bool trust(SSL_CTX *tls, const char *file, char *why, size_t why_bytes)
{
    STACK_OF(X509) *authorities = fg_tls_authorities_load(file, why, why_bytes);
    X509_STORE *store = SSL_CTX_get_cert_store(tls);
    /* What a file names is trusted as it is, be it no root or a server's own certificate; there are
     * no lists of what was revoked that a shorter chain would pass by. */
    bool is_fine =
        authorities != NULL && X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1;
    for (int i = 0; is_fine && i < sk_X509_num(authorities); i++)
        is_fine = X509_STORE_add_cert(store, sk_X509_value(authorities, i)) == 1;
    if (authorities != NULL && !is_fine)
        (void)snprintf(why, why_bytes, "no memory");
    sk_X509_pop_free(authorities, X509_free);
    return is_fine;
}

static bool load_authorities(SSL_CTX *tls, const struct fg_upstream_tls_conf *conf,
                             const char *name, struct fg_error *error)
{
    char why[192];
    if (!conf->verify)
        return true;
    if (conf->ca_file == NULL) {
        if (SSL_CTX_set_default_verify_paths(tls) == 1)
            return true;
        (void)fg_error_set(error, "cluster %s: the system's certificates cannot be read", name);
        return false;
    }
    if (trust(tls, conf->ca_file, why, sizeof(why)))
        return true;
    (void)fg_error_set(error, "cluster %s: cannot use tls.ca_file %s: %s", name, conf->ca_file,
                       why);
    return false;
}

/* ---- what we show ---- */

/* One that nobody takes, in place of one that is good, is a mistake, or comes too early. */
static const char *why_unfit(const X509 *leaf, SSL_CTX *before)
{
    const X509 *old = before == NULL ? NULL : SSL_CTX_get0_certificate(before);
    return old == NULL || fg_tls_pair_unfit(old) != NULL ? NULL : fg_tls_pair_unfit(leaf);
}

static bool load_pair(SSL_CTX *tls, const struct fg_upstream_tls_conf *conf, SSL_CTX *before,
                      const char *name, struct fg_error *error)
{
    struct fg_tls_pair pair;
    char why[192];
    if (conf->certificate == NULL)
        return true;
    enum fg_tls_pair_fault fault =
        fg_tls_pair_load(&pair, conf->certificate, conf->private_key, why, sizeof(why));
    if (fault != FG_TLS_PAIR_FINE) {
        bool is_key = fault == FG_TLS_PAIR_KEY;
        (void)fg_error_set(error, "cluster %s: cannot use tls.%s %s: %s", name,
                           is_key ? "private_key" : "certificate",
                           is_key ? conf->private_key : conf->certificate, why);
        return false;
    }
    const char *unfit = why_unfit(pair.leaf, before);
    bool is_fine =
        unfit == NULL && SSL_CTX_use_cert_and_key(tls, pair.leaf, pair.key, pair.chain, 1) == 1;
    if (!is_fine)
        (void)fg_error_set(error, "cluster %s: cannot use tls.certificate %s: %s%s", name,
                           conf->certificate, unfit == NULL ? "the TLS library refuses it" : unfit,
                           unfit == NULL ? "" : ", and the old one is good");
    fg_tls_pair_fini(&pair);
    return is_fine;
}

/* ---- both in one ---- */

/*
 * What a server may have an event loop compute. With finite fields it would choose the numbers: of
 * 10,000 bits they take a fifth of a second. No browser speaks that any more either.
 */
static bool bound_handshakes(SSL_CTX *tls, const struct fg_upstream_tls_conf *conf)
{
    SSL_CTX_set_max_cert_list(tls, (long)conf->chain_bytes_max);
    return SSL_CTX_set_cipher_list(tls, "DEFAULT:!kDHE") == 1 &&
           SSL_CTX_set1_groups_list(tls, "X25519:P-256:P-384:P-521") == 1;
}

static SSL_CTX *make_context(const struct fg_cluster_conf *conf)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1 ||
        !set_protocols(tls, conf->protocol) || !bound_handshakes(tls, &conf->tls)) {
        SSL_CTX_free(tls);
        return NULL;
    }
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_read_ahead(tls, 1);
    SSL_CTX_set_verify(tls, conf->tls.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(tls, on_new_session);
    return tls;
}

bool fg_cluster_tls_load(struct fg_proxy *proxy, struct fg_error *error)
{
    const struct fg_cluster_conf *conf = &proxy->conf;
    const char *name = proxy->base.name;
    if (!conf->has_tls)
        return true;
    SSL_CTX *before = fg_tls_slot_take(&proxy->tls);
    SSL_CTX *made = make_context(conf);
    bool is_fine = made != NULL && load_authorities(made, &conf->tls, name, error) &&
                   load_pair(made, &conf->tls, before, name, error);
    if (made == NULL)
        (void)fg_error_set(error, "cluster %s: no memory for TLS", name);
    SSL_CTX_free(before);
    ERR_clear_error();
    if (is_fine)
        fg_tls_slot_put(&proxy->tls, made);
    else
        SSL_CTX_free(made);
    return is_fine;
}

enum fg_status fg_proxy_reload_tls(struct fg_backend *backend, struct fg_error *error)
{
    return fg_cluster_tls_load((struct fg_proxy *)backend, error) ? FG_OK : FG_ERR_CONFIG;
}

/* ---- what is in use ---- */

const char *fg_proxy_certificate(struct fg_backend *backend, int64_t *left_s)
{
    struct fg_proxy *proxy = (struct fg_proxy *)backend;
    SSL_CTX *tls = fg_tls_slot_take(&proxy->tls);
    const X509 *certificate = tls == NULL ? NULL : SSL_CTX_get0_certificate(tls);
    if (certificate != NULL)
        *left_s = fg_tls_seconds_left(certificate);
    SSL_CTX_free(tls);
    return certificate == NULL ? NULL : proxy->conf.tls.certificate;
}

/* A session of another context was agreed on with another certificate of ours, or after a look at
 * other authorities: it would go by the new files. */
SSL *fg_cluster_tls_open(struct fg_proxy *proxy, const struct fg_proxy_endpoint *endpoint)
{
    SSL_CTX *tls = fg_tls_slot_take(&proxy->tls);
    SSL *ssl = SSL_new(tls);
    if (ssl != NULL && endpoint->session != NULL && endpoint->session_tls == tls)
        (void)SSL_set_session(ssl, endpoint->session);
    SSL_CTX_free(tls);
    return ssl;
}
