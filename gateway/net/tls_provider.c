/*
 * tls_provider.c: see tls_provider.h; the interface is that of provider-kdf(7) in OpenSSL's manual.
 *
 * A context of an algorithm holds nothing: libssl gives all parameters with the derivation itself.
 */
#include "net/tls_provider.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <string.h>

#define NAME "floodgate"
#define SEED_BYTES_MAX 256u /* a label, two randoms or a hash */

struct listener {
    struct fg_tls_kdf *kdf; /* NULL: nobody has entered */
    fg_tls_derived_fn on_derived;
    void *ctx;
};

static _Thread_local struct listener current;

struct arguments {
    int mode;
    enum fg_tls_digest digest;
    struct fg_span key; /* or secret */
    struct fg_span salt;
    struct fg_span label;
    struct fg_span data;
    size_t seed_len;
    unsigned char seed[SEED_BYTES_MAX];
};

static bool find_digest(const OSSL_PARAM *param, enum fg_tls_digest *digest)
{
    for (unsigned i = 0; i < FG_TLS_DIGEST_COUNT; i++) {
        const EVP_MD *own = current.kdf->hashes[i].digest;
        if (strcmp(param->data, EVP_MD_get0_name(own)) == 0 || EVP_MD_is_a(own, param->data)) {
            *digest = i;
            return true;
        }
    }
    return false;
}

/* The parts of a seed come one after the other. */
static bool add_seed(struct arguments *arguments, struct fg_span part)
{
    if (part.len > sizeof(arguments->seed) - arguments->seed_len)
        return false;
    if (part.len > 0)
        memcpy(arguments->seed + arguments->seed_len, part.data, part.len);
    arguments->seed_len += part.len;
    return true;
}

static bool read_argument(struct arguments *arguments, const OSSL_PARAM *param)
{
    struct fg_span bytes = fg_span_make(param->data, param->data_size);
    if (strcmp(param->key, OSSL_KDF_PARAM_DIGEST) == 0)
        return find_digest(param, &arguments->digest);
    if (strcmp(param->key, OSSL_KDF_PARAM_MODE) == 0)
        return OSSL_PARAM_get_int(param, &arguments->mode) == 1;
    if (strcmp(param->key, OSSL_KDF_PARAM_SEED) == 0)
        return add_seed(arguments, bytes);
    if (strcmp(param->key, OSSL_KDF_PARAM_KEY) == 0 ||
        strcmp(param->key, OSSL_KDF_PARAM_SECRET) == 0)
        arguments->key = bytes;
    else if (strcmp(param->key, OSSL_KDF_PARAM_SALT) == 0)
        arguments->salt = bytes;
    else if (strcmp(param->key, OSSL_KDF_PARAM_LABEL) == 0)
        arguments->label = bytes;
    else if (strcmp(param->key, OSSL_KDF_PARAM_DATA) == 0)
        arguments->data = bytes;
    return true;
}

static bool read_arguments(struct arguments *arguments, const OSSL_PARAM *params)
{
    *arguments = (struct arguments){.mode = -1, .digest = FG_TLS_DIGEST_COUNT};
    if (current.kdf == NULL)
        return false;
    for (; params->key != NULL; params++) {
        if (!read_argument(arguments, params))
            return false;
    }
    return arguments->digest != FG_TLS_DIGEST_COUNT;
}

