/*
 * gateway_stages.c: what a call meets before the gate of a backend: overload, waiting room, rate
 *                   limits; or the answer that a route has by itself.
 * Never    holds anything: who is told no here, or to come again, leaves nothing behind.
 */
#include "rehearse/sim/gateway_model_internal.h"

#include "base/clock.h"
#include "pipeline/policy_conf.h"
#include "policies/retry_after.h"

/* Virtual users have a device each, and no tiers, invites or fields that tell them apart. */
static uint64_t part_of(const struct fg_gateway_model *model, enum fg_limit_part_kind kind,
                        const struct fg_call *call)
{
    switch (kind) {
    case FG_LIMIT_BY_USER:
    case FG_LIMIT_BY_DEVICE:
        return call->user_id;
    case FG_LIMIT_BY_ROUTE:
        return (uint64_t)(call->step->route - model->config->routes);
    case FG_LIMIT_BY_TIER:
        return 0;
    case FG_LIMIT_BY_IP:
    case FG_LIMIT_BY_INVITE:
    case FG_LIMIT_BY_HEADER:
        break;
    }
    return call->address_id;
}

static bool take_token(struct fg_gateway_model *model, struct fg_sim_limit *limit,
                       const struct fg_call *call, uint64_t now_ns, uint64_t *wait_ns)
{
    uint64_t id[FG_LIMIT_PARTS_MAX][2];
    for (size_t i = 0; i < limit->part_count; i++) {
        id[i][0] = limit->parts[i].kind;
        id[i][1] = part_of(model, limit->parts[i].kind, call);
    }
    uint64_t hi, lo;
    struct fg_limit_verdict verdict;
    fg_siphash_128(&model->key, id, limit->part_count * sizeof(id[0]), &hi, &lo);
    bool is_allowed = fg_limit_table_try_take(&limit->table, hi, lo, now_ns, limit->cost, &verdict);
    *wait_ns = verdict.wait_ns;
    return is_allowed;
}

static bool pass_limits(struct fg_gateway_model *model, const struct fg_call *call, uint64_t now_ns,
                        uint64_t *wait_ns)
{
    const struct fg_route_conf *route = call->step->route;
    struct fg_sim_limit *sessions = &model->limits[model->config->rate_limit_count];
    if (route->action == FG_ROUTE_SESSION && sessions->memory != NULL &&
        !take_token(model, sessions, call, now_ns, wait_ns))
        return false;
    for (size_t i = 0; i < route->rate_limit_count; i++) {
        uint32_t index = route->rate_limits[i];
        if (!take_token(model, &model->limits[index], call, now_ns, wait_ns) &&
            !model->config->rate_limits[index].is_shadow)
            return false;
    }
    return true;
}

/* False: the user stands in line, or could not even get a place there. */
static bool pass_room(struct fg_gateway_model *model, const struct fg_call *call, uint64_t now_ns)
{
    struct fg_sim_route *route = &model->routes[call->step->route - model->config->routes];
    if (!route->conf->waiting_room.enabled)
        return true;
    struct fg_waiting_room_place place = {.status = FG_WAITING_ROOM_UNKNOWN};
    if (call->has_ticket)
        place = route->conf->waiting_room.session_ns > 0
                    ? fg_waiting_room_status(&route->room, call->ticket, now_ns)
                    : fg_waiting_room_enter(&route->room, call->ticket, now_ns);
    if (place.status == FG_WAITING_ROOM_UNKNOWN || place.status == FG_WAITING_ROOM_EXPIRED ||
        place.status == FG_WAITING_ROOM_USED)
        place = fg_waiting_room_join(&route->room, now_ns);
    if (place.status == FG_WAITING_ROOM_ADMITTED || route->conf->waiting_room.is_shadow)
        return true;
    uint64_t lot = fg_chance_bits(&model->chance);
    fg_sim_connection_rests(model, call->user, now_ns);
    fg_sim_pay(model, model->scenario->gateway.refusal_cpu_ns, now_ns);
    fg_users_answer(
        model->users, call->user, now_ns,
        &(struct fg_answer){
            .outcome =
                place.status == FG_WAITING_ROOM_WAITING ? FG_OUTCOME_IN_LINE : FG_OUTCOME_REFUSED,
            .reason = FG_REFUSED_WAITING_ROOM,
            .retry_after_ns = fg_retry_after_spread_ns(
                fg_retry_after_room_ns(place.eta_ns, route->conf->waiting_room.keep_ns, lot),
                fg_chance_bits(&model->chance)),
            .ticket = place.number,
        });
    return false;
}

/* False: it is shed. */
static bool pass_overload(struct fg_gateway_model *model, const struct fg_call *call,
                          uint64_t now_ns)
{
    const struct fg_route_conf *route = call->step->route;
    if (fg_route_conf_answers_itself(route))
        return true;
    struct fg_overload_decision decision =
        fg_overload_decide(&model->overload, route->priority, fg_sim_overload_uses(model, route));
    if (decision.is_admitted || model->config->overload.is_shadow)
        return true;
    fg_tally_shed(model->tally, (size_t)(route - model->config->routes), now_ns, decision.reason);
    fg_sim_refuse_call(model, call->user, now_ns, FG_REFUSED_OVERLOAD, decision.retry_after_ns);
    return false;
}

/* Before a backend's gate. False: the call is answered. */
bool fg_sim_pass_stages(struct fg_gateway_model *model, const struct fg_call *call, uint64_t now_ns)
{
    const struct fg_route_conf *route = call->step->route;
    if (fg_route_conf_answers_at_once(route)) {
        fg_sim_answer_call(model, call, now_ns, FG_OUTCOME_GOOD);
        return false;
    }
    uint64_t wait_ns = 0;
    if (!pass_overload(model, call, now_ns) || !pass_room(model, call, now_ns))
        return false;
    if (!pass_limits(model, call, now_ns, &wait_ns)) {
        fg_sim_give_back_place(model, (uint32_t)(route - model->config->routes), call->has_ticket,
                               call->ticket, now_ns);
        fg_sim_refuse_call(model, call->user, now_ns, FG_REFUSED_RATE_LIMIT, wait_ns);
        return false;
    }
    if (route->action == FG_ROUTE_BACKEND)
        return true;
    fg_sim_answer_call(model, call, now_ns, FG_OUTCOME_GOOD);
    return false;
}
