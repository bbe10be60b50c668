/*
 * room_shared.c: the line under a lock, and its papers.
 */
#include "room_shared.h"

#include "base/clock.h"
#include "pipeline/policy_conf.h"
#include "pipeline/room_book_shared.h"
#include "policies/retry_after.h"
#include "policies/wide_math.h"
#include "room_store_shared.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define PERMILLE 1000u
#define KEY_COUNT 4u
#define KEY_BYTES 320

/* What is known of the line in Redis. */
struct far_line {
    bool is_known;
    bool is_alone; /* Redis is away: the line of this process is in use */
    struct fg_room_news news;
    struct fg_drain_rate drain;
    struct fg_forecast forecast; /* by the numbers, so not where lots are drawn */
    /* alone */
    uint64_t since_ns;
    uint64_t shared_tail; /* places below it are those of the shared line */
};

struct fg_room {
    const struct fg_waiting_room_conf *conf;
    struct fg_waiting_room_config line;  /* the settings at the whole rate */
    struct fg_waiting_room_config alone; /* and at this gateway's share */
    const char *route_name;
    struct fg_room_store *store;
    struct fg_ticket_keys *keys;
    struct fg_room_book *book;
    /* shared */
    unsigned script_index;
    char redis_keys[KEY_COUNT][KEY_BYTES];
    pthread_mutex_t far_lock;
    struct far_line far; /* guarded by far_lock */
    /* admit: auto */
    struct fg_counter done;
    struct fg_admit_rate pace; /* guarded by far_lock, like the two */
    uint64_t done_seen;
    uint64_t came_seen;
    uint64_t refused_seen;
};

/* ---- setting up ---- */

static uint64_t came_in(const struct fg_waiting_room_line *line)
{
    return line->used_total + line->direct_total;
}

static void set_learned_pace(struct fg_waiting_room *line, double per_s, uint64_t now_ns)
{
    fg_waiting_room_set_pace(line, fg_admit_rate_amount(per_s), FG_ADMIT_RATE_PERIOD_NS,
                             fg_admit_rate_burst(per_s), now_ns);
}

/* Go on with what the process before has learned; people who came to it are not new ones. */
static void resume_pace(struct fg_room *room, uint64_t now_ns)
{
    struct fg_waiting_room *line = fg_room_store_lock(room->store);
    room->came_seen = came_in(line->line);
    if (room->conf->admit.amount == 0 &&
        fg_admit_rate_resume(&room->pace, fg_room_store_pace(room->store), now_ns))
        set_learned_pace(line, room->pace.per_s, now_ns);
    fg_room_store_unlock(room->store);
}

struct fg_room *fg_room_create(const struct fg_waiting_room_conf *conf, const char *route_name,
                               const struct fg_room_memory *memory,
                               const unsigned char secret[FG_ROOM_SECRET_BYTES], uint64_t now_ns,
                               struct fg_error *error)
{
    struct fg_room *room = calloc(1, sizeof(*room));
    if (room == NULL) {
        fg_error_set(error, "not enough memory for a waiting room");
        return NULL;
    }
    room->conf = conf;
    room->line = room->alone = fg_waiting_room_config_of(conf);
    room->alone.admit_amount *= conf->alone_permille;
    room->alone.admit_period_ns *= PERMILLE;
    room->route_name = route_name;
    pthread_mutex_init(&room->far_lock, NULL);
    fg_waiting_room_expect(&room->far.drain, &room->line, now_ns);
    room->keys = fg_ticket_keys_create(conf->ticket_rotate_ns / FG_S);
    room->book = fg_room_book_create(conf->is_one_for_user ? conf->waiting_max : 0,
                                     conf->address_places, conf->keep_ns);
    fg_error_set(error, "not enough memory for a waiting room");
    if (room->keys != NULL && room->book != NULL)
        room->store = fg_room_store_open(conf->state_file, memory, &room->line, now_ns, error);
    if (room->store == NULL) {
        fg_room_destroy(room);
        return NULL;
    }
    fg_ticket_keys_set_secret(room->keys, secret, FG_ROOM_SECRET_BYTES);
    resume_pace(room, now_ns);
    return room;
}

