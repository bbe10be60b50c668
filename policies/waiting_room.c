/*
 * waiting_room.c: a line of numbered places that advances at the rate the backends can bear.
 * Job      give out places, say how far the line is, let nobody pass whose turn has not come, and
 *          nobody twice.
 * Thread   one owner at a time.
 * Memory   the line, and a byte a place (room_places.h).
 * Never    admits more than burst + elapsed x rate, moves anybody back, or gets stuck on people
 *          who left: their places cost nothing when the head comes to them, and the turn of who
 *          does not come in time is given to somebody else.
 * Source   the virtual queues of Cloudflare (a place is kept for minutes after the last refresh;
 *          first come first served, or by lot) and AWS (whose issues 154 and 208 are people who
 *          left but were counted).
 * Law      passes' = passes + elapsed x amount / period + turns not taken, exact in integers; the
 *          head moves over people with a pass each and over the places of absent people without.
 *          What is left over when nobody waits is saved, up to admit_burst.
 *
 *    0 ....... expired ........ head ................ tail
 *     forgotten        had their turn      waiting        not issued
 *
 * When a place had its turn is not kept for each; the line is marked as it moves, 30 times in
 * grace_ns, and a place expires grace_ns after the mark that covers it: up to 1/30 later than
 * promised, and by lot up to the time that its window takes to drain, never earlier, but where the
 * ring is full.
 */
#include "policies/waiting_room.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define MARK_SLOTS (FG_WAITING_ROOM_MARK_COUNT - 2)
#define KEEP_SLOTS 8u
#define SWEEP_LEAST 64u
#define MEASURE_LEAST_NS (5 * FG_POLICY_S)
#define MEASURE_ADMISSIONS 8u

/* ---- where the head is ---- */

/* Every number below it had its turn. */
static uint64_t floor_of(const struct fg_waiting_room_line *line)
{
    const struct fg_room_window *front = fg_room_windows_front(&line->windows, line->head);
    return front == NULL ? line->head : front->first;
}

static bool is_in_open_window(const struct fg_waiting_room_line *line, uint64_t place)
{
    return line->config.draw_window_ns > 0 && place >= line->windows.open_first;
}

/* Whose turn it is at the head. */
static uint64_t number_at_head(const struct fg_waiting_room_line *line)
{
    const struct fg_room_window *front = fg_room_windows_front(&line->windows, line->head);
    if (front == NULL)
        return line->head;
    return front->first + fg_room_draw(front->seed, front->count, line->head - front->first);
}

/* ---- turns that were not taken ---- */

static struct fg_waiting_room_mark *mark_at(struct fg_waiting_room_line *line, uint32_t index)
{
    return &line->marks[(line->mark_first + index) % FG_WAITING_ROOM_MARK_COUNT];
}

static uint64_t mark_slot(const struct fg_waiting_room_line *line, uint64_t at_ns)
{
    return at_ns / (line->config.grace_ns / MARK_SLOTS + 1);
}

/* Forget the places below `floor`; returns how many turns were not taken. */
static uint64_t expire_below(struct fg_waiting_room *room, uint64_t floor)
{
    struct fg_waiting_room_line *line = room->line;
    uint64_t unused = 0;
    for (; line->expired < floor; line->expired++) {
        unused += fg_room_places_get(&room->places, line->expired, line->slot) == FG_ROOM_ADMITTED;
        fg_room_places_set(&room->places, line->expired, FG_ROOM_GONE, line->slot);
    }
    line->unused_total += unused;
    return unused;
}

/* Those whose turn came more than grace_ns ago. */
static uint64_t expire_marks(struct fg_waiting_room *room)
{
    struct fg_waiting_room_line *line = room->line;
    uint64_t unused = 0;
    if (line->config.grace_ns == 0)
        return 0;
    while (line->mark_count > 0) {
        const struct fg_waiting_room_mark *mark = mark_at(line, 0);
        if (line->updated_ns - mark->at_ns < line->config.grace_ns)
            break;
        unused += expire_below(room, mark->floor);
        line->mark_first = (line->mark_first + 1) % FG_WAITING_ROOM_MARK_COUNT;
        line->mark_count--;
    }
    return unused;
}

