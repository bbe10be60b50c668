/*
 * waiting_room.c: a line of numbered tickets that advances at the rate the backends can bear.
 * Job      give out places, say how far the line is, and let nobody pass whose turn has not come.
 * Thread   one owner at a time. Memory: the struct; a ticket is a number, so a million people
 * waiting cost what one costs. Never    admits more than burst + elapsed x rate, moves a ticket
 * back, or gets stuck on people who left: the head moves by time, not by who shows up. Source   the
 * virtual queues of Cloudflare and AWS; what their users report is why places survive a restart and
 * why absent people do not hold up the line. Law      head' = min(tail, head + saved + elapsed x
 * amount / period), exact in integers; what is left over when nobody waits is saved, up to
 * admit_burst.
 *
 *    0 ....... expired ........ head ................ tail
 *      expired          admitted        waiting            not issued
 *
 * When a ticket had its turn is not kept for each; the head is marked as it moves, 30 times in
 * grace_ns, and a ticket expires grace_ns after the mark that covers it: up to 1/30 later than
 * promised, never earlier.
 */
#include "policies/waiting_room.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>

#define MARK_SLOTS (FG_WAITING_ROOM_MARK_COUNT - 2)

static struct fg_waiting_room_mark *mark_at(struct fg_waiting_room *room, uint32_t index)
{
    return &room->marks[(room->mark_first + index) % FG_WAITING_ROOM_MARK_COUNT];
}

static uint64_t mark_slot(const struct fg_waiting_room *room, uint64_t at_ns)
{
    return at_ns / (room->config.grace_ns / MARK_SLOTS + 1);
}

/* Forget marks that are older than grace_ns: the tickets below them have expired. */
static void expire_marks(struct fg_waiting_room *room, uint64_t now_ns)
{
    if (room->config.grace_ns == 0)
        return;
    while (room->mark_count > 0) {
        const struct fg_waiting_room_mark *mark = mark_at(room, 0);
        if (now_ns - mark->at_ns < room->config.grace_ns)
            return;
        room->expired = mark->head;
        room->mark_first = (room->mark_first + 1) % FG_WAITING_ROOM_MARK_COUNT;
        room->mark_count--;
    }
}

static void mark_head(struct fg_waiting_room *room, uint64_t now_ns)
{
    if (room->config.grace_ns == 0)
        return;
    if (room->mark_count > 0) {
        struct fg_waiting_room_mark *newest = mark_at(room, room->mark_count - 1);
        if (mark_slot(room, newest->at_ns) == mark_slot(room, now_ns)) {
            newest->at_ns = now_ns;
            newest->head = room->head;
            return;
        }
    }
    assert(room->mark_count < FG_WAITING_ROOM_MARK_COUNT);
    *mark_at(room, room->mark_count) = (struct fg_waiting_room_mark){now_ns, room->head};
    room->mark_count++;
}

static void save_passes(struct fg_waiting_room *room, fg_wide left, uint64_t fraction)
{
    bool is_full = left >= room->config.admit_burst;
    room->saved = is_full ? room->config.admit_burst : (uint64_t)left;
    room->fraction = is_full ? 0 : fraction;
}

/* Bring the line to now_ns; returns the time to go on with, which never goes back. */
static uint64_t advance(struct fg_waiting_room *room, uint64_t now_ns)
{
    if (now_ns < room->updated_ns)
        now_ns = room->updated_ns;
    expire_marks(room, now_ns);
    fg_wide parts = (fg_wide)(now_ns - room->updated_ns) * room->config.admit_amount;
    parts += room->fraction;
    fg_wide passes = parts / room->config.admit_period_ns + room->saved;
    uint64_t fraction = (uint64_t)(parts % room->config.admit_period_ns);
    uint64_t waiting = room->tail - room->head;
    room->updated_ns = now_ns;
    if (passes < waiting) {
        room->head += (uint64_t)passes;
        room->saved = 0;
        room->fraction = fraction;
    } else {
        room->head = room->tail;
        save_passes(room, passes - waiting, fraction);
        passes = waiting;
    }
    if (passes > 0)
        mark_head(room, now_ns);
    return now_ns;
}

/* From now until the turn of the ticket that has `ahead` waiting before it. */
static uint64_t eta_ns(const struct fg_waiting_room *room, uint64_t ahead)
{
    if (room->config.admit_amount == 0)
        return FG_POLICY_NEVER;
    fg_wide parts = ((fg_wide)ahead + 1 - room->saved) * room->config.admit_period_ns;
    parts -= room->fraction;
    uint64_t amount = room->config.admit_amount;
    return fg_wide_saturate((parts + amount - 1) / amount);
}