bool fg_room_share(struct fg_room *room, const char *prefix, unsigned script_index)
{
    static const char *const parts[KEY_COUNT] = {"state", "line", "seen", "turn"};
    room->script_index = script_index;
    for (unsigned i = 0; i < KEY_COUNT; i++) {
        int len = snprintf(room->redis_keys[i], KEY_BYTES, "%s:room:{%s}:%s", prefix,
                           room->route_name, parts[i]);
        if (len < 0 || len >= KEY_BYTES)
            return false;
    }
    return true;
}

void fg_room_destroy(struct fg_room *room)
{
    if (room == NULL)
        return;
    fg_room_store_close(room->store);
    fg_ticket_keys_destroy(room->keys);
    fg_room_book_destroy(room->book);
    pthread_mutex_destroy(&room->far_lock);
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

void fg_room_keys(const struct fg_room *room, struct fg_span keys[4])
{
    for (unsigned i = 0; i < KEY_COUNT; i++)
        keys[i] = fg_span_from_string(room->redis_keys[i]);
}

unsigned fg_room_script_index(const struct fg_room *room)
{
    return room->script_index;
}

static uint64_t random_epoch(void)
{
    uint64_t epoch = 0;
    if (getrandom(&epoch, sizeof(epoch), 0) != sizeof(epoch))
        epoch = fg_clock_wall_ns();
    return epoch | 1;
}

uint64_t fg_room_new_epoch(struct fg_room *room)
{
    pthread_mutex_lock(&room->far_lock);
    bool is_known = room->far.is_known;
    uint64_t epoch = room->far.news.epoch;
    pthread_mutex_unlock(&room->far_lock);
    return is_known ? epoch + 1 : random_epoch();
}

/* ---- papers ---- */

bool fg_room_read(const struct fg_room *room, const struct fg_room_caller *caller,
                  struct fg_room_claim *claim, struct fg_room_visit *visit)
{
    struct fg_room_paper_text given;
    *claim = (struct fg_room_claim){.has_number = false};
    *visit = (struct fg_room_visit){.fate = FG_ROOM_FATE_NONE};
    if (caller->paper.len == 0)
        return false;
    visit->fate = FG_ROOM_FATE_NOT_VALID;
    if (!fg_room_ticket_read(room->keys, caller->now_s, room->route_name, &caller->holder,
                             caller->paper, &given))
        return false;
    if (given.kind == FG_ROOM_TICKET) {
        *claim = (struct fg_room_claim){
            .has_number = true, .epoch = given.first, .number = given.second};
        visit->fate = FG_ROOM_FATE_ENDED;
        return false;
    }
    visit->fate = FG_ROOM_FATE_EXPIRED;
    if (given.first <= caller->now_s)
        return false;
    visit->fate = FG_ROOM_FATE_NONE;
    visit->place.status = FG_WAITING_ROOM_ADMITTED;
    visit->has_pass = true;
    return true;
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
    struct fg_room_paper_text paper = {FG_ROOM_TICKET, visit->entry.epoch, visit->entry.number};
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

/* The place and its entry are known: when to ask again, and with which paper. */
static void finish(const struct fg_room *room, enum fg_room_wish wish,
                   const struct fg_room_caller *caller, char paper[FG_ROOM_TICKET_TEXT],
                   struct fg_room_visit *visit)
{
    const struct fg_waiting_room_place *place = &visit->place;
    bool is_in = place->status == FG_WAITING_ROOM_ADMITTED;
    bool is_waiting = place->status == FG_WAITING_ROOM_WAITING;
    visit->entry.number = place->number;
    if (caller->holder.is_user && (is_waiting || (is_in && !place->is_direct)))
        fg_room_book_note(room->book, caller->holder.name, visit->entry.epoch, place->number,
                          caller->now_s);
    if ((is_waiting || place->status == FG_WAITING_ROOM_FULL) && !visit->is_address_full)
        visit->retry_after_ns =
            fg_retry_after_room_ns(place->eta_ns, room->conf->keep_ns, caller->lot);
    if (is_in && wish == FG_ROOM_ENTER)
        hand_out_pass(room, caller, paper, visit);
    else if ((is_in && !place->is_direct) || is_waiting)
        hand_out_ticket(room, caller, paper, visit);
}

/* The place of that line that is known to be the caller's, unless it is the ticket's. */
static void find_own(const struct fg_room *room, const struct fg_room_caller *caller,
                     uint64_t epoch, struct fg_room_claim *claim)
{
    claim->has_own = caller->holder.is_user &&
                     fg_room_book_find(room->book, caller->holder.name, epoch, &claim->own) &&
                     !(claim->has_number && claim->own == claim->number);
}

/* ---- the line of this process ---- */

static bool has_no_place(enum fg_waiting_room_status status)
{
    return status == FG_WAITING_ROOM_UNKNOWN || status == FG_WAITING_ROOM_EXPIRED ||
           status == FG_WAITING_ROOM_USED;
}

/* What the wish comes to for a place that the caller has, or had. */
static struct fg_waiting_room_place step_of(struct fg_waiting_room *line, enum fg_room_wish wish,
                                            uint64_t number, uint64_t now_ns)
{
    if (wish == FG_ROOM_ENTER)
        return fg_waiting_room_enter(line, number, now_ns);
    if (wish != FG_ROOM_LEAVE)
        return fg_waiting_room_status(line, number, now_ns);
    fg_waiting_room_leave(line, number, now_ns);
    return (struct fg_waiting_room_place){.status = FG_WAITING_ROOM_UNKNOWN};
}

/* Who has no place comes in, or gets one, as far as its address may. */
static void join(struct fg_room *room, struct fg_waiting_room *line, enum fg_room_wish wish,
                 const struct fg_room_caller *caller, struct fg_room_visit *visit)
{
    uint64_t wait_ns;
    bool is_open = fg_waiting_room_is_open(line, caller->now_ns);
    if (is_open && wish == FG_ROOM_JOIN) {
        visit->place =
            (struct fg_waiting_room_place){.status = FG_WAITING_ROOM_ADMITTED, .is_direct = true};
    } else if (is_open ||
               fg_room_book_try_place(room->book, caller->address, caller->now_ns, &wait_ns)) {
        visit->place = fg_waiting_room_join(line, caller->now_ns);
        if (!is_open && visit->place.status == FG_WAITING_ROOM_FULL)
            fg_room_book_return_place(room->book, caller->address, caller->now_ns);
    } else {
        visit->place = (struct fg_waiting_room_place){
            .status = FG_WAITING_ROOM_FULL, .position = line->line->waiting, .eta_ns = UINT64_MAX};
        visit->is_address_full = true;
        visit->retry_after_ns = wait_ns < FG_S ? FG_S : wait_ns;
    }
}

/* One step of the line, under the lock, with the place of the ticket or the one that is known to be
 * the user's. */
static void take_step(struct fg_room *room, struct fg_waiting_room *line, enum fg_room_wish wish,
                      const struct fg_room_caller *caller, const struct fg_room_claim *claim,
                      struct fg_room_visit *visit)
{
    visit->place = (struct fg_waiting_room_place){.status = FG_WAITING_ROOM_UNKNOWN};
    if (claim->has_number) {
        visit->place = step_of(line, wish, claim->number, caller->now_ns);
        if (!has_no_place(visit->place.status) || wish == FG_ROOM_LEAVE)
            visit->fate = FG_ROOM_FATE_NONE;
        else
            visit->fate = visit->place.status == FG_WAITING_ROOM_USED ? FG_ROOM_FATE_USED
                                                                      : FG_ROOM_FATE_EXPIRED;
    }
    if (has_no_place(visit->place.status) && claim->has_own) {
        visit->place = step_of(line, wish, claim->own, caller->now_ns);
        if (!has_no_place(visit->place.status))
            visit->fate = FG_ROOM_FATE_NONE;
    }
    if (has_no_place(visit->place.status) && (wish == FG_ROOM_ENTER || wish == FG_ROOM_JOIN))
        join(room, line, wish, caller, visit);
}

void fg_room_visit(struct fg_room *room, enum fg_room_wish wish,
                   const struct fg_room_caller *caller, char paper[FG_ROOM_TICKET_TEXT],
                   struct fg_room_visit *visit)
{
    struct fg_room_claim claim;
    if (fg_room_read(room, caller, &claim, visit))
        return;
    struct fg_waiting_room *line = fg_room_store_lock(room->store);
    claim.has_number = claim.has_number && claim.epoch == line->line->epoch;
    visit->entry.epoch = line->line->epoch;
    find_own(room, caller, line->line->epoch, &claim);
    take_step(room, line, wish, caller, &claim, visit);
    fg_room_store_unlock(room->store);
    finish(room, wish, caller, paper, visit);
}

void fg_room_give_back(struct fg_room *room, uint64_t number, uint64_t now_ns)
{
    struct fg_waiting_room *line = fg_room_store_lock(room->store);
    fg_waiting_room_give_back(line, number, now_ns);
    fg_room_store_unlock(room->store);
}

bool fg_room_send_back(struct fg_room *room, const struct fg_room_entry *entry,
                       const struct fg_room_caller *caller, char paper[FG_ROOM_TICKET_TEXT],
                       struct fg_room_visit *visit)
{
    uint64_t wait_ns;
    if (entry == NULL &&
        !fg_room_book_try_place(room->book, caller->address, caller->now_ns, &wait_ns))
        return false;
    struct fg_waiting_room *line = fg_room_store_lock(room->store);
    *visit = (struct fg_room_visit){.entry = {.epoch = line->line->epoch}};
    if (entry == NULL) {
        visit->place = fg_waiting_room_send_back(line, caller->now_ns);
    } else {
        fg_waiting_room_give_back(line, entry->number, caller->now_ns);
        visit->place = fg_waiting_room_status(line, entry->number, caller->now_ns);
        visit->place.number = entry->number;
    }
    fg_room_store_unlock(room->store);
    if (visit->place.status != FG_WAITING_ROOM_ADMITTED &&
        visit->place.status != FG_WAITING_ROOM_WAITING)
        return false;
    finish(room, FG_ROOM_LOOK, caller, paper, visit);
    return true;
}

/* ---- admit: auto ---- */

void fg_room_note_done(struct fg_room *room)
{
    fg_counter_add(&room->done, 1);
}

bool fg_room_is_due(struct fg_room *room, uint64_t now_ns)
{
    pthread_mutex_lock(&room->far_lock);
    bool is_due = room->conf->admit.amount == 0 && now_ns >= room->pace.updated_ns + FG_S;
    pthread_mutex_unlock(&room->far_lock);
    return is_due;
}

/* What has been counted since the last look. */
static uint64_t since(uint64_t total, uint64_t *seen)
{
    uint64_t more = total > *seen ? total - *seen : 0; /* a place given back lowers the total */
    *seen = total;
    return more;
}

void fg_room_follow(struct fg_room *room, uint64_t now_ns, struct fg_admit_sample *sample)
{
    pthread_mutex_lock(&room->far_lock);
    if (room->pace.updated_ns == 0) /* until then the room is closed */
        fg_admit_rate_init(&room->pace, sample->limit, now_ns);
    struct fg_waiting_room *line = fg_room_store_lock(room->store);
    const struct fg_waiting_room_line *is = line->line;
    sample->done = since(fg_counter_get(&room->done), &room->done_seen);
    sample->came = since(came_in(is), &room->came_seen);
    sample->refused = since(sample->refused, &room->refused_seen);
    sample->has_line = fg_waiting_room_waiting(line, now_ns) > 0;
    double per_s = fg_admit_rate_step(&room->pace, now_ns, sample);
    set_learned_pace(line, per_s, now_ns);
    *fg_room_store_pace(room->store) = room->pace;
    fg_room_store_unlock(room->store);
    pthread_mutex_unlock(&room->far_lock);
}

/* ---- alone ---- */

/* Redis has just gone away: begin with those who waited there. Both locks are held. */
static void go_alone(struct fg_room *room, struct fg_waiting_room *line, uint64_t now_ns)
{
    struct far_line *far = &room->far;
    fg_waiting_room_configure(line, &room->line, now_ns);
    far->is_alone = true;
    far->since_ns = now_ns;
    far->shared_tail =
        fg_waiting_room_adopt(line, random_epoch(), far->news.first, far->news.tail, now_ns);
}

/* The whole rate while places of the shared line are walked that all gateways see alike. */
static void set_pace(const struct fg_room *room, struct fg_waiting_room *line, uint64_t now_ns)
{
    const struct far_line *far = &room->far;
    bool is_whole =
        line->line->head < far->shared_tail && now_ns - far->since_ns < room->conf->keep_ns;
    const struct fg_waiting_room_config *wanted = is_whole ? &room->line : &room->alone;
    if (line->line->config.admit_period_ns != wanted->admit_period_ns)
        fg_waiting_room_configure(line, wanted, now_ns);
}

void fg_room_visit_alone(struct fg_room *room, enum fg_room_wish wish,
                         const struct fg_room_caller *caller, const struct fg_room_claim *claim,
                         char paper[FG_ROOM_TICKET_TEXT], struct fg_room_visit *visit)
{
    const struct far_line *far = &room->far;
    if (claim->may_join) /* this line's own step pays for itself */
        fg_room_book_return_place(room->book, caller->address, caller->now_ns);
    pthread_mutex_lock(&room->far_lock);
    struct fg_waiting_room *line = fg_room_store_lock(room->store);
    if (!far->is_alone)
        go_alone(room, line, caller->now_ns);
    set_pace(room, line, caller->now_ns);
    uint64_t epoch = line->line->epoch, far_tail = far->is_known ? far->shared_tail : 0;
    struct fg_room_claim known = {
        .has_number =
            claim->has_number && (claim->epoch == epoch ||
                                  (claim->epoch == far->news.epoch && claim->number < far_tail)),
        .number = claim->number};
    find_own(room, caller, far->news.epoch, &known);
    if (!known.has_own || known.own >= far_tail)
        find_own(room, caller, epoch, &known);
    take_step(room, line, wish, caller, &known, visit);
    /* its ticket stays that of the shared line: there it is good again when Redis is back */
    visit->entry.epoch = visit->place.number < far_tail ? far->news.epoch : epoch;
    fg_room_store_unlock(room->store);
    pthread_mutex_unlock(&room->far_lock);
    finish(room, wish, caller, paper, visit);
}

/* Of the shared line; as far off as its figures say, or as what was told before has been. */
static struct fg_drain_estimate estimate_far(const struct far_line *far, double people,
                                             double people_error)
{
    struct fg_drain_estimate estimate = fg_drain_rate_estimate(&far->drain, people, people_error);
    uint64_t seen_ns = fg_forecast_error_ns(&far->forecast, estimate.eta_ns);
    if (seen_ns > estimate.error_ns)
        estimate.error_ns = seen_ns;
    return estimate;
}

/* How far it is by the numbers: people who left in between count as well. */
void fg_room_visit_busy(struct fg_room *room, enum fg_room_wish wish,
                        const struct fg_room_caller *caller, const struct fg_room_claim *claim,
                        char paper[FG_ROOM_TICKET_TEXT], struct fg_room_visit *visit)
{
    struct fg_waiting_room_place *place = &visit->place;
    pthread_mutex_lock(&room->far_lock);
    const struct fg_room_news *news = &room->far.news;
    if (claim->has_own || (claim->has_number && claim->epoch == news->epoch)) {
        place->status = FG_WAITING_ROOM_WAITING;
        place->number = claim->has_number ? claim->number : claim->own;
        place->position = fg_subtract_floor(place->number, news->first);
        visit->entry = (struct fg_room_entry){.is_shared = true, .epoch = claim->epoch};
        visit->fate = FG_ROOM_FATE_NONE;
    } else {
        place->status = FG_WAITING_ROOM_FULL;
        place->position = news->waiting;
    }
    struct fg_drain_estimate estimate = estimate_far(&room->far, (double)place->position + 1, 0);
    pthread_mutex_unlock(&room->far_lock);
    if (claim->may_join)
        fg_room_book_return_place(room->book, caller->address, caller->now_ns);
    place->eta_ns = estimate.eta_ns;
    place->eta_error_ns = estimate.error_ns;
    finish(room, wish, caller, paper, visit);
}

/* ---- the line in Redis ---- */

/* Remember what the answer says; answers may overtake each other, so totals never go back. */
static void take_news(struct far_line *far, const struct fg_room_news *news,
                      const struct fg_waiting_room_conf *conf, uint64_t now_ns)
{
    far->is_alone = false;
    if (!far->is_known || news->epoch != far->news.epoch) {
        far->news = *news;
        far->is_known = true;
        fg_forecast_restart(&far->forecast, now_ns + conf->grace_ns + conf->keep_ns, false);
        return;
    }
    uint64_t admitted = 0, left = 0;
    if (news->admitted_total > far->news.admitted_total)
        admitted = news->admitted_total - far->news.admitted_total;
    if (news->left_total > far->news.left_total)
        left = news->left_total - far->news.left_total;
    far->news.admitted_total += admitted;
    far->news.left_total += left;
    far->news.waiting = news->waiting;
    far->news.first = news->first;
    if (news->tail > far->news.tail)
        far->news.tail = news->tail;
    fg_drain_rate_note(&far->drain, admitted, left, news->waiting, now_ns);
    fg_forecast_settle(&far->forecast, far->news.first, now_ns);
}

void fg_room_pay(struct fg_room *room, enum fg_room_wish wish, const struct fg_room_caller *caller,
                 struct fg_room_claim *claim)
{
    pthread_mutex_lock(&room->far_lock);
    uint64_t epoch = room->far.news.epoch;
    pthread_mutex_unlock(&room->far_lock);
    bool is_other_line = claim->has_number && claim->epoch != epoch;
    find_own(room, caller, epoch, claim);
    if (!is_other_line || claim->has_own) {
        claim->has_number = claim->has_number && !is_other_line;
        claim->epoch = epoch;
    }
    claim->may_join =
        (wish == FG_ROOM_ENTER || wish == FG_ROOM_JOIN) &&
        fg_room_book_try_place(room->book, caller->address, caller->now_ns, &claim->join_after_ns);
}

/* The answer was one of the caller's own places, or none: nothing was taken. */
static void settle(struct fg_room *room, enum fg_room_wish wish,
                   const struct fg_room_caller *caller, const struct fg_room_claim *claim,
                   const struct fg_room_news *news, struct fg_room_visit *visit)
{
    const struct fg_waiting_room_place *place = &visit->place;
    bool has_place = place->status == FG_WAITING_ROOM_WAITING ||
                     (place->status == FG_WAITING_ROOM_ADMITTED && !place->is_direct);
    bool is_tickets = has_place && claim->has_number && place->number == claim->number;
    bool is_own = has_place && claim->has_own && place->number == claim->own;
    if (is_tickets || is_own || wish == FG_ROOM_LEAVE)
        visit->fate = FG_ROOM_FATE_NONE;
    else if (visit->fate == FG_ROOM_FATE_ENDED && claim->epoch == news->epoch)
        visit->fate = FG_ROOM_FATE_GONE;
    if (claim->may_join && (!has_place || is_tickets || is_own))
        fg_room_book_return_place(room->book, caller->address, caller->now_ns);
    if (claim->may_join || place->status != FG_WAITING_ROOM_FULL || claim->join_after_ns == 0 ||
        news->waiting >= room->conf->waiting_max)
        return;
    visit->is_address_full = true;
    visit->retry_after_ns = claim->join_after_ns < FG_S ? FG_S : claim->join_after_ns;
}

void fg_room_conclude(struct fg_room *room, enum fg_room_wish wish,
                      const struct fg_room_caller *caller, const struct fg_room_claim *claim,
                      const struct fg_waiting_room_place *place, const struct fg_room_news *news,
                      char paper[FG_ROOM_TICKET_TEXT], struct fg_room_visit *visit)
{
    visit->place = *place;
    visit->entry = (struct fg_room_entry){.is_shared = true, .epoch = news->epoch};
    settle(room, wish, caller, claim, news, visit);
    bool is_full = place->status == FG_WAITING_ROOM_FULL;
    pthread_mutex_lock(&room->far_lock);
    take_news(&room->far, news, room->conf, caller->now_ns);
    if (is_full || place->status == FG_WAITING_ROOM_WAITING) {
        double people = is_full ? 1 : (double)place->position + 1;
        struct fg_drain_estimate estimate =
            estimate_far(&room->far, people, (double)place->position_error);
        if (!is_full && room->conf->draw_window_ns == 0)
            fg_forecast_tell(&room->far.forecast, place->number, estimate.eta_ns, caller->now_ns);
        visit->place.eta_ns = estimate.eta_ns;
        visit->place.eta_error_ns = estimate.error_ns;
    }
    pthread_mutex_unlock(&room->far_lock);
    finish(room, wish, caller, paper, visit);
}

/* ---- figures ---- */

static struct fg_drain_estimate for_the_last(const struct far_line *far)
{
    return estimate_far(far, far->news.waiting == 0 ? 0 : (double)far->news.waiting + 1, 0);
}

struct fg_room_stats fg_room_stats(struct fg_room *room, uint64_t now_ns)
{
    pthread_mutex_lock(&room->far_lock);
    struct far_line far = room->far;
    struct fg_admit_rate pace = room->pace;
    pthread_mutex_unlock(&room->far_lock);
    struct fg_waiting_room *line = fg_room_store_lock(room->store);
    uint64_t waiting = fg_waiting_room_waiting(line, now_ns);
    const struct fg_waiting_room_line *is = line->line;
    struct fg_room_stats stats = {
        .is_alone = far.is_alone,
        .waiting = waiting,
        .direct_total = is->direct_total,
        .full_total = is->full_total,
        .issued_total = is->tail,
        .admitted_total = is->admitted_total,
        .used_total = is->used_total,
        .unused_total = is->unused_total,
        .left_total = is->left_total,
        .admitted_per_s = fg_drain_rate_per_s(&is->drain),
        .pace_per_s = pace.per_s,
        .drain_per_s = pace.drain_per_s,
        .last = fg_waiting_room_last(line),
    };
    fg_room_store_unlock(room->store);
    if (!room->conf->is_shared || far.is_alone)
        return stats;
    stats.waiting = far.news.waiting;
    stats.issued_total = far.news.tail;
    stats.admitted_total = far.news.admitted_total;
    stats.left_total = far.news.left_total;
    stats.admitted_per_s = fg_drain_rate_per_s(&far.drain);
    stats.last = for_the_last(&far);
    return stats;
}
