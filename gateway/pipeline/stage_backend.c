/*
 * stage_backend.c: hand the exchange over, with the body that has come so far.
 */
#include "flow.h"

struct fg_backend_thread *fg_flow_backend(const struct fg_flow *flow)
{
    const struct fg_pipeline_thread *thread = flow->thread;
    switch (flow->route->action) {
    case FG_ROUTE_SESSION:
        return thread->session;
    case FG_ROUTE_ROOM:
        return thread->room_desk;
    default:
        return thread->backends[flow->route->backend_index];
    }
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    flow->backend = fg_flow_backend(flow);
    const struct fg_backend_ops *ops = flow->backend->backend->ops;
    fg_flow_set_state(flow, FG_FLOW_AT_BACKEND);
    flow->backend_started_ns = fg_clock_monotonic_ns();
    flow->is_backend_open = true;
    ops->start(flow->backend, ex);
    bool has_body = ex->has_body || ex->upgrade.data != NULL;
    bool is_whole = has_body && flow->is_body_complete; /* of nothing, perhaps */
    if (flow->is_backend_open && (flow->body.len > 0 || is_whole))
        fg_flow_give_body(flow, flow->body.data, flow->body.len, is_whole);
    if (flow->is_backend_open && ex->has_body && !flow->is_body_complete)
        fg_flow_watch_upload(flow);
    return FG_STAGE_RESPOND;
}

const struct fg_stage fg_stage_backend = {.name = "backend", .run = run};
