/*
 * tls_cipher.h: an AEAD of OpenSSL's, asked by the interface that its providers have.
 * Job      find a cipher's functions once (provider-cipher(7)), so that a record calls these; EVP
 *          in front of them looks up for each record how long the nonce is, by names of parameters.
 * Thread   open and close at start-up and at the end; contexts belong to whoever made them.
 * Never    does any cryptography: that is the provider's, as is comparing the tags.
 * Memory   a context is the provider's, which wipes it when it is freed.
 */
#ifndef FG_NET_TLS_CIPHER_H
#define FG_NET_TLS_CIPHER_H

#include <openssl/core_dispatch.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>

/* Zeroed is closed. */
struct fg_tls_cipher {
    EVP_CIPHER *fetched; /* keeps the provider loaded */
    void *provider;      /* its own context */
    OSSL_FUNC_cipher_newctx_fn *make;
    OSSL_FUNC_cipher_freectx_fn *free;
    OSSL_FUNC_cipher_encrypt_init_fn *begin_sealing;
    OSSL_FUNC_cipher_decrypt_init_fn *begin_opening;
    OSSL_FUNC_cipher_update_fn *update;
    OSSL_FUNC_cipher_final_fn *finish;
    OSSL_FUNC_cipher_get_ctx_params_fn *get;
    OSSL_FUNC_cipher_set_ctx_params_fn *set;
};

/* False: OpenSSL has no such cipher, or no memory; *cipher is closed. */
bool fg_tls_cipher_open(struct fg_tls_cipher *cipher, const char *name);
/* No context of it is left. */
void fg_tls_cipher_close(struct fg_tls_cipher *cipher);

#endif
