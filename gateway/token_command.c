/*
 * token_command.c: see token_command.h.
 */
#include "token_command.h"

#include "base/base64url.h"
#include "base/clock.h"
#include "config/secret_file.h"
#include "pipeline/jwt.h"
#include "pipeline/signature.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define SECRET_BYTES_MAX 4096
#define NONCE_BYTES 18

static void complain(const char *text)
{
    fprintf(stderr, "floodgate token: %s\n", text);
}

bool fg_token_command_check(const struct fg_token_options *options)
{
    if (options->sign != NULL && options->url == NULL)
        complain("--url is missing; expected the URL of the request to sign");
    else if (options->sign == NULL && (options->user == NULL || options->user[0] == '\0' ||
                                       strlen(options->user) > FG_USER_ID_BYTES_MAX))
        complain("--user is missing; expected --user ID of 1 to 128 bytes");
    else
        return true;
    return false;
}

/* ---- a bearer token ---- */

static int print_token(const struct fg_config *config, const struct fg_token_options *options)
{
    static struct fg_jwt_key key;
    struct fg_error error = {.file = ""};
    struct fg_arena_pool pool;
    struct fg_arena arena;
    if (fg_jwt_key_load(&key, &config->identity.jwt, &error) != FG_OK) {
        complain(error.message);
        return 2;
    }
    struct fg_jwt_signer *signer = fg_jwt_signer_create(&key);
    fg_arena_pool_init(&pool, 16);
    fg_arena_init(&arena, &pool, 32768);
    uint64_t now_s = fg_clock_wall_ns() / FG_S;
    struct fg_span token = {NULL, 0};
    if (signer != NULL)
        token = fg_jwt_sign(signer, &arena, fg_span_from_string(options->user), now_s,
                            now_s + options->ttl_s);
    if (token.data != NULL)
        printf("%.*s\n", FG_SPAN_ARGS(token));
    else
        complain("the token could not be signed");
    int code = token.data != NULL ? 0 : 1;
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    fg_jwt_signer_destroy(signer);
    return code;
}

/* ---- an API key ---- */

static int print_api_key(const struct fg_config *config, const struct fg_token_options *options)
{
    unsigned char random[32], digest[EVP_MAX_MD_SIZE];
    unsigned digest_bytes;
    char key[64] = "fgk_";
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        complain("no random bytes to make a key of");
        return 1;
    }
    size_t len = 4 + fg_base64url_encode(key + 4, random, sizeof(random));
    if (EVP_Digest(key, len, digest, &digest_bytes, EVP_sha256(), NULL) != 1) {
        complain("the key could not be hashed");
        return 1;
    }
    printf("%.*s\n", (int)len, key);
    fprintf(stderr, "Send it as %s. For identity.api_keys:\n  - {user: \"%s\", sha256: \"",
            config->identity.api_key_header, options->user);
    for (unsigned i = 0; i < 32; i++)
        fprintf(stderr, "%02x", digest[i]);
    fprintf(stderr, "\"}\n");
    return 0;
}

/* ---- a signature ---- */

/* "https://host:port/path?query" into the parts that are signed. */
static bool split_url(const char *url, struct fg_exchange *ex)
{
    const char *at = strstr(url, "://");
    at = at == NULL ? url : at + 3;
    const char *path = strchr(at, '/');
    if (path == NULL || path == at)
        return false;
    ex->authority = fg_span_make(at, (size_t)(path - at));
    struct fg_span rest = fg_span_from_string(path);
    ex->path = fg_span_split(&rest, '?');
    ex->query = rest;
    return true;
}

static bool hash_body(const char *path, unsigned char digest[32])
{
    char buffer[65536];
    unsigned len;
    size_t got;
    FILE *file = path == NULL ? NULL : fopen(path, "rb");
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool is_fine = (file != NULL || path == NULL) && ctx != NULL &&
                   EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    while (is_fine && file != NULL && (got = fread(buffer, 1, sizeof(buffer), file)) > 0)
        is_fine = EVP_DigestUpdate(ctx, buffer, got) == 1;
    is_fine = is_fine && (file == NULL || ferror(file) == 0) &&
              EVP_DigestFinal_ex(ctx, digest, &len) == 1;
    if (!is_fine && path != NULL)
        fprintf(stderr, "floodgate token: --body: cannot read %s: %s\n", path, strerror(errno));
    EVP_MD_CTX_free(ctx);
    if (file != NULL)
        fclose(file);
    return is_fine;
}

static const struct fg_signing_key_conf *find_key(const struct fg_config *config, const char *id)
{
    for (size_t i = 0; i < config->identity.signing_key_count; i++) {
        if (strcmp(config->identity.signing_keys[i].id, id) == 0)
            return &config->identity.signing_keys[i];
    }
    fprintf(stderr, "floodgate token: --sign: no key \"%s\" in identity.signatures.keys\n", id);
    return NULL;
}

static int print_signature(const struct fg_config *config, const struct fg_token_options *options)
{
    unsigned char secret[SECRET_BYTES_MAX], random[NONCE_BYTES], digest[EVP_MAX_MD_SIZE];
    char nonce[32], why[192], field[FG_SIGNATURE_FIELD_BYTES];
    struct fg_exchange ex = {.method_text = fg_span_from_string(options->method)};
    const struct fg_signing_key_conf *key = find_key(config, options->sign);
    if (key == NULL)
        return 2;
    if (!split_url(options->url, &ex)) {
        complain("--url is no URL; expected one such as https://api.example.org/api/orders");
        return 2;
    }
    if (!hash_body(options->body, digest))
        return 2;
    size_t len =
        fg_secret_file_load(key->secret_file, 32, secret, sizeof(secret), why, sizeof(why));
    if (len == 0) {
        fprintf(stderr, "floodgate token: cannot use %s: %s\n", key->secret_file, why);
        return 2;
    }
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        complain("no random bytes for a nonce");
        return 1;
    }
    size_t nonce_len = fg_base64url_encode(nonce, random, sizeof(random));
    bool is_made = fg_signature_make(&ex, key->id, secret, len, fg_clock_wall_ns() / FG_S,
                                     fg_span_make(nonce, nonce_len), digest, field);
    explicit_bzero(secret, sizeof(secret));
    if (is_made)
        printf("x-floodgate-signature: %s\n", field);
    else
        complain("the request could not be signed");
    return is_made ? 0 : 1;
}

int fg_token_command_run(const struct fg_config *config, const struct fg_token_options *options)
{
    if (options->sign != NULL)
        return print_signature(config, options);
    return options->is_api_key ? print_api_key(config, options) : print_token(config, options);
}