static void mark_head(struct fg_waiting_room_line *line)
{
    if (line->config.grace_ns == 0)
        return;
    struct fg_waiting_room_mark mark = {line->updated_ns, floor_of(line)};
    if (line->mark_count > 0) {
        struct fg_waiting_room_mark *newest = mark_at(line, line->mark_count - 1);
        if (line->mark_count == FG_WAITING_ROOM_MARK_COUNT ||
            mark_slot(line, newest->at_ns) == mark_slot(line, mark.at_ns)) {
            *newest = mark;
            return;
        }
    }
    *mark_at(line, line->mark_count) = mark;
    line->mark_count++;
}

/* ---- people who left ---- */

static void note_left(struct fg_waiting_room_line *line, uint64_t count)
{
    assert(count <= line->waiting);
    line->waiting -= count;
    line->left_total += count;
}

/* Look through a share of the line, as much as time has passed, for people who ask no more. */
static void sweep(struct fg_waiting_room *room, uint64_t elapsed_ns)
{
    struct fg_waiting_room_line *line = room->line;
    uint64_t floor = floor_of(line);
    uint64_t slot_ns = line->config.keep_ns / KEEP_SLOTS + 1;
    uint64_t share = fg_multiply_divide(line->tail - floor, elapsed_ns, slot_ns);
    if (line->sweep_next < floor || line->sweep_next >= line->tail)
        line->sweep_next = floor;
    uint64_t end = line->sweep_next + SWEEP_LEAST + share;
    end = end > line->tail ? line->tail : end;
    note_left(line, fg_room_places_sweep(&room->places, line->sweep_next, end, line->slot));
    line->sweep_next = end;
}

static void forget_absent(struct fg_waiting_room *room, uint64_t elapsed_ns)
{
    struct fg_waiting_room_line *line = room->line;
    uint64_t before = line->slot;
    line->slot = line->updated_ns / (line->config.keep_ns / KEEP_SLOTS + 1);
    if (line->waiting == 0)
        return;
    if (line->slot - before <= KEEP_SLOTS) {
        sweep(room, elapsed_ns);
        return;
    }
    /* Nobody has asked for so long that all of them have left. */
    note_left(line, fg_room_places_sweep(&room->places, floor_of(line), line->tail,
                                         before + KEEP_SLOTS + 1));
}

/* ---- the pace ---- */

static void close_window(struct fg_waiting_room_line *line)
{
    (void)fg_room_windows_close(&line->windows, line->tail, line->seed, line->updated_ns);
}

/* Nobody waits: those who come now find no line. */
static void skip_to_tail(struct fg_waiting_room *room)
{
    struct fg_waiting_room_line *line = room->line;
    line->head = line->tail;
    fg_room_windows_reset(&line->windows, line->tail, line->updated_ns);
}

/* The one at the head has its turn, or is not there; true: that took a pass. */
static bool step(struct fg_waiting_room *room)
{
    struct fg_waiting_room_line *line = room->line;
    const struct fg_room_window *front = fg_room_windows_front(&line->windows, line->head);
    uint64_t number = number_at_head(line);
    bool is_there = fg_room_places_get(&room->places, number, line->slot) == FG_ROOM_WAITING;
    if (is_there) {
        fg_room_places_set(&room->places, number, FG_ROOM_ADMITTED, line->slot);
        line->waiting--;
        line->admitted_total++;
    } else { /* it may be one whom no sweep has met yet */
        note_left(line, fg_room_places_sweep(&room->places, number, number + 1, line->slot));
    }
    line->head++;
    if (front != NULL && line->head == front->first + front->count)
        fg_room_windows_pop(&line->windows);
    return is_there;
}

/* Over a block in which nobody waits; false: there is somebody, or a lot to be drawn. */
static bool skip_block(struct fg_waiting_room *room)
{
    struct fg_waiting_room_line *line = room->line;
    uint64_t end = fg_room_windows_first(
        &line->windows, line->config.draw_window_ns > 0 ? line->windows.open_first : line->tail);
    if (line->head % FG_ROOM_BLOCK_PLACES != 0 || line->head + FG_ROOM_BLOCK_PLACES > end ||
        !fg_room_places_is_block_empty(&room->places, line->head))
        return false;
    line->head += FG_ROOM_BLOCK_PLACES;
    return true;
}

