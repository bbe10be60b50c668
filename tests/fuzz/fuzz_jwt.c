/*
 * fuzz_jwt.c: any bytes as a bearer token; whatever is accepted must verify again after a round
 * trip.
 */
#include "base/arena.h"
#include "pipeline/jwt.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fg_jwt_key key;
    static struct fg_jwt_signer *signer;
    if (signer == NULL) {
        memset(key.secret, 'k', 40);
        key.secret_bytes = 40;
        signer = fg_jwt_signer_create(&key);
    }
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_span user = {NULL, 0};
    fg_arena_pool_init(&pool, 64);
    fg_arena_init(&arena, &pool, 65536);
    if (fg_jwt_verify(signer, &arena, fg_span_make((const char *)data, size), 1000, &user) ==
        FG_JWT_OK)
        assert(user.len > 0);
    /* The same bytes as a payload under a good signature: the claims are parsed then. */
    if (size < 1024) {
        char text[4096];
        unsigned char mac[32];
        size_t at = fg_base64url_encode(text, (const unsigned char *)"{\"alg\":\"HS256\"}", 15);
        text[at++] = '.';
        at += fg_base64url_encode(text + at, data, size);
        fg_jwt_mac(signer, user, fg_span_make(text, at), mac);
        if (fg_jwt_mac(signer, (struct fg_span){NULL, 0}, fg_span_make(text, at), mac)) {
            text[at++] = '.';
            at += fg_base64url_encode(text + at, mac, sizeof(mac));
            (void)fg_jwt_verify(signer, &arena, fg_span_make(text, at), 1000, &user);
        }
    }
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    return 0;
}
