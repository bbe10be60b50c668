/*
 * retry.c: what is safe, and what is wanted.
 * Job      a request that no server can have acted upon may go again, whatever its method; one that
 *          may have been acted upon only when its method is idempotent and the configuration names
 *          the cause, and then under the budget.
 * Thread   any.
 * Never    lets a request go twice after the client has a part of the answer, or without all of its
 *          body. A POST that may have been processed is never sent again.
 * Law      pause before retry n (from 0) = lot of [0, min(max, base x 2^n)): the full jitter of
 *          Brooker, "Exponential Backoff and Jitter", AWS 2015; base and its tenfold as in Envoy.
 * Source   RFC 9110 sections 9.2.2 and 10.2.3, RFC 9112 section 9.3.1, RFC 9113 section 8.7.
 */
#include "policies/retry.h"

/* Could the server have acted on it? */
static bool may_be_processed(const struct fg_retry_facts *facts)
{
    switch (facts->cause) {
    case FG_RETRY_CONNECT:
    case FG_RETRY_UNHANDLED:
    case FG_RETRY_REFUSED:
        return false;
    case FG_RETRY_STALE:
    case FG_RETRY_RESET:
        return facts->is_sent_any;
    case FG_RETRY_TIMEOUT:
    case FG_RETRY_STATUS_502:
    case FG_RETRY_STATUS_503:
    case FG_RETRY_STATUS_504:
    case FG_RETRY_CAUSE_COUNT:
        break;
    }
    return true;
}

enum fg_retry_verdict fg_retry_judge(const struct fg_retry_conf *conf,
                                     const struct fg_retry_facts *facts)
{
    if (facts->is_answer_begun || !facts->is_body_at_hand)
        return FG_RETRY_NO;
    bool is_processed = may_be_processed(facts);
    if (is_processed && !facts->is_idempotent)
        return FG_RETRY_NO;
    /* A kept connection that was closed says nothing about the server: as if never connected. */
    if (!is_processed || facts->cause == FG_RETRY_STALE)
        return facts->connect_retries < conf->connect_retries_max ? FG_RETRY_YES : FG_RETRY_NO;
    /* It has said when to come again, and at once is too soon. */
    if (facts->is_pause_asked && !facts->has_untried)
        return FG_RETRY_NO;
    if ((conf->causes & 1u << facts->cause) == 0 || facts->retries >= conf->retries_max)
        return FG_RETRY_NO;
    /* What nobody waits for any more is not begun, nor a place held for it until then. */
    return facts->pause_ns > facts->time_left_ns ? FG_RETRY_NO : FG_RETRY_WITH_BUDGET;
}

uint64_t fg_retry_pause_ns(const struct fg_retry_conf *conf, uint32_t retries, uint64_t lot)
{
    uint64_t window_ns = conf->backoff_ns, most_ns = conf->backoff_max_ns;
    if (window_ns == 0)
        return 0;
    if (most_ns == 0)
        most_ns = window_ns > UINT64_MAX / FG_RETRY_BACKOFF_TIMES
                      ? UINT64_MAX
                      : window_ns * FG_RETRY_BACKOFF_TIMES;
    for (uint32_t i = 0; i < retries && window_ns < most_ns; i++)
        window_ns = window_ns > UINT64_MAX / 2 ? UINT64_MAX : 2 * window_ns;
    return lot % (window_ns < most_ns ? window_ns : most_ns);
}

enum fg_retry_cause fg_retry_cause_of_status(unsigned status)
{
    switch (status) {
    case 502:
        return FG_RETRY_STATUS_502;
    case 503:
        return FG_RETRY_STATUS_503;
    case 504:
        return FG_RETRY_STATUS_504;
    default:
        return FG_RETRY_CAUSE_COUNT;
    }
}