static bool is_head_there(const struct fg_waiting_room *room)
{
    const struct fg_waiting_room_line *line = room->line;
    return fg_room_places_get(&room->places, number_at_head(line), line->slot) == FG_ROOM_WAITING;
}

/* Move the head by so many people at most; returns the passes that are left. */
static uint64_t move_head(struct fg_waiting_room *room, uint64_t passes)
{
    struct fg_waiting_room_line *line = room->line;
    while (line->waiting > 0) {
        if (skip_block(room))
            continue;
        if (passes > 0 && is_in_open_window(line, line->head))
            close_window(line);
        if (passes == 0 && (is_in_open_window(line, line->head) || is_head_there(room)))
            return 0;
        passes -= step(room);
    }
    skip_to_tail(room);
    return passes;
}

static void save_passes(struct fg_waiting_room_line *line, uint64_t left, uint64_t fraction)
{
    bool is_full = left >= line->config.admit_burst;
    line->saved = is_full ? line->config.admit_burst : left;
    line->fraction = is_full && line->waiting == 0 ? 0 : fraction;
}

static void spend(struct fg_waiting_room *room, uint64_t elapsed_ns, uint64_t not_taken)
{
    struct fg_waiting_room_line *line = room->line;
    fg_wide parts = (fg_wide)elapsed_ns * line->config.admit_amount + line->fraction;
    fg_wide passes = parts / line->config.admit_period_ns + line->saved + not_taken;
    uint64_t fraction = (uint64_t)(parts % line->config.admit_period_ns);
    uint64_t admitted = line->admitted_total;
    save_passes(line, move_head(room, fg_wide_saturate(passes)), fraction);
    if (line->admitted_total != admitted)
        mark_head(line);
}

/* Bring the line to now_ns. */
static void advance(struct fg_waiting_room *room, uint64_t now_ns)
{
    struct fg_waiting_room_line *line = room->line;
    int64_t passed_ns = (int64_t)(now_ns + line->offset_ns - line->updated_ns);
    uint64_t elapsed_ns = passed_ns > 0 ? (uint64_t)passed_ns : 0; /* no clock goes back */
    uint64_t admitted = line->admitted_total, left = line->left_total;
    line->updated_ns += elapsed_ns;
    uint64_t not_taken = expire_marks(room);
    forget_absent(room, elapsed_ns);
    const struct fg_waiting_room_config *config = &line->config;
    if (config->draw_window_ns > 0 &&
        line->updated_ns - line->windows.open_since_ns >= config->draw_window_ns)
        close_window(line);
    spend(room, elapsed_ns, not_taken);
    fg_drain_rate_note(&line->drain, line->admitted_total - admitted, line->left_total - left,
                       line->waiting, line->updated_ns);
    fg_forecast_settle(&room->forecast, line->head, line->updated_ns);
}

/* ---- where somebody stands ---- */

/* From now until the turn of who has so many people ahead; as far off as the line's figures say, or
 * as what was told before has been. */
static void estimate(const struct fg_waiting_room *room, struct fg_waiting_room_place *place)
{
    const struct fg_waiting_room_line *line = room->line;
    place->eta_ns = FG_POLICY_NEVER;
    if (line->config.admit_amount == 0)
        return;
    double credit = (double)line->fraction / (double)line->config.admit_period_ns;
    struct fg_drain_estimate drain = fg_drain_rate_estimate(
        &line->drain, (double)place->position + 1 - credit, (double)place->position_error);
    uint64_t seen_ns = fg_forecast_error_ns(&room->forecast, drain.eta_ns);
    place->eta_ns = drain.eta_ns;
    place->eta_error_ns = drain.error_ns > seen_ns ? drain.error_ns : seen_ns;
}

