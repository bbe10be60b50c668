/*
 * rate_texts.h: what a rate limit's clients are told, put together once.
 * Thread   any; constant after init.
 */
#ifndef FG_PIPELINE_RATE_TEXTS_H
#define FG_PIPELINE_RATE_TEXTS_H

#include "config/config.h"
#include "refusal_body.h"

#define FG_RATE_LIMITED "rate_limited" /* the type of a refusal */

struct fg_rate_texts {
    char used_up[320];   /* the message of a refusal */
    char too_small[320]; /* the same, when no waiting would help */
    char policy[160];    /* RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-10 */
    /* what the bodies of the two refusals begin with */
    struct fg_rate_lead {
        size_t len;
        char text[FG_REFUSAL_LEAD_MAX];
    } used_up_lead, too_small_lead;
};

void fg_rate_texts_init(struct fg_rate_texts *texts, const struct fg_rate_limit_conf *conf);

#endif
