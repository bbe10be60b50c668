/*
 * decisions.c: what the stages decided about a request: into its body, its log line, the recorder.
 * Thread   the request's loop.
 */
#include "flow.h"

#include <string.h>

void fg_flow_decide(struct fg_flow *flow, const struct fg_decision *decision)
{
    bool is_refusal = decision->decided == FG_DECIDED_REFUSE;
    if (flow->thread->recorder == NULL && !is_refusal)
        return; /* the log line tells of a refusal all the same */
    bool is_full = flow->decision_count == FG_DECISIONS_MAX;
    if (is_full && !is_refusal)
        return;
    flow->decision_count -= is_full; /* a refusal is what is asked for first: it takes the last */
    struct fg_decision *made = &flow->decisions[flow->decision_count++];
    *made = *decision;
    made->stage = fg_stage_name(flow->stage);
    made->after_ns = fg_flow_now_ns(flow) - flow->req->ex.started_ns;
}

void fg_flow_pass(struct fg_flow *flow, const char *policy, uint64_t value, uint64_t limit)
{
    fg_flow_decide(
        flow, &(struct fg_decision){
                  .policy = policy, .decided = FG_DECIDED_PASS, .value = value, .limit = limit});
}

void fg_flow_would_refuse(struct fg_flow *flow, const char *policy, enum fg_refused reason,
                          uint64_t value, uint64_t limit)
{
    fg_flow_decide(flow, &(struct fg_decision){.policy = policy,
                                               .reason = fg_refused_name(reason),
                                               .decided = FG_DECIDED_WOULD_REFUSE,
                                               .value = value,
                                               .limit = limit});
}

static void copy_cut(char *to, size_t room, struct fg_span from)
{
    size_t len = from.len < room ? from.len : room - 1;
    if (len > 0)
        memcpy(to, from.data, len);
    to[len] = '\0';
}

struct fg_record *fg_flow_begin_record(struct fg_pipeline_thread *thread,
                                       const struct fg_exchange *ex, uint64_t now_ns)
{
    struct fg_record *record = fg_recorder_next(thread->recorder);
    copy_cut(record->request_id, sizeof(record->request_id), ex->request_id);
    copy_cut(record->method, sizeof(record->method), ex->method_text);
    copy_cut(record->path, sizeof(record->path), ex->path);
    copy_cut(record->client, sizeof(record->client), ex->client_addr);
    copy_cut(record->user, sizeof(record->user), ex->user_id);
    record->endpoint[0] = '\0';
    record->attempts = 0;
    record->was_hedged = false;
    record->started_wall_ns = fg_loop_wall_of_ns(thread->loop, ex->started_ns);
    record->total_ns = now_ns - ex->started_ns;
    return record;
}

void fg_flow_record(const struct fg_flow *flow, uint64_t now_ns)
{
    if (flow->thread->recorder == NULL)
        return;
    const struct fg_exchange *ex = &flow->req->ex;
    struct fg_record *record = fg_flow_begin_record(flow->thread, ex, now_ns);
    copy_cut(record->path, sizeof(record->path), fg_flow_asked_path(flow));
    record->route = flow->route == NULL ? NULL : flow->route->name;
    memcpy(record->hop_ns, flow->hop_ns, sizeof(record->hop_ns));
    record->status = flow->status;
    record->failed = flow->failed;
    record->was_aborted = flow->req->was_aborted;
    record->gone = fg_flow_gone(flow);
    record->cache = flow->cache_result;
    copy_cut(record->endpoint, sizeof(record->endpoint), ex->answerer.endpoint);
    record->attempts = ex->answerer.attempts;
    record->was_hedged = ex->answerer.was_hedged;
    record->priority_number = ex->priority_number;
    bool was_asked =
        flow->slots[FG_SLOT_ROUTE].gate != NULL || flow->slots[FG_SLOT_BACKEND].gate != NULL;
    record->level = was_asked ? flow->level : UINT32_MAX;
    record->decision_count = flow->decision_count;
    memcpy(record->decisions, flow->decisions, flow->decision_count * sizeof(record->decisions[0]));
    fg_recorder_add(flow->thread->recorder);
}
