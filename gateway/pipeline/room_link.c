/*
 * room_link.c: the script's arguments and reply.
 */
#include "room_link.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>

#define LOTS (UINT64_C(1) << 20)
#define REPLY_MEMBERS 10

extern const unsigned char fg_embedded_lua_room[];
extern const size_t fg_embedded_lua_room_len;

struct fg_redis_script fg_room_script(void)
{
    return (struct fg_redis_script){(const char *)fg_embedded_lua_room, fg_embedded_lua_room_len};
}

/* ---- arguments ---- */

static const char *wish_name(enum fg_room_wish wish)
{
    switch (wish) {
    case FG_ROOM_ENTER:
        return "enter";
    case FG_ROOM_JOIN:
        return "join";
    case FG_ROOM_LEAVE:
        return "leave";
    case FG_ROOM_LOOK:
        break;
    }
    return "look";
}

static void put(struct fg_room_inquiry *inquiry, unsigned index, int len)
{
    inquiry->args[FG_ROOM_KEYS + index] =
        fg_span_make(inquiry->numbers[index], len > 0 ? (size_t)len : 0);
}

static void put_number(struct fg_room_inquiry *inquiry, unsigned index, uint64_t value)
{
    put(inquiry, index,
        snprintf(inquiry->numbers[index], sizeof(inquiry->numbers[index]), "%" PRIu64, value));
}

static void put_epoch(struct fg_room_inquiry *inquiry, unsigned index, uint64_t epoch)
{
    put(inquiry, index,
        snprintf(inquiry->numbers[index], sizeof(inquiry->numbers[index]), "%" PRIx64, epoch));
}

static void put_place(struct fg_room_inquiry *inquiry, unsigned index, bool is_there,
                      uint64_t number)
{
    put(inquiry, index,
        is_there ? snprintf(inquiry->numbers[index], sizeof(inquiry->numbers[index]), "%016" PRIu64,
                            number)
                 : 0);
}

static void put_args(struct fg_room_inquiry *inquiry, const char *wish)
{
    const struct fg_waiting_room_conf *conf = fg_room_conf(inquiry->room);
    const struct fg_room_claim *claim = &inquiry->claim;
    fg_room_keys(inquiry->room, inquiry->args);
    inquiry->args[FG_ROOM_KEYS] = fg_span_from_string(wish);
    inquiry->args[FG_ROOM_KEYS + 1] = FG_SPAN("");
    if (claim->has_number || claim->has_own)
        put_epoch(inquiry, 1, claim->epoch);
    put_place(inquiry, 2, claim->has_number, claim->number);
    put_number(inquiry, 3, conf->admit.amount);
    put(inquiry, 4,
        snprintf(inquiry->numbers[4], sizeof(inquiry->numbers[4]), "%.6f",
                 (double)conf->admit.period_ns / (double)FG_MS));
    put_number(inquiry, 5, conf->burst);
    put_number(inquiry, 6, conf->waiting_max);
    put_number(inquiry, 7, conf->grace_ns / FG_MS);
    put_number(inquiry, 8, conf->keep_ns / FG_MS);
    put_number(inquiry, 9, conf->draw_window_ns / FG_MS);
    put_number(inquiry, 10, inquiry->caller.lot % LOTS);
    put_epoch(inquiry, 11, fg_room_new_epoch(inquiry->room));
    put_place(inquiry, 12, claim->has_own, claim->own);
    put_number(inquiry, 13, claim->may_join);
}

/* ---- the reply ---- */

static bool read_text(const redisReply *reply, struct fg_span *text)
{
    *text = fg_span_make(reply->str, (size_t)reply->len);
    return reply->type == REDIS_REPLY_STRING;
}

static bool read_number(const redisReply *reply, uint64_t *value)
{
    *value = (uint64_t)reply->integer;
    return reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0;
}

static bool read_decimal(const redisReply *reply, uint64_t *value)
{
    struct fg_span text;
    *value = 0;
    return read_text(reply, &text) && (text.len == 0 || fg_span_parse_u64(text, value));
}

static bool read_status(struct fg_span text, struct fg_waiting_room_place *place)
{
    static const struct {
        struct fg_span name;
        enum fg_waiting_room_status status;
    } statuses[] = {
        {FG_SPAN_LITERAL("waiting"), FG_WAITING_ROOM_WAITING},
        {FG_SPAN_LITERAL("admitted"), FG_WAITING_ROOM_ADMITTED},
        {FG_SPAN_LITERAL("direct"), FG_WAITING_ROOM_ADMITTED},
        {FG_SPAN_LITERAL("full"), FG_WAITING_ROOM_FULL},
        {FG_SPAN_LITERAL("unknown"), FG_WAITING_ROOM_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (!fg_span_equal(text, statuses[i].name))
            continue;
        place->status = statuses[i].status;
        place->is_direct = i == 2;
        return true;
    }
    return false;
}

static bool read_epoch(const redisReply *reply, uint64_t *epoch)
{
    struct fg_span text;
    return read_text(reply, &text) && text.len > 0 && text.len <= 16 &&
           sscanf(reply->str, "%" SCNx64, epoch) == 1;
}

static bool read_reply(const redisReply *reply, struct fg_waiting_room_place *place,
                       struct fg_room_news *news)
{
    struct fg_span status;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != REPLY_MEMBERS)
        return false;
    redisReply *const *is = reply->element;
    return read_text(is[0], &status) && read_status(status, place) &&
           read_decimal(is[1], &place->number) && read_number(is[2], &place->position) &&
           read_number(is[3], &place->position_error) && read_epoch(is[4], &news->epoch) &&
           read_number(is[5], &news->waiting) && read_number(is[6], &news->tail) &&
           read_decimal(is[7], &news->first) && read_number(is[8], &news->admitted_total) &&
           read_number(is[9], &news->left_total);
}

