/*
 * affinity.h: what binds a request to a host of its cluster.
 * Thread   any; pure functions over a request's head and the begin of its body.
 */
#ifndef FG_PROXY_AFFINITY_H
#define FG_PROXY_AFFINITY_H

#include "backends/backend.h"

enum fg_affinity_kind {
    FG_AFFINITY_CLIENT, /* its address */
    FG_AFFINITY_USER,   /* or the address, for the anonymous */
    FG_AFFINITY_PATH,
    FG_AFFINITY_HEADER,
    FG_AFFINITY_COOKIE,
    FG_AFFINITY_PROMPT, /* the begin of the prompt in a JSON body */
};

struct fg_affinity {
    enum fg_affinity_kind kind;
    struct fg_span name; /* of the header, in any case, or of the cookie */
};

/* How much of a body is looked at: at first, then twice as much and so on, and at most. */
#define FG_AFFINITY_BODY_FIRST ((size_t)2048)
#define FG_AFFINITY_BODY_BYTES ((size_t)32768)

/* "client", "user", "path", "prompt", "header:NAME", "cookie:NAME"; `text` must stay. */
FG_MUST_USE bool fg_affinity_parse(struct fg_affinity *affinity, const char *text);

/* The hash of a key that is known. */
uint64_t fg_affinity_hash_key(struct fg_span key);

/* The hash of the request's key; false when it has none. Not for PROMPT. */
bool fg_affinity_hash(const struct fg_affinity *affinity, const struct fg_exchange *ex,
                      uint64_t *hash);

/*
 * Of PROMPT: `body` is its begin, and all that will be looked at when `is_all`. The outcome does
 * not depend on the pieces in which the body comes, as long as it is asked for the same lengths.
 * False: there is no prompt in it, or there must be more of it to tell.
 */
bool fg_affinity_prompt_hash(struct fg_span body, bool is_all, uint64_t *hash);

#endif
