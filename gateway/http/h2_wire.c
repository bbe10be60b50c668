/*
 * h2_wire.c: see h2_wire.h.
 *
 * The table: open addressing with linear probing. Clients number streams one behind the other, so
 * that a stream lies nearly always where its id says. What is removed leaves no mark: those behind
 * it move up (Knuth, volume 3, section 6.4, algorithm R).
 */
#include "http/h2_wire.h"

#include <assert.h>

#define SLOTS_FIRST 16u
#define LOOK_BACK_MAX 100u /* among more than are usually open the order need not be exact */

void fg_h2_wires_init(struct fg_h2_wires *wires, struct fg_block_pool *pool)
{
    *wires = (struct fg_h2_wires){.pool = pool};
    fg_list_init(&wires->due);
    for (unsigned i = 0; i < FG_H2_URGENCIES; i++)
        fg_list_init(&wires->ready[i]);
}

void fg_h2_wires_fini(struct fg_h2_wires *wires)
{
    if (wires->slots != NULL)
        fg_block_pool_free(wires->pool, wires->slots);
    fg_h2_wires_init(wires, wires->pool);
}

static uint32_t home_of(const struct fg_h2_wires *wires, int32_t id)
{
    return (uint32_t)id >> 1 & wires->mask;
}

/* Where the id lies, or the free slot where it would. */
static uint32_t slot_of(const struct fg_h2_wires *wires, int32_t id)
{
    uint32_t at = home_of(wires, id);
    while (wires->slots[at] != NULL && wires->slots[at]->id != id)
        at = (at + 1) & wires->mask;
    return at;
}

static bool grow(struct fg_h2_wires *wires)
{
    struct fg_h2_wires larger = *wires;
    uint32_t slots = wires->slots == NULL ? SLOTS_FIRST : 2 * (wires->mask + 1);
    larger.slots = fg_block_pool_calloc(wires->pool, slots, sizeof(*larger.slots));
    larger.mask = slots - 1;
    if (larger.slots == NULL)
        return false;
    for (uint32_t i = 0; wires->slots != NULL && i <= wires->mask; i++) {
        struct fg_h2_wire *wire = wires->slots[i];
        if (wire != NULL)
            larger.slots[slot_of(&larger, wire->id)] = wire;
    }
    if (wires->slots != NULL)
        fg_block_pool_free(wires->pool, wires->slots);
    wires->slots = larger.slots;
    wires->mask = larger.mask;
    return true;
}

bool fg_h2_wires_open(struct fg_h2_wires *wires, struct fg_h2_wire *wire, int32_t id,
                      int32_t send_window, int32_t recv_window)
{
    bool has_room = wires->slots != NULL && 4 * (wires->count + 1) <= 3 * (wires->mask + 1);
    if (!has_room && !grow(wires))
        return false;
    *wire = (struct fg_h2_wire){.id = id,
                                .send_window = send_window,
                                .recv_left = recv_window,
                                .is_open = true,
                                .priority = FG_PRIORITY_FIELD_USUAL};
    fg_list_init(&wire->due);
    fg_list_init(&wire->ready);
    uint32_t at = slot_of(wires, id);
    assert(wires->slots[at] == NULL);
    wires->slots[at] = wire;
    wires->count++;
    return true;
}

/* Fills the slot with what would lie there, had it been free. */
static void close_gap(struct fg_h2_wires *wires, uint32_t gap)
{
    for (uint32_t at = (gap + 1) & wires->mask; wires->slots[at] != NULL;
         at = (at + 1) & wires->mask) {
        uint32_t from_home = (at - home_of(wires, wires->slots[at]->id)) & wires->mask;
        if (from_home >= ((at - gap) & wires->mask)) {
            wires->slots[gap] = wires->slots[at];
            gap = at;
        }
    }
    wires->slots[gap] = NULL;
}

void fg_h2_wires_close(struct fg_h2_wires *wires, struct fg_h2_wire *wire)
{
    uint32_t at = slot_of(wires, wire->id);
    assert(wire->is_open && wires->slots[at] == wire);
    fg_h2_wires_set_ready(wires, wire, false);
    fg_list_remove(&wire->due);
    wire->is_open = false;
    close_gap(wires, at);
    wires->count--;
    if (wires->count == 0 && wires->mask >= SLOTS_FIRST) {
        fg_block_pool_free(wires->pool, wires->slots);
        wires->slots = NULL;
    }
}

