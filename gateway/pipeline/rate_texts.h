/*
 * rate_texts.h: what a rate limit's clients are told, put together once.
 * Thread   any; constant after init.
 */
#ifndef FG_PIPELINE_RATE_TEXTS_H
#define FG_PIPELINE_RATE_TEXTS_H

#include "config/config.h"

struct fg_rate_texts {
    char used_up[320];   /* the message of a refusal */
    char too_small[320]; /* the same, when no waiting would help */
    char policy[128];    /* RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-10 */
};

void fg_rate_texts_init(struct fg_rate_texts *texts, const struct fg_rate_limit_conf *conf);

#endif
