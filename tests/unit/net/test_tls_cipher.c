/*
 * test_tls_cipher.c: the functions that were found are those that EVP would call.
 */
#include "net/tls_cipher.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define TAG_BYTES 16

static const unsigned char key[32] = "a key of two hundred fifty six b";
static const unsigned char nonce[12] = "every record";
static const unsigned char head[5] = "head";
static const char text[] = "what nobody but the other one shall read";

/* Ciphertext and tag, as EVP makes them. */
static void seal_by_evp(const char *name, unsigned char *to)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len;
    assert_int_equal(EVP_EncryptInit_ex2(ctx, cipher, key, nonce, NULL), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &len, head, sizeof(head)), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, to, &len, (const unsigned char *)text, sizeof(text)),
                     1);
    assert_int_equal(EVP_EncryptFinal_ex(ctx, to + len, &len), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, to + sizeof(text)),
                     1);
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
}

/* Opens it where it lies; what the provider says of the tag. */
static int open_in_place(const struct fg_tls_cipher *cipher, void *ctx, unsigned char *data)
{
    OSSL_PARAM tag[] = {OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG,
                                                          data + sizeof(text), TAG_BYTES),
                        OSSL_PARAM_construct_end()};
    unsigned char rest[TAG_BYTES];
    size_t len;
    assert_int_equal(cipher->begin_opening(ctx, NULL, 0, nonce, sizeof(nonce), NULL), 1);
    assert_int_equal(cipher->update(ctx, NULL, &len, sizeof(head), head, sizeof(head)), 1);
    assert_int_equal(cipher->update(ctx, data, &len, sizeof(text), data, sizeof(text)), 1);
    assert_int_equal(len, sizeof(text));
    assert_int_equal(cipher->set(ctx, tag), 1);
    return cipher->finish(ctx, rest, &len, sizeof(rest));
}

static void opens_what_evp_has_sealed(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t key_bytes;
    } cases[] = {{"AES-128-GCM", 16}, {"AES-256-GCM", 32}, {"ChaCha20-Poly1305", 32}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_tls_cipher cipher;
        unsigned char data[sizeof(text) + TAG_BYTES];
        assert_true(fg_tls_cipher_open(&cipher, cases[i].name));
        void *ctx = cipher.make(cipher.provider);
        assert_non_null(ctx);
        assert_int_equal(cipher.begin_opening(ctx, key, cases[i].key_bytes, NULL, 0, NULL), 1);
        seal_by_evp(cases[i].name, data);
        assert_int_equal(open_in_place(&cipher, ctx, data), 1);
        assert_memory_equal(data, text, sizeof(text));
        seal_by_evp(cases[i].name, data); /* the same context, and a bit is wrong */
        data[sizeof(text)] ^= 1;
        assert_int_equal(open_in_place(&cipher, ctx, data), 0);
        cipher.free(ctx);
        fg_tls_cipher_close(&cipher);
        assert_null(cipher.update);
    }
}

static void knows_no_cipher_that_openssl_has_not(void **state)
{
    (void)state;
    struct fg_tls_cipher cipher;
    assert_false(fg_tls_cipher_open(&cipher, "AES-129-GCM"));
    assert_null(cipher.fetched);
    assert_null(cipher.make);
    fg_tls_cipher_close(&cipher); /* of what is closed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_evp_has_sealed),
        cmocka_unit_test(knows_no_cipher_that_openssl_has_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
