/*
 * stage_waiting_room.c: when more come than are let in, they get a place in line and an estimate.
 * The ticket travels in the x-floodgate-ticket field: handed out with the refusal, brought back
 * with the next try. It is used up by a request that comes as far as a backend; one that is refused
 * before that leaves it as it was. People in browsers get a page, and the ticket as a cookie.
 */
#include "room_client.h"

static void let_in(struct fg_flow *flow, struct fg_room *room, const struct fg_room_visit *visit)
{
    fg_flow_pass(flow, "waiting_room", visit->place.position, fg_room_conf(room)->waiting_max);
    fg_room_give_paper(flow, room, visit);
    flow->came_directly = visit->place.is_direct;
    if (visit->has_pass || visit->place.is_direct)
        return;
    flow->room = room;
    flow->room_entry = visit->entry;
}

static const char *message_of(const struct fg_room_visit *visit)
{
    if (visit->is_address_full)
        return "so many places went to your network address that it gets no more for now";
    if (visit->place.status == FG_WAITING_ROOM_FULL)
        return "the waiting room is full; try again later";
    if (visit->place.status == FG_WAITING_ROOM_ADMITTED)
        return "it is your turn, but for this moment the backend is full; you keep it, ask again "
               "with this ticket in the x-floodgate-ticket field";
    if (visit->fate != FG_ROOM_FATE_NONE)
        return "your ticket is not good any more; you have a new place in line, ask again with "
               "this "
               "ticket in the x-floodgate-ticket field";
    return "you have a place in line; ask again with this ticket in the x-floodgate-ticket field";
}

static void refuse(struct fg_flow *flow, const struct fg_room *room,
                   const struct fg_room_visit *visit)
{
    const struct fg_waiting_room_place *place = &visit->place;
    bool is_full = place->status == FG_WAITING_ROOM_FULL && !visit->is_address_full;
    const struct fg_waiting_room_conf *conf = fg_room_conf(room);
    struct fg_span page = {NULL, 0};
    if (fg_room_wants_page(flow))
        page = fg_room_page(flow, visit);
    fg_room_give_paper(flow, room, visit);
    fg_flow_refuse(
        flow,
        &(struct fg_refusal){
            .reason = FG_REFUSED_WAITING_ROOM,
            .status = is_full ? 503 : 429,
            .type = "waiting_room",
            .message = message_of(visit),
            .retry_after_ns = visit->retry_after_ns,
            .policy = visit->is_address_full ? "waiting_room.places_per_address" : "waiting_room",
            .value = visit->is_address_full ? 0 : place->position,
            .limit = visit->is_address_full ? conf->address_places : conf->waiting_max,
            .position = visit->is_address_full ? UINT64_MAX : place->position,
            .position_error = place->position_error,
            .wait_ns = place->eta_ns,
            .wait_error_ns = place->eta_error_ns,
            .ticket = visit->paper,
            .ticket_was = fg_room_fate_name(visit->fate),
            .page = page,
        });
}

/* The room has answered. True: the request goes on; else it is answered. */
static bool goes_on(struct fg_flow *flow, struct fg_room *room, const struct fg_room_visit *visit)
{
    if (visit->place.status == FG_WAITING_ROOM_ADMITTED) {
        let_in(flow, room, visit);
        return true;
    }
    if (fg_room_conf(room)->is_shadow) {
        fg_flow_would_refuse(flow, "waiting_room", FG_REFUSED_WAITING_ROOM, visit->place.position,
                             fg_room_conf(room)->waiting_max);
        return true;
    }
    refuse(flow, room, visit);
    return false;
}

static void on_answer(void *owner)
{
    struct fg_flow *flow = owner;
    struct fg_room_inquiry *inquiry = flow->room_inquiry;
    flow->room_inquiry = NULL;
    fg_loop_refresh_now(flow->thread->loop);
    if (goes_on(flow, inquiry->room, &inquiry->visit))
        fg_flow_resume(flow);
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    struct fg_room *room = flow->thread->pipeline->rooms[fg_flow_route_index(flow)];
    if (room == NULL)
        return FG_STAGE_CONTINUE;
    struct fg_arena *arena = flow->req->ex.arena;
    struct fg_room_inquiry *inquiry = fg_arena_try_zalloc(arena, sizeof(*inquiry));
    char *paper = fg_arena_try_alloc(arena, FG_ROOM_TICKET_TEXT);
    if (inquiry == NULL || paper == NULL) {
        fg_flow_refuse_for_memory(flow, "a ticket");
        return FG_STAGE_RESPOND;
    }
    *inquiry = (struct fg_room_inquiry){.room = room,
                                        .wish = FG_ROOM_ENTER,
                                        .caller = fg_room_caller_of(flow, room),
                                        .paper = paper,
                                        .on_done = on_answer,
                                        .owner = flow};
    if (fg_room_ask(inquiry, flow->thread->shared_state))
        return goes_on(flow, room, &inquiry->visit) ? FG_STAGE_CONTINUE : FG_STAGE_RESPOND;
    flow->room_inquiry = inquiry;
    fg_flow_arm_deadline(flow, flow->req->ex.deadline_ns);
    return fg_flow_wait(flow, FG_HOP_SHARED);
}

static void cancel(struct fg_flow *flow)
{
    if (flow->room_inquiry != NULL)
        fg_room_ask_cancel(flow->room_inquiry);
    flow->room_inquiry = NULL;
}

void fg_flow_give_back_place(struct fg_flow *flow)
{
    if (flow->room == NULL)
        return;
    fg_room_hand_back(flow->room, &flow->room_entry, flow->thread->shared_state,
                      fg_clock_monotonic_ns());
    flow->room = NULL;
    flow->room_paper = (struct fg_span){NULL, 0};
    flow->room_cookie = (struct fg_span){NULL, 0};
}

bool fg_flow_send_back_to_line(struct fg_flow *flow, const char *policy, enum fg_refused reason,
                               uint64_t wait_ns)
{
    struct fg_room *room = flow->thread->pipeline->rooms[fg_flow_route_index(flow)];
    bool has_entry = flow->room != NULL;
    if (room == NULL || fg_room_conf(room)->admit.amount > 0 || fg_room_conf(room)->is_shadow ||
        (!has_entry && !flow->came_directly))
        return false;
    const struct fg_room_entry entry = flow->room_entry;
    const struct fg_room_caller caller = fg_room_caller_of(flow, room);
    struct fg_room_visit visit;
    char paper[FG_ROOM_TICKET_TEXT];
    flow->room = NULL;
    flow->came_directly = false;
    flow->room_paper = flow->room_cookie = (struct fg_span){NULL, 0};
    if (!fg_room_send_back(room, has_entry ? &entry : NULL, &caller, paper, &visit))
        return false;
    fg_flow_decide(flow, &(struct fg_decision){.policy = policy,
                                               .reason = fg_refused_name(reason),
                                               .decided = FG_DECIDED_WAIT,
                                               .value = FG_DECISION_NO_VALUE,
                                               .limit = FG_DECISION_NO_VALUE,
                                               .wait_ns = wait_ns});
    if (visit.retry_after_ns < wait_ns)
        visit.retry_after_ns = wait_ns;
    refuse(flow, room, &visit);
    return true;
}

const struct fg_stage fg_stage_waiting_room = {
    .name = "waiting_room", .run = run, .cancel = cancel};