static int derive_1_3(void *nothing, unsigned char *out, size_t len, const OSSL_PARAM *params)
{
    (void)nothing;
    struct arguments arguments;
    if (!read_arguments(&arguments, params))
        return 0;
    size_t secret_bytes = fg_tls_digest_bytes(arguments.digest);
    const unsigned char *before = (const unsigned char *)arguments.salt.data;
    const unsigned char *secret = (const unsigned char *)arguments.key.data;
    if (arguments.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
        return len == secret_bytes && (before == NULL || arguments.salt.len == secret_bytes) &&
               fg_tls_kdf_extract(current.kdf, arguments.digest, before, arguments.key, out);
    if (arguments.mode != EVP_KDF_HKDF_MODE_EXPAND_ONLY || arguments.key.len != secret_bytes ||
        !fg_tls_kdf_expand(current.kdf, arguments.digest, secret, arguments.label, arguments.data,
                           out, len))
        return 0;
    current.on_derived(current.ctx, arguments.label, arguments.key,
                       fg_span_make((const char *)out, len));
    return 1;
}

static int derive_1_2(void *nothing, unsigned char *out, size_t len, const OSSL_PARAM *params)
{
    (void)nothing;
    struct arguments arguments;
    return read_arguments(&arguments, params) &&
           fg_tls_kdf_prf(current.kdf, arguments.digest, arguments.key,
                          fg_span_make((const char *)arguments.seed, arguments.seed_len), out, len);
}

/* ---- what OpenSSL asks for ---- */

static void *begin(void *provider)
{
    return provider;
}

static void end(void *nothing)
{
    (void)nothing;
}

static const OSSL_DISPATCH functions_1_3[] = {{OSSL_FUNC_KDF_NEWCTX, (void (*)(void))begin},
                                              {OSSL_FUNC_KDF_FREECTX, (void (*)(void))end},
                                              {OSSL_FUNC_KDF_DERIVE, (void (*)(void))derive_1_3},
                                              {0, NULL}};
static const OSSL_DISPATCH functions_1_2[] = {{OSSL_FUNC_KDF_NEWCTX, (void (*)(void))begin},
                                              {OSSL_FUNC_KDF_FREECTX, (void (*)(void))end},
                                              {OSSL_FUNC_KDF_DERIVE, (void (*)(void))derive_1_2},
                                              {0, NULL}};
static const OSSL_ALGORITHM algorithms[] = {
    {OSSL_KDF_NAME_TLS1_3_KDF, "provider=" NAME, functions_1_3, NULL},
    {OSSL_KDF_NAME_TLS1_PRF, "provider=" NAME, functions_1_2, NULL},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
    (void)provider;
    *no_cache = 0;
    return operation == OSSL_OP_KDF ? algorithms : NULL;
}

static const OSSL_DISPATCH functions[] = {
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query}, {0, NULL}};

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                void **provider)
{
    (void)in;
    *out = functions;
    *provider = (void *)(uintptr_t)handle;
    return 1;
}

/*
 * Who asks for no properties gets the one that came first: so that this be OpenSSL's own, they are
 * looked up before.
 */
static OSSL_PROVIDER *add(void)
{
    OSSL_PROVIDER *provider = NULL;
    EVP_KDF *own_1_3 = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, NULL);
    EVP_KDF *own_1_2 = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_PRF, NULL);
    if (own_1_3 != NULL && own_1_2 != NULL && OSSL_PROVIDER_add_builtin(NULL, NAME, init) == 1)
        provider = OSSL_PROVIDER_try_load(NULL, NAME, 1 /* beside the others */);
    EVP_KDF_free(own_1_3);
    EVP_KDF_free(own_1_2);
    if (provider == NULL)
        ERR_clear_error();
    return provider;
}

static OSSL_PROVIDER *added;

static void remove_added(void)
{
    OSSL_PROVIDER_unload(added);
    added = NULL;
}

const char *fg_tls_provider_properties(void)
{
    static bool was_tried;
    if (!was_tried) {
        added = add();
        was_tried = true;
        (void)OPENSSL_atexit(remove_added);
    }
    return added == NULL ? NULL : "?provider=" NAME;
}

void fg_tls_provider_enter(struct fg_tls_kdf *kdf, fg_tls_derived_fn on_derived, void *ctx)
{
    current = (struct listener){kdf, on_derived, ctx};
}

void fg_tls_provider_leave(void)
{
    current = (struct listener){NULL, NULL, NULL};
}