/* In a window that is drawn: how many of it come before, by the share of its places that do. */
static void count_in_window(const struct fg_waiting_room *room, const struct fg_room_window *window,
                            uint64_t number, struct fg_waiting_room_place *place)
{
    const struct fg_waiting_room_line *line = room->line;
    uint64_t drawn = fg_room_draw_back(window->seed, window->count, number - window->first);
    uint64_t done = line->head > window->first ? line->head - window->first : 0;
    double here =
        (double)fg_room_places_waiting(&room->places, window->first, window->first + window->count);
    double share = (double)fg_subtract_floor(drawn, done) / (double)(window->count - done);
    place->position += (uint64_t)(here * share);
    place->position_error = (uint64_t)ceil(2 * sqrt(here * share * (1 - share)));
}

static struct fg_waiting_room_place waiting_place(const struct fg_waiting_room *room,
                                                  uint64_t number)
{
    const struct fg_waiting_room_line *line = room->line;
    struct fg_waiting_room_place place = {.status = FG_WAITING_ROOM_WAITING, .number = number};
    const struct fg_room_window *window = fg_room_windows_find(&line->windows, number);
    uint64_t floor = floor_of(line);
    if (window != NULL) {
        place.position = fg_room_places_waiting(&room->places, floor, window->first);
        count_in_window(room, window, number, &place);
    } else if (is_in_open_window(line, number)) {
        uint64_t first = line->windows.open_first;
        uint64_t others = fg_room_places_waiting(&room->places, first, line->tail) - 1;
        place.position = fg_room_places_waiting(&room->places, floor, first) + others / 2;
        place.position_error = others - others / 2; /* its lot may be any */
    } else {
        place.position = fg_room_places_waiting(&room->places, floor, number);
    }
    estimate(room, &place);
    return place;
}

/* The same, told to somebody: to be compared with what comes. */
static struct fg_waiting_room_place tell_place(struct fg_waiting_room *room, uint64_t number)
{
    const struct fg_waiting_room_line *line = room->line;
    struct fg_waiting_room_place place = waiting_place(room, number);
    const struct fg_room_window *window = fg_room_windows_find(&line->windows, number);
    if (is_in_open_window(line, number)) /* its lot is not drawn yet */
        return place;
    if (window != NULL)
        number =
            window->first + fg_room_draw_back(window->seed, window->count, number - window->first);
    fg_forecast_tell(&room->forecast, number, place.eta_ns, line->updated_ns);
    return place;
}

static struct fg_waiting_room_place look(struct fg_waiting_room *room, uint64_t number,
                                         uint64_t now_ns)
{
    struct fg_waiting_room_line *line = room->line;
    advance(room, now_ns);
    struct fg_waiting_room_place place = {.status = FG_WAITING_ROOM_EXPIRED, .number = number};
    if (number >= line->tail)
        place.status = FG_WAITING_ROOM_UNKNOWN;
    if (number >= line->tail || number < line->expired)
        return place;
    switch (fg_room_places_get(&room->places, number, line->slot)) {
    case FG_ROOM_WAITING:
        fg_room_places_set(&room->places, number, FG_ROOM_WAITING, line->slot);
        return tell_place(room, number);
    case FG_ROOM_ADMITTED:
        place.status = FG_WAITING_ROOM_ADMITTED;
        break;
    case FG_ROOM_USED:
        place.status = FG_WAITING_ROOM_USED;
        break;
    case FG_ROOM_GONE:
        break;
    }
    return place;
}

/* ---- setting up ---- */

uint64_t fg_waiting_room_capacity(const struct fg_waiting_room_config *config)
{
    uint64_t let_in =
        config->grace_ns == 0 || config->admit_amount == 0
            ? config->waiting_max
            : fg_multiply_divide(config->grace_ns, config->admit_amount, config->admit_period_ns);
    if (let_in > config->waiting_max)
        let_in = config->waiting_max;
    uint64_t places = 2 * config->waiting_max + let_in;
    return (places / FG_ROOM_BLOCK_PLACES + 4) * FG_ROOM_BLOCK_PLACES;
}

