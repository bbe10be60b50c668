/*
 * signature.c: see signature.h.
 */
#include "signature.h"

#include "base/base64url.h"

#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdio.h>

#define FIELD_BYTES_MAX 512u
#define NONCE_BYTES_MIN 16u
#define NONCE_BYTES_MAX 64u

enum { SEEN_KEY = 1, SEEN_TIME = 2, SEEN_NONCE = 4, SEEN_BODY = 8, SEEN_MAC = 16, SEEN_ALL = 31 };

static bool is_nonce(struct fg_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool is_fine = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_';
        if (!is_fine)
            return false;
    }
    return text.len >= NONCE_BYTES_MIN && text.len <= NONCE_BYTES_MAX;
}

static bool decode_32(struct fg_span text, unsigned char out[32])
{
    size_t len;
    return fg_base64url_decode(out, 32, text, &len) && len == 32;
}

/* The part's bit; 0: malformed. */
static unsigned read_part(struct fg_span name, struct fg_span value, struct fg_signature *signature)
{
    if (fg_span_equal(name, FG_SPAN("key"))) {
        signature->key_id = value;
        return value.len > 0 ? SEEN_KEY : 0;
    }
    if (fg_span_equal(name, FG_SPAN("time"))) {
        signature->time_text = value;
        return value.len <= 12 && fg_span_parse_u64(value, &signature->time_s) ? SEEN_TIME : 0;
    }
    if (fg_span_equal(name, FG_SPAN("nonce"))) {
        signature->nonce = value;
        return is_nonce(value) ? SEEN_NONCE : 0;
    }
    if (fg_span_equal(name, FG_SPAN("body"))) {
        signature->body_text = value;
        return decode_32(value, signature->body) ? SEEN_BODY : 0;
    }
    if (fg_span_equal(name, FG_SPAN("mac")))
        return decode_32(value, signature->mac) ? SEEN_MAC : 0;
    return 0;
}

bool fg_signature_parse(struct fg_span field, struct fg_signature *signature)
{
    unsigned seen = 0;
    if (field.len > FIELD_BYTES_MAX || !fg_span_equal(fg_span_split(&field, ';'), FG_SPAN("v1")))
        return false;
    while (field.data != NULL) {
        struct fg_span value = fg_span_trim(fg_span_split(&field, ';'));
        struct fg_span name = fg_span_split(&value, '=');
        unsigned part = value.data == NULL ? 0 : read_part(name, value, signature);
        if (part == 0 || (seen & part) != 0)
            return false;
        seen |= part;
    }
    return seen == SEEN_ALL;
}

static bool feed(EVP_MAC_CTX *mac, struct fg_span text)
{
    return text.len == 0 || EVP_MAC_update(mac, (const unsigned char *)text.data, text.len) == 1;
}

static bool feed_request(EVP_MAC_CTX *mac, const struct fg_signature *signature,
                         const struct fg_exchange *ex)
{
    const struct fg_span line = FG_SPAN_LITERAL("\n");
    return feed(mac, FG_SPAN("v1\n")) && feed(mac, ex->method_text) && feed(mac, line) &&
           feed(mac, ex->authority) && feed(mac, line) && feed(mac, ex->path) &&
           feed(mac, ex->query.data == NULL ? fg_span_make("", 0) : FG_SPAN("?")) &&
           feed(mac, ex->query) && feed(mac, line) && feed(mac, signature->time_text) &&
           feed(mac, line) && feed(mac, signature->nonce) && feed(mac, line) &&
           feed(mac, signature->body_text);
}

static bool make_mac(const struct fg_signature *signature, const struct fg_exchange *ex,
                     const void *secret, size_t secret_bytes, unsigned char out[32])
{
    size_t len = 0;
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    EVP_MAC *kind = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac = kind == NULL ? NULL : EVP_MAC_CTX_new(kind);
    bool is_made = mac != NULL && EVP_MAC_init(mac, secret, secret_bytes, params) == 1 &&
                   feed_request(mac, signature, ex) && EVP_MAC_final(mac, out, &len, 32) == 1 &&
                   len == 32;
    EVP_MAC_CTX_free(mac);
    EVP_MAC_free(kind);
    return is_made;
}

bool fg_signature_is_good(const struct fg_signature *signature, const struct fg_exchange *ex,
                          const void *secret, size_t secret_bytes)
{
    unsigned char expected[32];
    return make_mac(signature, ex, secret, secret_bytes, expected) &&
           CRYPTO_memcmp(expected, signature->mac, sizeof(expected)) == 0;
}

bool fg_signature_make(const struct fg_exchange *ex, const char *key_id, const void *secret,
                       size_t secret_bytes, uint64_t time_s, struct fg_span nonce,
                       const unsigned char body_sha256[32], char field[FG_SIGNATURE_FIELD_BYTES])
{
    char time_text[24], body[48], mac_text[48];
    unsigned char mac[32];
    struct fg_signature signature = {.nonce = nonce};
    int time_len = snprintf(time_text, sizeof(time_text), "%" PRIu64, time_s);
    signature.time_text = fg_span_make(time_text, (size_t)time_len);
    signature.body_text = fg_span_make(body, fg_base64url_encode(body, body_sha256, 32));
    if (!make_mac(&signature, ex, secret, secret_bytes, mac))
        return false;
    size_t mac_len = fg_base64url_encode(mac_text, mac, sizeof(mac));
    int len = snprintf(
        field, FG_SIGNATURE_FIELD_BYTES, "v1;key=%s;time=%s;nonce=%.*s;body=%.*s;mac=%.*s", key_id,
        time_text, FG_SPAN_ARGS(nonce), FG_SPAN_ARGS(signature.body_text), (int)mac_len, mac_text);
    return len > 0 && len < FG_SIGNATURE_FIELD_BYTES;
}
