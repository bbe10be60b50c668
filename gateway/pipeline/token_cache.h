/*
 * token_cache.h: tokens whose signature was found good, so that it is checked once.
 * Job      SHA-256 of the whole token -> user and times. Only good ones are kept: a bad token costs
 *          its sender the check each time, and nobody else a place.
 * Thread   one owner (a loop).
 * Memory   fixed at the start: about 240 bytes a token. Four places a bucket, the least recently
 *          used of them goes.
 * Never    holds a token itself.
 */
#ifndef FG_PIPELINE_TOKEN_CACHE_H
#define FG_PIPELINE_TOKEN_CACHE_H

#include "pipeline/jwt.h"

struct fg_token_cache;

/* NULL when memory is short. `tokens_max` above 0. */
struct fg_token_cache *fg_token_cache_create(size_t tokens_max);
void fg_token_cache_destroy(struct fg_token_cache *cache);

/*
 * The grant of the token with that digest, if it was kept under the same generation of keys; its
 * user_id and tier are the cache's, until the next _keep. The caller looks at the times.
 */
bool fg_token_cache_find(struct fg_token_cache *cache, const unsigned char digest[32],
                         uint64_t generation, struct fg_jwt_grant *grant);
void fg_token_cache_keep(struct fg_token_cache *cache, const unsigned char digest[32],
                         uint64_t generation, const struct fg_jwt_grant *grant);

#endif
