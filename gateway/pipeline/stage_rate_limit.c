/*
 * stage_rate_limit.c: token buckets by user, address or route; all of a route's limits must pass.
 */
#include "flow.h"

#include <stdio.h>

static struct fg_span key_of(const struct fg_flow *flow, const struct fg_rate_limit_conf *conf)
{
    const struct fg_exchange *ex = &flow->req->ex;
    switch (conf->key) {
    case FG_LIMIT_BY_USER: /* who is nobody is known by address */
        return ex->user_id.len > 0 ? ex->user_id : ex->client_addr;
    case FG_LIMIT_BY_IP:
        return ex->client_addr;
    case FG_LIMIT_BY_ROUTE:
        return ex->route;
    }
    return ex->client_addr;
}

static enum fg_stage_verdict refuse(struct fg_flow *flow)
{
    static const char *const whose[] = {
        [FG_LIMIT_BY_USER] = "user", [FG_LIMIT_BY_IP] = "address", [FG_LIMIT_BY_ROUTE] = "route"};
    const struct fg_rate_limit_conf *conf = flow->limit_conf;
    char message[192];
    snprintf(message, sizeof(message),
             "rate limit '%.64s' of this %s is used up: %llu every %.3g s, burst %llu", conf->name,
             whose[conf->key], (unsigned long long)conf->rate.amount,
             (double)conf->rate.period_ns / 1e9, (unsigned long long)conf->burst);
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_RATE_LIMIT,
                             .status = 429,
                             .type = "rate_limited",
                             .message = message,
                             .retry_after_ns = flow->limit_verdict.wait_ns,
                             .policy = conf->name,
                             .value = flow->limit_verdict.remaining,
                             .limit = conf->burst,
                             .position = UINT64_MAX,
                         });
    return FG_STAGE_RESPOND;
}

/* Takes from one table; keeps the tightest verdict for the client. False: refused. */
static bool take(struct fg_flow *flow, struct fg_rate_table *table)
{
    const struct fg_rate_limit_conf *conf = fg_rate_table_conf(table);
    struct fg_limit_verdict verdict;
    bool is_allowed =
        fg_rate_table_try_take(table, key_of(flow, conf), fg_flow_now_ns(flow), &verdict);
    if (conf->is_shadow && !is_allowed) {
        fg_flow_would_refuse(flow, conf->name, FG_REFUSED_RATE_LIMIT, verdict.remaining,
                             conf->burst);
        return true; /* and the client is told nothing of it */
    }
    if (conf->is_shadow)
        return true;
    if (!is_allowed || flow->limit_conf == NULL ||
        verdict.remaining < flow->limit_verdict.remaining) {
        flow->limit_conf = conf;
        flow->limit_verdict = verdict;
    }
    if (is_allowed)
        fg_flow_pass(flow, conf->name, verdict.remaining, conf->burst);
    return is_allowed;
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    const struct fg_pipeline *pipeline = flow->thread->pipeline;
    if (flow->route->action == FG_ROUTE_SESSION && pipeline->session_limit != NULL &&
        !take(flow, pipeline->session_limit))
        return refuse(flow);
    for (size_t i = 0; i < flow->route->rate_limit_count; i++) {
        if (!take(flow, pipeline->rate_tables[flow->route->rate_limits[i]]))
            return refuse(flow);
    }
    return FG_STAGE_CONTINUE;
}

const struct fg_stage fg_stage_rate_limit = {.name = "rate_limit", .run = run};
