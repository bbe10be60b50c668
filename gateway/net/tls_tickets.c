/*
 * tls_tickets.c: the callbacks by which OpenSSL makes and reads a ticket.
 * Source   RFC 5077; RFC 6066 section 3: a session is not resumed under another name. OpenSSL keeps
 *          to that for no version, so that the name goes into the ticket, and is compared.
 */
#include "net/tls_tickets.h"

#include "base/clock.h"
#include "base/span.h"
#include "net/ticket_keys_shared.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <string.h>

#define NAME_MAX_BYTES 255u
#define SNI_HEADER 5u /* of the list, the type of its one entry, and of the entry */

static bool set_ticket_mac(EVP_MAC_CTX *mac, struct fg_ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof(key->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb demands: 0 no ticket, 1 use it, 2 use and renew it. */
static int use_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                          EVP_MAC_CTX *mac, int is_making)
{
    struct fg_ticket_keys *keys = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct fg_ticket_key key;
    uint64_t now_s = fg_clock_wall_ns() / FG_S;
    const EVP_CIPHER *aes = EVP_aes_256_cbc();
    int result = 0;
    if (is_making != 0) {
        if (fg_ticket_keys_current(keys, now_s, &key) && RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1 &&
            EVP_EncryptInit_ex(cipher, aes, NULL, key.cipher, iv) == 1 &&
            set_ticket_mac(mac, &key)) {
            memcpy(name, key.name, sizeof(key.name));
            result = 1;
        }
    } else {
        enum fg_ticket_key_age age = fg_ticket_keys_find(keys, now_s, name, &key);
        if (age != FG_TICKET_KEY_UNKNOWN && set_ticket_mac(mac, &key) &&
            EVP_DecryptInit_ex(cipher, aes, NULL, key.cipher, iv) == 1)
            result = age == FG_TICKET_KEY_OLD ? 2 : 1;
    }
    OPENSSL_cleanse(&key, sizeof(key));
    return result;
}

/* ---- the name ---- */

static size_t to_lower(const unsigned char *from, size_t len, unsigned char *name)
{
    if (len > 0 && from[len - 1] == '.')
        len--; /* as in tls_names.c */
    for (size_t i = 0; i < len; i++)
        name[i] = from[i] >= 'A' && from[i] <= 'Z' ? (unsigned char)(from[i] | 0x20) : from[i];
    return len;
}

/* Called for each ticket that is made. One that renews another keeps that one's name. */
static int note_name(SSL *ssl, void *arg)
{
    (void)arg;
    unsigned char name[NAME_MAX_BYTES];
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    SSL_SESSION *session = SSL_get_session(ssl);
    if (SSL_session_reused(ssl) != 0 || asked == NULL || strlen(asked) > sizeof(name))
        return 1;
    size_t len = to_lower((const unsigned char *)asked, strlen(asked), name);
    return SSL_SESSION_set1_ticket_appdata(session, name, len);
}

/* What the hello asks for; OpenSSL has not looked at that yet when a ticket is read. */
static size_t find_name(SSL *ssl, unsigned char *name)
{
    const unsigned char *data;
    size_t len;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &len) != 1 ||
        len <= SNI_HEADER)
        return 0;
    size_t name_len = (size_t)data[3] << 8 | data[4];
    if (data[2] != TLSEXT_NAMETYPE_host_name || name_len > len - SNI_HEADER ||
        name_len > NAME_MAX_BYTES)
        return 0;
    return to_lower(data + SNI_HEADER, name_len, name);
}

static bool is_of_that_name(SSL *ssl, SSL_SESSION *session)
{
    unsigned char name[NAME_MAX_BYTES];
    void *noted;
    size_t noted_len;
    size_t len = find_name(ssl, name);
    return SSL_SESSION_get0_ticket_appdata(session, &noted, &noted_len) == 1 && len == noted_len &&
           (len == 0 || memcmp(name, noted, len) == 0);
}

/*
 * In TLS 1.3 a ticket is for one connection (RFC 8446 appendix C.4: who watches could tell that two
 * are one client's), and browsers keep to that: without a new one every other connection of theirs
 * would be a full handshake. But not beside a client's certificate: that is looked at in full
 * handshakes alone, and a new ticket lives anew, so that one which is over would go on for ever.
 */
static bool wants_new_ticket(const SSL *ssl, SSL_SESSION *session, SSL_TICKET_STATUS status)
{
    return SSL_version(ssl) == TLS1_3_VERSION ? SSL_SESSION_get0_peer(session) == NULL
                                              : status == SSL_TICKET_SUCCESS_RENEW;
}

/*
 * OpenSSL looks at a client's certificate in full handshakes alone: one that has expired would be
 * good for as long as its tickets are, which may be renewed.
 */
static bool is_certificate_in_time(SSL_SESSION *session, uint64_t clients_until_s)
{
    const X509 *certificate = SSL_SESSION_get0_peer(session);
    if (certificate == NULL)
        return true;
    if (clients_until_s != 0 && fg_clock_wall_ns() / FG_S >= clients_until_s)
        return false;
    bool is_in_time = X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0;
    if (!is_in_time)
        ERR_clear_error();
    return is_in_time;
}

/* One of another name, or of who may come no more, is as good as none: a full handshake follows. */
static SSL_TICKET_RETURN judge_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *key_name,
                                      size_t key_name_len, SSL_TICKET_STATUS status, void *arg)
{
    (void)key_name;
    (void)key_name_len;
    bool is_read = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
    if (!is_read || !is_of_that_name(ssl, session) ||
        !is_certificate_in_time(session, (uintptr_t)arg))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return wants_new_ticket(ssl, session, status) ? SSL_TICKET_RETURN_USE_RENEW
                                                  : SSL_TICKET_RETURN_USE;
}

bool fg_tls_tickets_set(SSL_CTX *ctx, struct fg_ticket_keys *keys, uint64_t lifetime_s,
                        uint64_t clients_until_s)
{
    if (keys == NULL) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        return SSL_CTX_set_num_tickets(ctx, 0) == 1;
    }
    SSL_CTX_set_app_data(ctx, keys);
    SSL_CTX_set_timeout(ctx, (long)lifetime_s);
    return SSL_CTX_set_num_tickets(ctx, 1) == 1 &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, use_ticket_key) == 1 &&
           SSL_CTX_set_session_ticket_cb(ctx, note_name, judge_ticket,
                                         (void *)(uintptr_t)clients_until_s) == 1;
}
