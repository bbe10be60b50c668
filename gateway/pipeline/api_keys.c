/*
 * api_keys.c: open addressing by the first bytes of the digest, never more than half full.
 */
#include "api_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

struct fg_api_keys {
    size_t mask;
    const struct fg_api_key_conf **slots;
};

static size_t home_of(const struct fg_api_keys *keys, const unsigned char digest[32])
{
    uint64_t hash;
    memcpy(&hash, digest, sizeof(hash));
    return (size_t)hash & keys->mask;
}

struct fg_api_keys *fg_api_keys_create(const struct fg_identity_conf *conf)
{
    size_t slots = 16;
    while (slots < conf->api_key_count * 2)
        slots *= 2;
    struct fg_api_keys *keys = calloc(1, sizeof(*keys));
    if (keys == NULL)
        return NULL;
    keys->mask = slots - 1;
    keys->slots = calloc(slots, sizeof(const struct fg_api_key_conf *));
    if (keys->slots == NULL) {
        free(keys);
        return NULL;
    }
    for (size_t i = 0; i < conf->api_key_count; i++) {
        size_t at = home_of(keys, conf->api_keys[i].sha256);
        while (keys->slots[at] != NULL)
            at = (at + 1) & keys->mask;
        keys->slots[at] = &conf->api_keys[i];
    }
    return keys;
}

void fg_api_keys_destroy(struct fg_api_keys *keys)
{
    if (keys == NULL)
        return;
    free(keys->slots);
    free(keys);
}

const char *fg_api_keys_find(const struct fg_api_keys *keys, struct fg_span presented)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    if (presented.len == 0 || presented.len > FG_API_KEY_BYTES_MAX ||
        EVP_Digest(presented.data, presented.len, digest, &len, EVP_sha256(), NULL) != 1)
        return NULL;
    for (size_t at = home_of(keys, digest); keys->slots[at] != NULL; at = (at + 1) & keys->mask) {
        if (CRYPTO_memcmp(keys->slots[at]->sha256, digest, 32) == 0)
            return keys->slots[at]->user;
    }
    return NULL;
}