void fg_waiting_room_expect(struct fg_drain_rate *rate, const struct fg_waiting_room_config *config,
                            uint64_t now_ns)
{
    uint64_t interval_ns = MEASURE_LEAST_NS;
    if (config->admit_amount > 0) {
        uint64_t few_ns =
            fg_multiply_divide(config->admit_period_ns, MEASURE_ADMISSIONS, config->admit_amount);
        interval_ns = few_ns > interval_ns ? few_ns : interval_ns;
    }
    double expected = (double)config->admit_amount * (double)interval_ns;
    fg_drain_rate_init(rate, expected / (double)config->admit_period_ns, interval_ns, now_ns);
}

/* is_unsteady: the pace is still being found. */
static void start_measuring(struct fg_waiting_room *room, bool is_unsteady)
{
    struct fg_waiting_room_line *line = room->line;
    fg_waiting_room_expect(&line->drain, &line->config, line->updated_ns);
    uint64_t shows_ns = fg_add_saturating(line->config.grace_ns, line->config.keep_ns);
    fg_forecast_restart(&room->forecast, fg_add_saturating(line->updated_ns, shows_ns),
                        is_unsteady);
}

void fg_waiting_room_init(struct fg_waiting_room *room, struct fg_waiting_room_line *line,
                          void *memory, uint64_t capacity,
                          const struct fg_waiting_room_config *config, uint64_t epoch,
                          uint64_t seed, uint64_t now_ns)
{
    assert(config->admit_period_ns >= 1 && config->keep_ns >= 1);
    *room = (struct fg_waiting_room){.line = line, .places = fg_room_places_over(memory, capacity)};
    *line = (struct fg_waiting_room_line){
        .config = *config,
        .epoch = epoch,
        .seed = seed,
        .saved = config->admit_burst,
        .updated_ns = now_ns,
        .slot = now_ns / (config->keep_ns / KEEP_SLOTS + 1),
    };
    fg_room_windows_reset(&line->windows, 0, now_ns);
    start_measuring(room, false);
}

static bool is_consistent(const struct fg_waiting_room_line *line, uint64_t capacity)
{
    return line->expired <= line->head && line->head <= line->tail &&
           line->tail - line->expired <= capacity && line->config.admit_period_ns >= 1 &&
           line->config.keep_ns >= 1 && line->mark_count <= FG_WAITING_ROOM_MARK_COUNT &&
           line->mark_first < FG_WAITING_ROOM_MARK_COUNT &&
           fg_room_windows_are_consistent(&line->windows, line->tail) &&
           line->drain.interval_ns >= 1;
}

bool fg_waiting_room_resume(struct fg_waiting_room *room, struct fg_waiting_room_line *line,
                            void *memory, uint64_t capacity, uint64_t now_ns)
{
    if (!is_consistent(line, capacity))
        return false;
    *room = (struct fg_waiting_room){.line = line, .places = fg_room_places_over(memory, capacity)};
    fg_waiting_room_repair(room);
    line->offset_ns = line->updated_ns - now_ns;
    return true;
}

void fg_waiting_room_repair(struct fg_waiting_room *room)
{
    struct fg_waiting_room_line *line = room->line;
    fg_room_windows_repair(&line->windows, line->head);
    uint64_t floor = floor_of(line);
    room->places.marks[line->tail % room->places.capacity] = 0; /* one that was being issued */
    fg_room_places_recount(&room->places, line->expired, line->tail);
    line->waiting = fg_room_places_waiting(&room->places, floor, line->tail);
}

uint64_t fg_waiting_room_adopt(struct fg_waiting_room *room, uint64_t epoch, uint64_t first,
                               uint64_t tail, uint64_t now_ns)
{
    struct fg_waiting_room_line *line = room->line;
    uint64_t most = room->places.capacity - 2 * FG_ROOM_BLOCK_PLACES;
    advance(room, now_ns);
    if (first > tail)
        first = tail;
    if (tail - first > most)
        tail = first + most;
    fg_room_places_reset(&room->places, first, tail, line->slot);
    line->epoch = epoch;
    line->expired = line->head = first;
    line->tail = tail;
    line->waiting = tail - first;
    line->saved = line->fraction = 0;
    line->mark_count = 0;
    fg_room_windows_reset(&line->windows, tail, line->updated_ns);
    start_measuring(room, false);
    return tail;
}

