/*
 * stage_backend.c: hand the exchange over, with the body that has come so far.
 */
#include "flow.h"

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    struct fg_pipeline_thread *thread = flow->thread;
    struct fg_exchange *ex = &flow->req->ex;
    flow->backend = flow->route->action == FG_ROUTE_SESSION ? thread->session
                    : flow->route->action == FG_ROUTE_ROOM
                        ? thread->room_desk
                        : thread->backends[flow->route->backend_index];
    const struct fg_backend_ops *ops = flow->backend->backend->ops;
    fg_flow_set_state(flow, FG_FLOW_AT_BACKEND);
    flow->backend_started_ns = fg_clock_monotonic_ns();
    flow->is_backend_open = true;
    ops->start(flow->backend, ex);
    bool has_body = ex->has_body || ex->upgrade.data != NULL;
    if (flow->body_first == NULL && has_body && flow->is_body_complete && flow->is_backend_open)
        ops->on_body(ex, NULL, 0, true); /* it came, and was empty */
    while (flow->is_backend_open && flow->body_first != NULL) {
        struct fg_body_piece *piece = flow->body_first;
        flow->body_first = piece->next;
        fg_flow_give_body(flow, piece->data, piece->len,
                          piece->next == NULL && flow->is_body_complete);
    }
    return FG_STAGE_RESPOND;
}

const struct fg_stage fg_stage_backend = {.name = "backend", .run = run};
