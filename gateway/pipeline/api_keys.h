/*
 * api_keys.h: who uses this API key? The gateway knows keys by their SHA-256 alone.
 * Thread   immutable once made; any.
 * Time     the lookup goes by the digest of what was presented, of which a guesser learns nothing;
 *          the digests are compared in constant time.
 */
#ifndef FG_PIPELINE_API_KEYS_H
#define FG_PIPELINE_API_KEYS_H

#include "base/span.h"
#include "config/config.h"

#define FG_API_KEY_BYTES_MAX 512u

struct fg_api_keys;

/* `conf` outlives it. NULL: no memory. */
struct fg_api_keys *fg_api_keys_create(const struct fg_identity_conf *conf);
void fg_api_keys_destroy(struct fg_api_keys *keys);

/* The user, a string of the configuration's; NULL: nobody. */
const char *fg_api_keys_find(const struct fg_api_keys *keys, struct fg_span presented);

#endif