/* ---- asking ---- */

static void on_reply(void *owner, enum fg_redis_outcome outcome, const redisReply *reply)
{
    struct fg_room_inquiry *inquiry = owner;
    struct fg_waiting_room_place place = {.status = FG_WAITING_ROOM_UNKNOWN};
    struct fg_room_news news;
    inquiry->command = NULL;
    inquiry->caller.now_ns = fg_clock_monotonic_ns();
    if (outcome == FG_REDIS_REPLY && read_reply(reply, &place, &news))
        fg_room_conclude(inquiry->room, inquiry->wish, &inquiry->caller, &inquiry->claim, &place,
                         &news, inquiry->paper, &inquiry->visit);
    else
        fg_room_visit_alone(inquiry->room, inquiry->wish, &inquiry->caller, &inquiry->claim,
                            inquiry->paper, &inquiry->visit);
    inquiry->on_done(inquiry->owner);
}

bool fg_room_ask(struct fg_room_inquiry *inquiry, struct fg_redis_link *link)
{
    struct fg_room *room = inquiry->room;
    if (link == NULL || !fg_room_conf(room)->is_shared) {
        fg_room_visit(room, inquiry->wish, &inquiry->caller, inquiry->paper, &inquiry->visit);
        return true;
    }
    if (fg_room_read(room, &inquiry->caller, &inquiry->claim, &inquiry->visit))
        return true; /* it has a pass */
    fg_room_pay(room, inquiry->wish, &inquiry->caller, &inquiry->claim);
    put_args(inquiry, wish_name(inquiry->wish));
    struct fg_redis_request request = {
        .is_script = true,
        .script = fg_room_script_index(room),
        .key_count = FG_ROOM_KEYS,
        .args = inquiry->args,
        .arg_count = FG_ROOM_KEYS + FG_ROOM_ARGS,
        .is_repeatable = inquiry->wish == FG_ROOM_LOOK || inquiry->wish == FG_ROOM_LEAVE,
        .on_reply = on_reply,
        .owner = inquiry,
    };
    enum fg_status status = fg_redis_link_submit(link, &request, &inquiry->command);
    if (status == FG_OK)
        return false;
    inquiry->command = NULL;
    if (status == FG_ERR_LIMIT)
        fg_room_visit_busy(room, inquiry->wish, &inquiry->caller, &inquiry->claim, inquiry->paper,
                           &inquiry->visit);
    else
        fg_room_visit_alone(room, inquiry->wish, &inquiry->caller, &inquiry->claim, inquiry->paper,
                            &inquiry->visit);
    return true;
}

void fg_room_ask_cancel(struct fg_room_inquiry *inquiry)
{
    if (inquiry->command != NULL)
        fg_redis_command_detach(inquiry->command);
    inquiry->command = NULL;
}

static void ignore_reply(void *owner, enum fg_redis_outcome outcome, const redisReply *reply)
{
    (void)owner;
    (void)outcome;
    (void)reply;
}

/* Sent at once or not at all: what is lost is the place of somebody who was let in. */
void fg_room_hand_back(struct fg_room *room, const struct fg_room_entry *entry,
                       struct fg_redis_link *link, uint64_t now_ns)
{
    if (!entry->is_shared) {
        fg_room_give_back(room, entry->number, now_ns);
        return;
    }
    if (link == NULL || !fg_redis_link_is_ready(link))
        return;
    struct fg_room_inquiry inquiry = {
        .room = room,
        .claim = {.has_number = true, .epoch = entry->epoch, .number = entry->number}};
    put_args(&inquiry, "back");
    struct fg_redis_command *command;
    struct fg_redis_request request = {
        .is_script = true,
        .script = fg_room_script_index(room),
        .key_count = FG_ROOM_KEYS,
        .args = inquiry.args,
        .arg_count = FG_ROOM_KEYS + FG_ROOM_ARGS,
        .on_reply = ignore_reply,
        .owner = room,
    };
    if (fg_redis_link_submit(link, &request, &command) == FG_OK)
        fg_redis_command_detach(command);
}
