/*
 * room_shared.c: the line under a lock, and its papers.
 */
#include "room_shared.h"

#include "base/clock.h"
#include "pipeline/policy_conf.h"
#include "policies/retry_after.h"
#include "room_store_shared.h"

#include <stdlib.h>

struct fg_room {
    const struct fg_waiting_room_conf *conf;
    const char *route_name;
    struct fg_room_store *store;
    struct fg_ticket_keys *keys;
};

struct fg_room *fg_room_create(const struct fg_waiting_room_conf *conf, const char *route_name,
                               const unsigned char secret[FG_ROOM_SECRET_BYTES], uint64_t now_ns,
                               struct fg_error *error)
{
    struct fg_waiting_room_config line = fg_waiting_room_config_of(conf);
    struct fg_room *room = calloc(1, sizeof(*room));
    if (room == NULL) {
        fg_error_set(error, "not enough memory for a waiting room");
        return NULL;
    }
    room->conf = conf;
    room->route_name = route_name;
    room->keys = fg_ticket_keys_create(conf->ticket_rotate_ns / FG_S);
    if (room->keys != NULL)
        room->store = fg_room_store_open(conf->state_file, &line, now_ns, error);
    if (room->store == NULL) {
        fg_room_destroy(room);
        return NULL;
    }
    fg_ticket_keys_set_secret(room->keys, secret, FG_ROOM_SECRET_BYTES);
    return room;
}

void fg_room_destroy(struct fg_room *room)
{
    if (room == NULL)
        return;
    fg_room_store_close(room->store);
    fg_ticket_keys_destroy(room->keys);
    free(room);
}

const struct fg_waiting_room_conf *fg_room_conf(const struct fg_room *room)
{
    return room->conf;
}

const char *fg_room_name(const struct fg_room *room)
{
    return room->route_name;
}

/* ---- papers ---- */

static bool read_paper(const struct fg_room *room, const struct fg_room_caller *caller,
                       struct fg_room_paper_text *paper)
{
    return caller->paper.len > 0 && fg_room_ticket_read(room->keys, caller->now_s, room->route_name,
                                                        &caller->holder, caller->paper, paper);
}

static void hand_out(const struct fg_room *room, const struct fg_room_caller *caller,
                     const struct fg_room_paper_text *paper, char text[FG_ROOM_TICKET_TEXT],
                     struct fg_room_visit *visit)
{
    if (fg_room_ticket_write(room->keys, caller->now_s, room->route_name, &caller->holder, paper,
                             text))
        visit->paper = fg_span_make(text, FG_ROOM_TICKET_TEXT);
}

static void hand_out_ticket(const struct fg_room *room, const struct fg_room_caller *caller,
                            char text[FG_ROOM_TICKET_TEXT], struct fg_room_visit *visit)
{
    struct fg_room_paper_text paper = {FG_ROOM_TICKET, fg_room_store_epoch(room->store),
                                       visit->place.number};
    hand_out(room, caller, &paper, text, visit);
    visit->paper_for_ns =
        visit->place.status == FG_WAITING_ROOM_WAITING ? room->conf->keep_ns : room->conf->grace_ns;
}

static void hand_out_pass(const struct fg_room *room, const struct fg_room_caller *caller,
                          char text[FG_ROOM_TICKET_TEXT], struct fg_room_visit *visit)
{
    uint64_t session_s = room->conf->session_ns / FG_S;
    if (session_s == 0)
        return;
    struct fg_room_paper_text paper = {FG_ROOM_PASS, caller->now_s + session_s, 0};
    hand_out(room, caller, &paper, text, visit);
    visit->paper_for_ns = room->conf->session_ns;
}

/* ---- a visit ---- */

static bool has_no_place(enum fg_waiting_room_status status)
{
    return status == FG_WAITING_ROOM_UNKNOWN || status == FG_WAITING_ROOM_EXPIRED ||
           status == FG_WAITING_ROOM_USED;
}

