/*
 * stage_waiting_room.c: when more come than are let in, they get a place in line and an estimate.
 * The ticket travels in the x-floodgate-ticket field: handed out with the refusal, brought back
 * with the next try.
 */
#include "flow.h"

#include "policies/retry_after.h"

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    struct fg_pipeline *pipeline = flow->thread->pipeline;
    struct fg_room *room = pipeline->rooms[fg_flow_route_index(flow)];
    if (room == NULL)
        return FG_STAGE_CONTINUE;
    struct fg_exchange *ex = &flow->req->ex;
    struct fg_span ticket = fg_exchange_field(ex, FG_SPAN("x-floodgate-ticket"));
    struct fg_span holder = ex->user_id.len > 0 ? ex->user_id : ex->client_addr;
    struct fg_span issued;
    struct fg_waiting_room_place place = fg_room_visit(
        room, flow->thread->signer, ex->arena, ticket, holder, fg_clock_monotonic_ns(), &issued);
    if (place.status == FG_WAITING_ROOM_ADMITTED) {
        fg_flow_pass(flow, "waiting_room", place.position, flow->route->waiting_room.waiting_max);
        return FG_STAGE_CONTINUE;
    }
    if (flow->route->waiting_room.is_shadow) {
        fg_flow_would_refuse(flow, "waiting_room", FG_REFUSED_WAITING_ROOM, place.position,
                             flow->route->waiting_room.waiting_max);
        return FG_STAGE_CONTINUE;
    }
    bool is_full = place.status == FG_WAITING_ROOM_FULL;
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_WAITING_ROOM,
                             .status = is_full ? 503 : 429,
                             .type = "waiting_room",
                             .message = is_full ? "the waiting room is full; try again later"
                                                : "you have a place in line; ask again with this "
                                                  "ticket in the x-floodgate-ticket field",
                             .retry_after_ns = fg_retry_after_room_ns(place.eta_ns),
                             .policy = "waiting_room",
                             .value = place.position,
                             .limit = flow->route->waiting_room.waiting_max,
                             .position = place.position,
                             .wait_ns = place.eta_ns,
                             .ticket = issued,
                         });
    return FG_STAGE_RESPOND;
}

const struct fg_stage fg_stage_waiting_room = {.name = "waiting_room", .run = run};