void fg_waiting_room_grow(struct fg_waiting_room *room, struct fg_waiting_room_line *line,
                          void *memory, uint64_t capacity)
{
    assert(capacity >= room->places.capacity);
    struct fg_room_places larger = fg_room_places_over(memory, capacity);
    *line = *room->line;
    for (uint64_t number = line->expired; number < line->tail; number++)
        larger.marks[number % capacity] = room->places.marks[number % room->places.capacity];
    *room = (struct fg_waiting_room){.line = line, .places = larger};
    fg_waiting_room_repair(room);
}

/* Slots are of another length: everybody who waits was seen just now. */
static void move_to_slot(struct fg_waiting_room *room, uint64_t slot)
{
    struct fg_waiting_room_line *line = room->line;
    for (uint64_t number = floor_of(line); number < line->tail; number++) {
        if (fg_room_places_get(&room->places, number, line->slot) == FG_ROOM_WAITING)
            fg_room_places_set(&room->places, number, FG_ROOM_WAITING, slot);
        else
            note_left(line, fg_room_places_sweep(&room->places, number, number + 1, line->slot));
    }
}

void fg_waiting_room_configure(struct fg_waiting_room *room,
                               const struct fg_waiting_room_config *config, uint64_t now_ns)
{
    assert(config->admit_period_ns >= 1 && config->keep_ns >= 1);
    struct fg_waiting_room_line *line = room->line;
    advance(room, now_ns);
    bool is_other_pace = config->admit_amount != line->config.admit_amount ||
                         config->admit_period_ns != line->config.admit_period_ns;
    bool was_drawn = line->config.draw_window_ns > 0;
    line->fraction =
        fg_multiply_divide(line->fraction, config->admit_period_ns, line->config.admit_period_ns);
    uint64_t slot = line->updated_ns / (config->keep_ns / KEEP_SLOTS + 1);
    if (config->keep_ns != line->config.keep_ns)
        move_to_slot(room, slot);
    line->config = *config;
    line->slot = slot;
    if (was_drawn && config->draw_window_ns == 0)
        close_window(line);
    if (!was_drawn)
        line->windows.open_first = line->tail;
    if (is_other_pace)
        start_measuring(room, false);
}

/* Is `per_s` more than twice what is measured, or less than half of it? */
static bool is_another_pace(const struct fg_waiting_room_line *line, double per_s)
{
    double measured = fg_drain_rate_per_s(&line->drain);
    return per_s > 2 * measured || 2 * per_s < measured;
}

void fg_waiting_room_set_pace(struct fg_waiting_room *room, uint64_t amount, uint64_t period_ns,
                              uint64_t burst, uint64_t now_ns)
{
    assert(period_ns >= 1);
    struct fg_waiting_room_line *line = room->line;
    advance(room, now_ns);
    line->fraction = fg_multiply_divide(line->fraction, period_ns, line->config.admit_period_ns);
    line->config.admit_amount = amount;
    line->config.admit_period_ns = period_ns;
    line->config.admit_burst = burst;
    if (is_another_pace(line, (double)amount * (double)FG_POLICY_S / (double)period_ns))
        start_measuring(room, true);
}

/* ---- the line ---- */

/* Room for one more number in the ring; false: it is full. */
static bool make_room(struct fg_waiting_room *room)
{
    struct fg_waiting_room_line *line = room->line;
    uint64_t most = room->places.capacity - FG_ROOM_BLOCK_PLACES;
    uint64_t floor = floor_of(line);
    if (line->tail - line->expired < most)
        return true;
    uint64_t some = line->expired + FG_ROOM_BLOCK_PLACES;
    line->saved += expire_below(room, some < floor ? some : floor);
    return line->tail - line->expired < most;
}

