/*
 * limit_key.h: from a request to the key that a rate limit knows it by.
 * Thread   any; a pure function of its arguments.
 */
#ifndef FG_PIPELINE_LIMIT_KEY_H
#define FG_PIPELINE_LIMIT_KEY_H

#include "config/config.h"
#include "policies/siphash.h"

struct fg_limit_key {
    uint64_t hi;
    uint64_t lo;
};

/*
 * All parts of the limit's key together, under `secret`. What the request does not have (no user,
 * no such field) is replaced by the client's address, so that leaving it out gains nothing; a
 * missing tier is a tier like any other.
 */
struct fg_limit_key fg_limit_key_of(const struct fg_siphash_key *secret,
                                    const struct fg_rate_limit_conf *conf,
                                    const struct fg_exchange *ex, struct fg_span tier);

#endif
