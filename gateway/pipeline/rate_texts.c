/*
 * rate_texts.c: texts of a rate limit that do not change with the request.
 */
#include "rate_texts.h"

#include "flow.h"

#include <inttypes.h>
#include <stdio.h>

#define FIELD_INTEGER_MAX UINT64_C(999999999999999) /* of structured fields, RFC 9651 */

static void put_message(char *to, size_t room, const struct fg_rate_limit_conf *conf,
                        const char *what)
{
    static const char *const units[] = {[FG_LIMIT_COST_REQUEST] = "",
                                        [FG_LIMIT_COST_BYTES] = " bytes",
                                        [FG_LIMIT_COST_TOKENS] = " tokens"};
    snprintf(to, room,
             "rate limit '%.64s' of this %.120s is %s: %" PRIu64 "%s every %.9g s, burst %" PRIu64,
             conf->name, conf->whose, what, conf->rate.amount, units[conf->cost],
             (double)conf->rate.period_ns / 1e9, conf->burst);
}

static void put_lead(struct fg_rate_lead *lead, const struct fg_rate_limit_conf *conf,
                     const char *message)
{
    const struct fg_refusal refusal = {
        .type = FG_RATE_LIMITED, .message = message, .policy = conf->name};
    lead->len = fg_refusal_lead(&refusal, fg_refused_name(FG_REFUSED_RATE_LIMIT), lead->text);
}

/* A window only where one is over some time, and a unit only where it is not the usual one. */
static void put_policy(char *to, size_t room, const struct fg_rate_limit_conf *conf)
{
    static const char *const units[] = {[FG_LIMIT_COST_REQUEST] = "",
                                        [FG_LIMIT_COST_BYTES] = ";qu=\"content-bytes\"",
                                        [FG_LIMIT_COST_TOKENS] = ";qu=\"tokens\""};
    char window[32] = "";
    if (conf->rate.amount > 0) {
        double window_s =
            (double)conf->burst / (double)conf->rate.amount * ((double)conf->rate.period_ns / 1e9);
        uint64_t whole_s = window_s < FIELD_INTEGER_MAX ? (uint64_t)window_s : FIELD_INTEGER_MAX;
        bool has_part = whole_s < FIELD_INTEGER_MAX && (double)whole_s < window_s;
        snprintf(window, sizeof(window), ";w=%" PRIu64, whole_s + has_part);
    }
    snprintf(to, room, "\"%.64s\";q=%" PRIu64 "%s%s", conf->name, conf->burst, units[conf->cost],
             window);
}

void fg_rate_texts_init(struct fg_rate_texts *texts, const struct fg_rate_limit_conf *conf)
{
    put_message(texts->used_up, sizeof(texts->used_up), conf, "used up");
    put_message(texts->too_small, sizeof(texts->too_small), conf, "too small for this request");
    put_lead(&texts->used_up_lead, conf, texts->used_up);
    put_lead(&texts->too_small_lead, conf, texts->too_small);
    put_policy(texts->policy, sizeof(texts->policy), conf);
}