static struct fg_waiting_room_place waiting_place(const struct fg_waiting_room *room,
                                                  uint64_t ticket)
{
    uint64_t ahead = ticket - room->head;
    return (struct fg_waiting_room_place){
        .status = FG_WAITING_ROOM_WAITING,
        .ticket = ticket,
        .position = ahead,
        .eta_ns = eta_ns(room, ahead),
    };
}

void fg_waiting_room_init(struct fg_waiting_room *room, const struct fg_waiting_room_config *config,
                          uint64_t epoch, uint64_t now_ns)
{
    assert(config->admit_period_ns >= 1);
    *room = (struct fg_waiting_room){
        .config = *config,
        .epoch = epoch,
        .saved = config->admit_burst,
        .updated_ns = now_ns,
    };
}

struct fg_waiting_room_place fg_waiting_room_join(struct fg_waiting_room *room, uint64_t now_ns)
{
    now_ns = advance(room, now_ns);
    bool is_direct = room->head == room->tail && room->saved > 0;
    uint64_t waiting = room->tail - room->head;
    if (room->tail == UINT64_MAX || (!is_direct && waiting >= room->config.waiting_max)) {
        room->full_total++;
        return (struct fg_waiting_room_place){
            .status = FG_WAITING_ROOM_FULL,
            .position = waiting,
            .eta_ns = is_direct ? FG_POLICY_NEVER : eta_ns(room, 0),
        };
    }
    uint64_t ticket = room->tail++;
    if (!is_direct)
        return waiting_place(room, ticket);
    room->saved--;
    room->head = room->tail;
    room->direct_total++;
    mark_head(room, now_ns);
    return (struct fg_waiting_room_place){.status = FG_WAITING_ROOM_ADMITTED, .ticket = ticket};
}

struct fg_waiting_room_place fg_waiting_room_status(struct fg_waiting_room *room, uint64_t ticket,
                                                    uint64_t now_ns)
{
    advance(room, now_ns);
    struct fg_waiting_room_place place = {.status = FG_WAITING_ROOM_ADMITTED, .ticket = ticket};
    if (ticket >= room->tail)
        place.status = FG_WAITING_ROOM_UNKNOWN;
    else if (ticket >= room->head)
        place = waiting_place(room, ticket);
    else if (ticket < room->expired)
        place.status = FG_WAITING_ROOM_EXPIRED;
    return place;
}

uint64_t fg_waiting_room_waiting(struct fg_waiting_room *room, uint64_t now_ns)
{
    advance(room, now_ns);
    return room->tail - room->head;
}

void fg_waiting_room_set_rate(struct fg_waiting_room *room, uint64_t admit_amount,
                              uint64_t admit_period_ns, uint64_t now_ns)
{
    assert(admit_period_ns >= 1);
    advance(room, now_ns);
    room->fraction =
        fg_multiply_divide(room->fraction, admit_period_ns, room->config.admit_period_ns);
    room->config.admit_amount = admit_amount;
    room->config.admit_period_ns = admit_period_ns;
}

struct fg_waiting_room_snapshot fg_waiting_room_export(struct fg_waiting_room *room,
                                                       uint64_t now_ns)
{
    advance(room, now_ns);
    return (struct fg_waiting_room_snapshot){
        .expired = room->expired,
        .head = room->head,
        .tail = room->tail,
        .epoch = room->epoch,
    };
}

bool fg_waiting_room_import(struct fg_waiting_room *room,
                            const struct fg_waiting_room_snapshot *snapshot, uint64_t now_ns)
{
    if (snapshot->expired > snapshot->head || snapshot->head > snapshot->tail)
        return false;
    room->expired = snapshot->expired;
    room->head = snapshot->head;
    room->tail = snapshot->tail;
    room->epoch = snapshot->epoch;
    room->saved = 0;
    room->fraction = 0;
    room->updated_ns = now_ns;
    room->mark_first = 0;
    room->mark_count = 0;
    if (room->head > room->expired)
        mark_head(room, now_ns);
    return true;
}

const char *fg_waiting_room_status_name(enum fg_waiting_room_status status)
{
    static const char *const names[] = {"admitted", "waiting", "expired", "unknown", "full"};
    assert((unsigned)status < sizeof(names) / sizeof(names[0]));
    return names[status];
}
