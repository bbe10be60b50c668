/*
 * stage_overload.c: when the process itself is under pressure, the less important go first.
 * Never    sheds a redirect or an answer of the configuration's: it would cost as much to refuse,
 *          and a balancer that asks one whether we live must not be told that we do not.
 */
#include "flow.h"

#include <stdio.h>
#include <string.h>

/*
 * The user, or where none is known the address that stands for it; of IPv6 what all have in common
 * that a client may take, or it would take the one with the best lot.
 */
static struct fg_span drawer_of(const struct fg_exchange *ex, struct fg_ip *ip)
{
    if (ex->user_id.len > 0)
        return ex->user_id;
    bool is_v6 =
        ex->client_addr.len > 0 && memchr(ex->client_addr.data, ':', ex->client_addr.len) != NULL;
    return is_v6 ? fg_client_network(ex->client_addr, ip) : ex->client_addr;
}

/* The user is known now, and with it the lot of this hour. */
static void draw_lot(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    struct fg_ip ip;
    struct fg_span who = drawer_of(ex, &ip);
    uint32_t cohort = fg_known_lots_draw(&flow->thread->lots, &flow->thread->pipeline->cohort_key,
                                         who, fg_flow_wall_ns(flow));
    ex->priority_number = fg_priority_compound(ex->priority, cohort);
}

/* What this request needs beside the process: only for that may it be refused. */
static uint32_t resources_used(const struct fg_flow *flow)
{
    const struct fg_route_conf *route = flow->route;
    if (route->action != FG_ROUTE_BACKEND)
        return FG_OVERLOAD_USES_PROCESS;
    switch (flow->thread->pipeline->config->backends[route->backend_index].kind) {
    case FG_BACKEND_ORDERS:
        return FG_OVERLOAD_USES_PROCESS | FG_OVERLOAD_USES_REDIS;
    case FG_BACKEND_INFERENCE:
        return FG_OVERLOAD_USES_PROCESS | FG_OVERLOAD_USES_KV;
    case FG_BACKEND_STATIC:
    case FG_BACKEND_CLUSTER:
        break;
    }
    return FG_OVERLOAD_USES_PROCESS;
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    draw_lot(flow);
    struct fg_overload_shared *overload = flow->thread->pipeline->overload;
    if (fg_route_conf_answers_itself(flow->route) || fg_overload_shared_is_calm(overload))
        return FG_STAGE_CONTINUE;
    struct fg_overload_decision decision = fg_overload_shared_decide(
        overload, flow->req->ex.priority, resources_used(flow), fg_flow_owner(flow));
    const char *policy = fg_overload_policy_name(decision.reason);
    if (decision.is_admitted) {
        if (decision.pressure_permille > 0)
            fg_flow_pass(flow, policy, decision.pressure_permille, decision.limit_permille);
        return FG_STAGE_CONTINUE;
    }
    if (flow->thread->pipeline->config->overload.is_shadow) {
        fg_flow_would_refuse(flow, policy, FG_REFUSED_OVERLOAD, decision.pressure_permille,
                             decision.limit_permille);
        return FG_STAGE_CONTINUE;
    }
    char message[128];
    snprintf(message, sizeof(message),
             "the gateway is under pressure (%s) and serves more important requests first",
             fg_overload_resource_name(decision.reason));
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_OVERLOAD,
                             .status = 503,
                             .type = "overloaded",
                             .message = message,
                             .retry_after_ns = decision.retry_after_ns,
                             .policy = policy,
                             .value = decision.pressure_permille,
                             .limit = decision.limit_permille,
                             .position = UINT64_MAX,
                         });
    return FG_STAGE_RESPOND;
}

const struct fg_stage fg_stage_overload = {.name = "overload", .run = run};