void fg_h2_wires_move(struct fg_h2_wires *wires, struct fg_h2_wire *from, struct fg_h2_wire *to)
{
    uint32_t at = slot_of(wires, from->id);
    assert(from->is_open && wires->slots[at] == from);
    bool is_due = !fg_list_is_empty(&from->due);
    fg_h2_wires_set_ready(wires, from, false);
    fg_list_remove(&from->due);
    *to = *from;
    fg_list_init(&to->due);
    fg_list_init(&to->ready);
    if (is_due)
        fg_h2_wires_set_due(wires, to);
    wires->slots[at] = to;
    from->is_open = false;
}

struct fg_h2_wire *fg_h2_wires_find(const struct fg_h2_wires *wires, int32_t id)
{
    return wires->slots == NULL ? NULL : wires->slots[slot_of(wires, id)];
}

bool fg_h2_wires_shift_windows(struct fg_h2_wires *wires, int32_t change)
{
    for (uint32_t i = 0; wires->slots != NULL && i <= wires->mask; i++) {
        struct fg_h2_wire *wire = wires->slots[i];
        int64_t window = wire == NULL ? 0 : (int64_t)wire->send_window + change;
        if (window > INT32_MAX || window < INT32_MIN)
            return false;
        if (wire != NULL)
            wire->send_window = (int32_t)window;
    }
    return true;
}

/*
 * Before what was asked for later, as the client wants it: a piece of an answer that comes slowly
 * would else stand behind all of the next one. Incremental ones go by turns, whatever their order.
 */
static struct fg_list *place_of(struct fg_list *ready, const struct fg_h2_wire *wire)
{
    struct fg_list *place = ready;
    struct fg_list *it = ready->prev;
    for (unsigned n = 0; !wire->priority.is_incremental && it != ready && n < LOOK_BACK_MAX; n++) {
        const struct fg_h2_wire *other = FG_CONTAINER_OF(it, struct fg_h2_wire, ready);
        if (!other->priority.is_incremental && other->id < wire->id)
            break;
        if (!other->priority.is_incremental)
            place = it;
        it = it->prev;
    }
    return place;
}

void fg_h2_wires_set_ready(struct fg_h2_wires *wires, struct fg_h2_wire *wire, bool is_ready)
{
    unsigned urgency = wire->priority.urgency;
    if (is_ready == !fg_list_is_empty(&wire->ready))
        return;
    if (is_ready) {
        struct fg_list *place = place_of(&wires->ready[urgency], wire);
        fg_list_insert_between(place->prev, &wire->ready, place);
        wires->ready_urgencies |= 1u << urgency;
        return;
    }
    fg_list_remove(&wire->ready);
    if (fg_list_is_empty(&wires->ready[urgency]))
        wires->ready_urgencies &= ~(1u << urgency);
}

struct fg_h2_wire *fg_h2_wires_next(const struct fg_h2_wires *wires)
{
    if (wires->ready_urgencies == 0)
        return NULL;
    unsigned urgency = (unsigned)__builtin_ctz(wires->ready_urgencies);
    return FG_CONTAINER_OF(wires->ready[urgency].next, struct fg_h2_wire, ready);
}

void fg_h2_wires_rotate(struct fg_h2_wires *wires, struct fg_h2_wire *wire)
{
    if (!wire->priority.is_incremental)
        return;
    fg_list_remove(&wire->ready);
    fg_list_push_back(&wires->ready[wire->priority.urgency], &wire->ready);
}

void fg_h2_wires_prioritize(struct fg_h2_wires *wires, struct fg_h2_wire *wire,
                            struct fg_priority_field priority)
{
    bool is_ready = !fg_list_is_empty(&wire->ready);
    fg_h2_wires_set_ready(wires, wire, false);
    wire->priority = priority;
    fg_h2_wires_set_ready(wires, wire, is_ready);
}
