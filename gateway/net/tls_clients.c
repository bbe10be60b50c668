/*
 * tls_clients.c: see tls_clients.h.
 */
#include "net/tls_clients.h"

#include "base/clock.h"
#include "tls/tls_files.h"

#include <openssl/x509v3.h>
#include <string.h>

struct fg_tls_clients fg_tls_clients_of(const struct fg_listener_conf *conf, size_t index)
{
    const struct fg_certificate_conf *own = index == 0 ? NULL : &conf->certificates[index - 1];
    struct fg_tls_clients clients = {.auth = conf->client_auth,
                                     .authorities_file = conf->client_ca,
                                     .revoked_file = conf->client_crl,
                                     .user = conf->client_user,
                                     .user_prefix = conf->client_user_prefix};
    if (own == NULL || own->client_auth == FG_CLIENT_AUTH_INHERITED)
        return clients;
    clients.auth = own->client_auth;
    clients.authorities_file = own->client_ca;
    clients.revoked_file = own->client_crl;
    if (own->client_user != FG_CLIENT_USER_INHERITED)
        clients.user = own->client_user;
    if (own->client_user_prefix != NULL)
        clients.user_prefix = own->client_user_prefix;
    return clients;
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool fg_tls_clients_share_ca(const struct fg_tls_clients *a, const struct fg_tls_clients *b)
{
    return a->authorities_file != NULL && is_same_text(a->authorities_file, b->authorities_file);
}

bool fg_tls_clients_share_crl(const struct fg_tls_clients *a, const struct fg_tls_clients *b)
{
    return a->revoked_file != NULL && is_same_text(a->revoked_file, b->revoked_file);
}

bool fg_tls_clients_equal(const struct fg_tls_clients *a, const struct fg_tls_clients *b)
{
    return a->auth == b->auth && a->user == b->user &&
           is_same_text(a->user_prefix, b->user_prefix) &&
           is_same_text(a->authorities_file, b->authorities_file) &&
           is_same_text(a->revoked_file, b->revoked_file);
}

static void note_end(struct fg_tls_clients *clients, const X509_CRL *list)
{
    const ASN1_TIME *until = X509_CRL_get0_nextUpdate(list);
    int days = 0, seconds = 0;
    if (until == NULL || ASN1_TIME_diff(&days, &seconds, NULL, until) != 1)
        return;
    int64_t left_s = (int64_t)days * 86400 + seconds;
    uint64_t until_s = left_s <= 0 ? 1 : fg_clock_wall_ns() / FG_S + (uint64_t)left_s;
    if (clients->revoked_until_s == 0 || until_s < clients->revoked_until_s)
        clients->revoked_until_s = until_s;
}

static void note_authority_end(struct fg_tls_clients *clients, const X509 *authority)
{
    int64_t until_s = (int64_t)(fg_clock_wall_ns() / FG_S) + fg_tls_seconds_left(authority);
    uint64_t at_s = until_s <= 0 ? 1 : (uint64_t)until_s;
    if (clients->trusted_until_s == 0 || at_s < clients->trusted_until_s)
        clients->trusted_until_s = at_s;
}

bool fg_tls_clients_load(struct fg_tls_clients *clients, const char *listener,
                         struct fg_error *error)
{
    char why[192];
    if (clients->auth == FG_CLIENT_AUTH_NONE)
        return true;
    clients->authorities = fg_tls_authorities_load(clients->authorities_file, why, sizeof(why));
    if (clients->authorities == NULL) {
        fg_error_set(error, "listener %s: cannot use client CA %s: %s", listener,
                     clients->authorities_file, why);
        return false;
    }
    for (int i = 0; i < sk_X509_num(clients->authorities); i++)
        note_authority_end(clients, sk_X509_value(clients->authorities, i));
    if (clients->revoked_file == NULL)
        return true;
    clients->revoked = fg_tls_crls_load(clients->revoked_file, why, sizeof(why));
    if (clients->revoked == NULL)
        fg_error_set(error, "listener %s: cannot use client CRL %s: %s", listener,
                     clients->revoked_file, why);
    for (int i = 0; i < sk_X509_CRL_num(clients->revoked); i++)
        note_end(clients, sk_X509_CRL_value(clients->revoked, i));
    return clients->revoked != NULL;
}

void fg_tls_clients_fini(struct fg_tls_clients *clients)
{
    sk_X509_pop_free(clients->authorities, X509_free);
    sk_X509_CRL_pop_free(clients->revoked, X509_CRL_free);
    *clients = (struct fg_tls_clients){.auth = FG_CLIENT_AUTH_NONE};
}

static bool has_issuer(const STACK_OF(X509) * authorities, X509 *authority)
{
    for (int i = 0; i < sk_X509_num(authorities); i++) {
        if (X509_check_issued(sk_X509_value(authorities, i), authority) == X509_V_OK)
            return true;
    }
    return false;
}

/*
 * An authority that stands there without the one that it is signed by is where chains end: who
 * trusts a department's alone names that, and not the company's. Marked one by one, since
 * X509_V_FLAG_PARTIAL_CHAIN would end them at those, too, whose root and its list are known.
 */
static bool trust_rootless(STACK_OF(X509) * authorities)
{
    for (int i = 0; i < sk_X509_num(authorities); i++) {
        X509 *authority = sk_X509_value(authorities, i);
        if (!has_issuer(authorities, authority) &&
            X509_add1_trust_object(authority, OBJ_nid2obj(NID_client_auth)) != 1)
            return false;
    }
    return true;
}

/* Does it say of a list that it is none for this certificate, rather than what it says? */
static bool is_about_list(int error)
{
    return error == X509_V_ERR_UNABLE_TO_GET_CRL || error == X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER ||
           error == X509_V_ERR_CRL_SIGNATURE_FAILURE || error == X509_V_ERR_CRL_NOT_YET_VALID ||
           error == X509_V_ERR_CRL_HAS_EXPIRED;
}

/* An authority that is trusted as it is needs nobody's word that it was not revoked (RFC 5280
 * section 6.1): the list that would say so is of one that is not known here. */
static int on_verified(int is_fine, X509_STORE_CTX *ctx)
{
    const int depth = X509_STORE_CTX_get_error_depth(ctx);
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
    if (is_fine != 0 || !is_about_list(X509_STORE_CTX_get_error(ctx)) || depth == 0 ||
        depth + 1 != sk_X509_num(chain) ||
        (X509_get_extension_flags(sk_X509_value(chain, depth)) & EXFLAG_SI) != 0)
        return is_fine;
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

bool fg_tls_clients_set(const struct fg_tls_clients *clients, SSL_CTX *ctx)
{
    if (clients->authorities == NULL)
        return true;
    if (!trust_rootless(clients->authorities))
        return false;
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    for (int i = 0; i < sk_X509_num(clients->authorities); i++) {
        X509 *authority = sk_X509_value(clients->authorities, i);
        if (X509_STORE_add_cert(store, authority) != 1 ||
            SSL_CTX_add_client_CA(ctx, authority) != 1)
            return false;
    }
    for (int i = 0; i < sk_X509_CRL_num(clients->revoked); i++) {
        if (X509_STORE_add_crl(store, sk_X509_CRL_value(clients->revoked, i)) != 1)
            return false;
    }
    if (clients->revoked != NULL &&
        X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1)
        return false;
    bool is_needed = clients->auth == FG_CLIENT_AUTH_REQUIRED;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (is_needed ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       on_verified);
    return true;
}

bool fg_tls_clients_digest(const struct fg_tls_clients *clients, EVP_MD_CTX *digest)
{
    unsigned char fingerprint[EVP_MAX_MD_SIZE];
    const unsigned char kinds[2] = {(unsigned char)clients->auth, (unsigned char)clients->user};
    const char *prefix = clients->user_prefix == NULL ? "" : clients->user_prefix;
    unsigned len;
    if (EVP_DigestUpdate(digest, kinds, sizeof(kinds)) != 1 ||
        EVP_DigestUpdate(digest, prefix, strlen(prefix) + 1) != 1)
        return false;
    for (int i = 0; i < sk_X509_num(clients->authorities); i++) {
        if (X509_digest(sk_X509_value(clients->authorities, i), EVP_sha256(), fingerprint, &len) !=
                1 ||
            EVP_DigestUpdate(digest, fingerprint, len) != 1)
            return false;
    }
    for (int i = 0; i < sk_X509_CRL_num(clients->revoked); i++) {
        if (X509_CRL_digest(sk_X509_CRL_value(clients->revoked, i), EVP_sha256(), fingerprint,
                            &len) != 1 ||
            EVP_DigestUpdate(digest, fingerprint, len) != 1)
            return false;
    }
    return true;
}
