/*
 * tls_cipher.c: see tls_cipher.h.
 *
 * A provider lists its algorithms under all their names; EVP has fetched one of them, and knows by
 * which names.
 */
#include "net/tls_cipher.h"

#include <openssl/core.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <string.h>

#define NAME_BYTES_MAX 64u

/* By the first of "AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6". */
static bool is_meant(const OSSL_ALGORITHM *algorithm, const EVP_CIPHER *fetched)
{
    char name[NAME_BYTES_MAX];
    size_t len = strcspn(algorithm->algorithm_names, ":");
    if (len >= sizeof(name))
        return false;
    memcpy(name, algorithm->algorithm_names, len);
    name[len] = '\0';
    return EVP_CIPHER_is_a(fetched, name) == 1;
}

static void take_functions(struct fg_tls_cipher *cipher, const OSSL_DISPATCH *functions)
{
    for (; functions->function_id != 0; functions++) {
        switch (functions->function_id) {
        case OSSL_FUNC_CIPHER_NEWCTX:
            cipher->make = OSSL_FUNC_cipher_newctx(functions);
            break;
        case OSSL_FUNC_CIPHER_FREECTX:
            cipher->free = OSSL_FUNC_cipher_freectx(functions);
            break;
        case OSSL_FUNC_CIPHER_ENCRYPT_INIT:
            cipher->begin_sealing = OSSL_FUNC_cipher_encrypt_init(functions);
            break;
        case OSSL_FUNC_CIPHER_DECRYPT_INIT:
            cipher->begin_opening = OSSL_FUNC_cipher_decrypt_init(functions);
            break;
        case OSSL_FUNC_CIPHER_UPDATE:
            cipher->update = OSSL_FUNC_cipher_update(functions);
            break;
        case OSSL_FUNC_CIPHER_FINAL:
            cipher->finish = OSSL_FUNC_cipher_final(functions);
            break;
        case OSSL_FUNC_CIPHER_GET_CTX_PARAMS:
            cipher->get = OSSL_FUNC_cipher_get_ctx_params(functions);
            break;
        case OSSL_FUNC_CIPHER_SET_CTX_PARAMS:
            cipher->set = OSSL_FUNC_cipher_set_ctx_params(functions);
            break;
        default:
            break; /* what EVP asks for its own users */
        }
    }
}

static bool is_whole(const struct fg_tls_cipher *cipher)
{
    return cipher->make != NULL && cipher->free != NULL && cipher->begin_sealing != NULL &&
           cipher->begin_opening != NULL && cipher->update != NULL && cipher->finish != NULL &&
           cipher->get != NULL && cipher->set != NULL;
}

bool fg_tls_cipher_open(struct fg_tls_cipher *cipher, const char *name)
{
    *cipher = (struct fg_tls_cipher){.fetched = EVP_CIPHER_fetch(NULL, name, NULL)};
    if (cipher->fetched != NULL) {
        const OSSL_PROVIDER *provider = EVP_CIPHER_get0_provider(cipher->fetched);
        int must_ask_again = 0; /* the list may change: what is taken from it is copied */
        const OSSL_ALGORITHM *first =
            OSSL_PROVIDER_query_operation(provider, OSSL_OP_CIPHER, &must_ask_again);
        const OSSL_ALGORITHM *algorithm = first;
        while (algorithm != NULL && algorithm->algorithm_names != NULL &&
               !is_meant(algorithm, cipher->fetched))
            algorithm++;
        if (algorithm != NULL && algorithm->algorithm_names != NULL)
            take_functions(cipher, algorithm->implementation);
        if (first != NULL)
            OSSL_PROVIDER_unquery_operation(provider, OSSL_OP_CIPHER, first);
        cipher->provider = OSSL_PROVIDER_get0_provider_ctx(provider);
    }
    if (is_whole(cipher))
        return true;
    ERR_clear_error();
    fg_tls_cipher_close(cipher);
    return false;
}

void fg_tls_cipher_close(struct fg_tls_cipher *cipher)
{
    EVP_CIPHER_free(cipher->fetched);
    *cipher = (struct fg_tls_cipher){0};
}