/* One step of the line, under the lock. */
static struct fg_waiting_room_place take_step(struct fg_waiting_room *line, enum fg_room_wish wish,
                                              const uint64_t *number, uint64_t now_ns)
{
    struct fg_waiting_room_place place = {.status = FG_WAITING_ROOM_UNKNOWN};
    if (number != NULL && wish == FG_ROOM_LEAVE)
        fg_waiting_room_leave(line, *number, now_ns);
    else if (number != NULL && wish == FG_ROOM_ENTER)
        place = fg_waiting_room_enter(line, *number, now_ns);
    else if (number != NULL)
        place = fg_waiting_room_status(line, *number, now_ns);
    if (!has_no_place(place.status) || (wish != FG_ROOM_ENTER && wish != FG_ROOM_JOIN))
        return place;
    if (wish == FG_ROOM_JOIN && fg_waiting_room_is_open(line, now_ns))
        return (struct fg_waiting_room_place){.status = FG_WAITING_ROOM_ADMITTED,
                                              .is_direct = true};
    return fg_waiting_room_join(line, now_ns);
}

static uint64_t ask_again_ns(const struct fg_room *room, const struct fg_waiting_room_place *place,
                             uint64_t lot)
{
    if (place->status != FG_WAITING_ROOM_WAITING && place->status != FG_WAITING_ROOM_FULL)
        return 0;
    return fg_retry_after_room_ns(place->eta_ns, room->conf->keep_ns, lot);
}

void fg_room_visit(struct fg_room *room, enum fg_room_wish wish,
                   const struct fg_room_caller *caller, char paper[FG_ROOM_TICKET_TEXT],
                   struct fg_room_visit *visit)
{
    struct fg_room_paper_text given;
    bool is_genuine = read_paper(room, caller, &given);
    *visit = (struct fg_room_visit){0};
    if (is_genuine && given.kind == FG_ROOM_PASS && given.first > caller->now_s) {
        visit->place.status = FG_WAITING_ROOM_ADMITTED;
        visit->has_pass = true;
        return;
    }
    bool has_number = is_genuine && given.kind == FG_ROOM_TICKET &&
                      given.first == fg_room_store_epoch(room->store);
    struct fg_waiting_room *line = fg_room_store_lock(room->store);
    visit->place = take_step(line, wish, has_number ? &given.second : NULL, caller->now_ns);
    fg_room_store_unlock(room->store);
    visit->retry_after_ns = ask_again_ns(room, &visit->place, caller->lot);
    bool is_in = visit->place.status == FG_WAITING_ROOM_ADMITTED;
    if (is_in && wish == FG_ROOM_ENTER)
        hand_out_pass(room, caller, paper, visit);
    else if ((is_in && !visit->place.is_direct) || visit->place.status == FG_WAITING_ROOM_WAITING)
        hand_out_ticket(room, caller, paper, visit);
}

void fg_room_give_back(struct fg_room *room, uint64_t number, uint64_t now_ns)
{
    struct fg_waiting_room *line = fg_room_store_lock(room->store);
    fg_waiting_room_give_back(line, number, now_ns);
    fg_room_store_unlock(room->store);
}

struct fg_room_stats fg_room_stats(struct fg_room *room, uint64_t now_ns)
{
    struct fg_waiting_room *line = fg_room_store_lock(room->store);
    uint64_t waiting = fg_waiting_room_waiting(line, now_ns);
    const struct fg_waiting_room_line *is = line->line;
    struct fg_room_stats stats = {
        .waiting = waiting,
        .direct_total = is->direct_total,
        .full_total = is->full_total,
        .issued_total = is->tail,
        .admitted_total = is->admitted_total,
        .used_total = is->used_total,
        .unused_total = is->unused_total,
        .left_total = is->left_total,
        .admitted_per_s = fg_drain_rate_per_s(&is->drain),
        .last = fg_drain_rate_estimate(&is->drain, waiting == 0 ? 0 : (double)waiting + 1, 0),
    };
    fg_room_store_unlock(room->store);
    return stats;
}
