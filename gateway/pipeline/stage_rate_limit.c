/*
 * stage_rate_limit.c: limits by key; all of a route's limits must let a request pass.
 *
 *    take from each limit --one refuses--> what the others took is given back; 429
 *             `-- all pass --> ... the request ends --> settled: used less: given back
 *                                                                more: owed by those who come
 */
#include "flow.h"

/* What was taken from one limit, until the request ends. */
struct fg_limit_charge {
    struct fg_rate_table *table;
    struct fg_limit_key key;
    uint64_t taken;
};

static enum fg_stage_verdict refuse(struct fg_flow *flow)
{
    const struct fg_rate_limit_conf *conf = fg_rate_table_conf(flow->limit_table);
    const struct fg_rate_texts *texts = fg_rate_table_texts(flow->limit_table);
    bool is_never = flow->limit_verdict.wait_ns == UINT64_MAX;
    const struct fg_rate_lead *lead = is_never ? &texts->too_small_lead : &texts->used_up_lead;
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_RATE_LIMIT,
                             .status = 429,
                             .type = FG_RATE_LIMITED,
                             .message = is_never ? texts->too_small : texts->used_up,
                             .retry_after_ns = is_never ? 0 : flow->limit_verdict.wait_ns,
                             .policy = conf->name,
                             .value = flow->limit_verdict.remaining,
                             .limit = conf->burst,
                             .position = UINT64_MAX,
                             .lead = fg_span_make(lead->text, lead->len),
                         });
    return FG_STAGE_RESPOND;
}

/* What is taken before the request is served. */
static uint64_t reserve_for(const struct fg_flow *flow, const struct fg_rate_limit_conf *conf)
{
    const struct fg_exchange *ex = &flow->req->ex;
    switch (conf->cost) {
    case FG_LIMIT_COST_REQUEST:
        return 1;
    case FG_LIMIT_COST_BYTES:
        return ex->content_length > 0 ? (uint64_t)ex->content_length : conf->reserve;
    case FG_LIMIT_COST_TOKENS:
        return conf->reserve;
    }
    return 1;
}

/* What it has cost when it is over. */
static uint64_t used_by(const struct fg_flow *flow, const struct fg_limit_charge *charge)
{
    const struct fg_request *req = flow->req;
    switch (fg_rate_table_conf(charge->table)->cost) {
    case FG_LIMIT_COST_REQUEST:
        return charge->taken;
    case FG_LIMIT_COST_BYTES:
        return req->bytes_in + req->bytes_out;
    case FG_LIMIT_COST_TOKENS:
        break;
    }
    /* an error costs nothing; what was cut short costs what was computed, if that is known */
    bool has_failed = flow->backend_started_ns == 0 || flow->status >= 400;
    if (has_failed || req->ex.counts_tokens)
        return has_failed ? 0 : req->ex.tokens_used;
    return charge->taken;
}

/* Takes from one table; keeps the tightest verdict for the client. False: refused. */
static bool take(struct fg_flow *flow, struct fg_rate_table *table)
{
    const struct fg_rate_limit_conf *conf = fg_rate_table_conf(table);
    struct fg_limit_verdict verdict;
    struct fg_limit_charge charge = {
        .table = table,
        .key = fg_limit_key_of(fg_rate_table_secret(table), conf, &flow->req->ex, flow->tier),
        .taken = reserve_for(flow, conf),
    };
    struct fg_lease_question question;
    bool is_allowed = fg_rate_table_try_take(table, charge.key, fg_flow_now_ns(flow), charge.taken,
                                             &verdict, &question);
    if (question.is_due) /* for those who come: this one is decided */
        fg_lease_client_ask(flow->thread->leases, table, charge.key,
                            fg_limit_key_of(&fg_lease_naming, conf, &flow->req->ex, flow->tier),
                            &question);
    if (is_allowed)
        flow->limit_charges[flow->limit_charge_count++] = charge;
    if (conf->is_shadow && !is_allowed) {
        fg_flow_would_refuse(flow, conf->name, FG_REFUSED_RATE_LIMIT, verdict.remaining,
                             conf->burst);
        return true; /* and the client is told nothing of it */
    }
    if (conf->is_shadow)
        return true;
    if (!is_allowed || flow->limit_table == NULL ||
        verdict.remaining < flow->limit_verdict.remaining) {
        flow->limit_table = table;
        flow->limit_verdict = verdict;
    }
    if (is_allowed)
        fg_flow_pass(flow, conf->name, verdict.remaining, conf->burst);
    return is_allowed;
}

static void give_all_back(struct fg_flow *flow)
{
    for (size_t i = 0; i < flow->limit_charge_count; i++) {
        const struct fg_limit_charge *charge = &flow->limit_charges[i];
        fg_rate_table_settle(charge->table, charge->key, fg_flow_now_ns(flow), charge->taken, 0);
    }
    flow->limit_charge_count = 0;
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    const struct fg_pipeline *pipeline = flow->thread->pipeline;
    bool is_session = flow->route->action == FG_ROUTE_SESSION && pipeline->session_limit != NULL;
    size_t count = flow->route->rate_limit_count + (is_session ? 1 : 0);
    if (count == 0)
        return FG_STAGE_CONTINUE;
    flow->limit_charges =
        fg_arena_try_alloc(flow->req->ex.arena, count * sizeof(*flow->limit_charges));
    if (flow->limit_charges == NULL) {
        fg_flow_refuse_for_memory(flow, "the rate limits");
        return FG_STAGE_RESPOND;
    }
    bool is_passed = !is_session || take(flow, pipeline->session_limit);
    for (size_t i = 0; i < flow->route->rate_limit_count && is_passed; i++)
        is_passed = take(flow, pipeline->rate_tables[flow->route->rate_limits[i]]);
    if (is_passed)
        return FG_STAGE_CONTINUE;
    give_all_back(flow);
    return refuse(flow);
}

void fg_limit_settle(struct fg_flow *flow)
{
    for (size_t i = 0; i < flow->limit_charge_count; i++) {
        const struct fg_limit_charge *charge = &flow->limit_charges[i];
        fg_rate_table_settle(charge->table, charge->key, fg_flow_now_ns(flow), charge->taken,
                             used_by(flow, charge));
    }
    flow->limit_charge_count = 0;
}

const struct fg_stage fg_stage_rate_limit = {.name = "rate_limit", .run = run};