/* The next number. The line is at now. */
static struct fg_waiting_room_place issue(struct fg_waiting_room *room)
{
    struct fg_waiting_room_line *line = room->line;
    if (line->waiting >= line->config.waiting_max || line->tail == UINT64_MAX || !make_room(room)) {
        line->full_total++;
        struct fg_waiting_room_place place = {.status = FG_WAITING_ROOM_FULL};
        estimate(room, &place);
        place.position = line->waiting;
        return place;
    }
    if (line->tail == line->windows.open_first)
        line->windows.open_since_ns = line->updated_ns;
    uint64_t number = line->tail;
    fg_room_places_set(&room->places, number, FG_ROOM_WAITING, line->slot);
    line->tail++;
    line->waiting++;
    return tell_place(room, number);
}

struct fg_waiting_room_place fg_waiting_room_join(struct fg_waiting_room *room, uint64_t now_ns)
{
    struct fg_waiting_room_line *line = room->line;
    advance(room, now_ns);
    if (line->waiting > 0 || line->saved == 0)
        return issue(room);
    line->saved--;
    line->direct_total++;
    return (struct fg_waiting_room_place){.status = FG_WAITING_ROOM_ADMITTED, .is_direct = true};
}

struct fg_waiting_room_place fg_waiting_room_send_back(struct fg_waiting_room *room,
                                                       uint64_t now_ns)
{
    struct fg_waiting_room_line *line = room->line;
    advance(room, now_ns);
    if (line->direct_total > 0) {
        line->direct_total--;
        if (line->saved < line->config.admit_burst)
            line->saved++;
        spend(room, 0, 0); /* others may have come meanwhile */
    }
    return issue(room);
}

bool fg_waiting_room_is_open(struct fg_waiting_room *room, uint64_t now_ns)
{
    advance(room, now_ns);
    return room->line->waiting == 0 && room->line->saved > 0;
}

struct fg_waiting_room_place fg_waiting_room_status(struct fg_waiting_room *room, uint64_t number,
                                                    uint64_t now_ns)
{
    return look(room, number, now_ns);
}

struct fg_waiting_room_place fg_waiting_room_enter(struct fg_waiting_room *room, uint64_t number,
                                                   uint64_t now_ns)
{
    struct fg_waiting_room_place place = look(room, number, now_ns);
    if (place.status == FG_WAITING_ROOM_ADMITTED) {
        fg_room_places_set(&room->places, number, FG_ROOM_USED, room->line->slot);
        room->line->used_total++;
    }
    return place;
}

void fg_waiting_room_give_back(struct fg_waiting_room *room, uint64_t number, uint64_t now_ns)
{
    struct fg_waiting_room_line *line = room->line;
    if (look(room, number, now_ns).status != FG_WAITING_ROOM_USED)
        return;
    fg_room_places_set(&room->places, number, FG_ROOM_ADMITTED, line->slot);
    line->used_total--;
}

void fg_waiting_room_leave(struct fg_waiting_room *room, uint64_t number, uint64_t now_ns)
{
    struct fg_waiting_room_line *line = room->line;
    enum fg_waiting_room_status status = look(room, number, now_ns).status;
    if (status != FG_WAITING_ROOM_WAITING && status != FG_WAITING_ROOM_ADMITTED)
        return;
    fg_room_places_set(&room->places, number, FG_ROOM_GONE, line->slot);
    if (status == FG_WAITING_ROOM_WAITING) {
        note_left(line, 1);
        return;
    }
    line->unused_total++;
    spend(room, 0, 1); /* its turn goes to the next */
}

struct fg_drain_estimate fg_waiting_room_last(const struct fg_waiting_room *room)
{
    struct fg_waiting_room_place place = {.position = room->line->waiting};
    if (room->line->waiting > 0)
        estimate(room, &place);
    return (struct fg_drain_estimate){place.eta_ns, place.eta_error_ns};
}

uint64_t fg_waiting_room_waiting(struct fg_waiting_room *room, uint64_t now_ns)
{
    advance(room, now_ns);
    return room->line->waiting;
}

const char *fg_waiting_room_status_name(enum fg_waiting_room_status status)
{
    static const char *const names[] = {"admitted", "waiting", "expired",
                                        "used",     "unknown", "full"};
    assert((unsigned)status < sizeof(names) / sizeof(names[0]));
    return names[status];
}
