/*
 * vtc.c: fair shares of inference between users who ask for different amounts.
 * Job      count weighted tokens a user; lift who comes back; forget who is idle when room is
 *          short.
 * Law      always serve the active user with the smallest counter; a user who becomes active gets
 *          max(own counter, least counter of the active).
 * Source   Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024): the difference in
 *          work between two users who both want more stays below a constant, whatever they send.
 *          Weights 1 for input and 2 for output are the paper's. We depart in charging a prompt
 *          without its cached part, as that costs nobody anything.
 * Index    a heap of the active by counter, one of the others, and a hash by user:
 *          [ active count | idle count | active (capacity) | idle (capacity) | hash slots ]
 * Never    overflows in practice: 2^64 tokens. Charging saturates all the same.
 */
#include "policies/vtc.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

/* Slots of the hash: at most half of them are taken. */
static uint32_t slot_count_of(uint32_t capacity)
{
    uint32_t count = 4;
    while (count / 2 < capacity)
        count *= 2;
    return count;
}

uint64_t fg_vtc_index_count(uint32_t capacity)
{
    return 2 + 2 * (uint64_t)capacity + slot_count_of(capacity);
}

/* ---- heaps: the active and the idle; first is who has no place taken, then who had least ---- */

struct heap {
    uint32_t *count;
    uint32_t *at; /* handles */
};

static struct heap active_of(const struct fg_vtc *vtc)
{
    return (struct heap){vtc->index, vtc->index + 2};
}

static struct heap idle_of(const struct fg_vtc *vtc)
{
    return (struct heap){vtc->index + 1, vtc->index + 2 + vtc->capacity};
}

static bool goes_first(const struct fg_vtc *vtc, uint32_t a, uint32_t b)
{
    const struct fg_vtc_user *one = &vtc->users[a];
    const struct fg_vtc_user *other = &vtc->users[b];
    if (one->is_taken != other->is_taken)
        return one->is_taken < other->is_taken;
    return one->counter != other->counter ? one->counter < other->counter : a < b;
}

static void put(const struct fg_vtc *vtc, struct heap heap, uint32_t at, uint32_t handle)
{
    heap.at[at] = handle;
    vtc->users[handle].heap_at = at;
}

static void sift_up(const struct fg_vtc *vtc, struct heap heap, uint32_t at, uint32_t handle)
{
    while (at > 0 && goes_first(vtc, handle, heap.at[(at - 1) / 2])) {
        put(vtc, heap, at, heap.at[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(vtc, heap, at, handle);
}

static void sift_down(const struct fg_vtc *vtc, struct heap heap, uint32_t at, uint32_t handle)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < *heap.count && goes_first(vtc, heap.at[child + 1], heap.at[child]))
            child++;
        if (child >= *heap.count || !goes_first(vtc, heap.at[child], handle))
            break;
        put(vtc, heap, at, heap.at[child]);
        at = child;
    }
    put(vtc, heap, at, handle);
}

static void push(const struct fg_vtc *vtc, struct heap heap, uint32_t handle)
{
    (*heap.count)++;
    sift_up(vtc, heap, *heap.count - 1, handle);
}

static void take_out(const struct fg_vtc *vtc, struct heap heap, uint32_t handle)
{
    uint32_t at = vtc->users[handle].heap_at;
    assert(at < *heap.count && heap.at[at] == handle);
    uint32_t last = heap.at[--(*heap.count)];
    if (last == handle)
        return;
    if (at > 0 && goes_first(vtc, last, heap.at[(at - 1) / 2]))
        sift_up(vtc, heap, at, last);
    else
        sift_down(vtc, heap, at, last);
}

/* ---- the hash: open addressing; a slot holds a handle and 1, or 0 ---- */

static uint32_t *slots_of(const struct fg_vtc *vtc)
{
    return vtc->index + 2 + 2 * (size_t)vtc->capacity;
}

static uint32_t home_of(const struct fg_vtc *vtc, uint64_t user)
{
    return (uint32_t)((user * UINT64_C(0x9e3779b97f4a7c15)) >> 32) &
           (slot_count_of(vtc->capacity) - 1);
}

/* Where `user` is, or the empty slot where it would go. */
static uint32_t slot_of(const struct fg_vtc *vtc, uint64_t user)
{
    const uint32_t *slots = slots_of(vtc);
    uint32_t mask = slot_count_of(vtc->capacity) - 1;
    uint32_t at = home_of(vtc, user);
    while (slots[at] != 0 && vtc->users[slots[at] - 1].user != user)
        at = (at + 1) & mask;
    return at;
}

/* Later entries move back over the hole: Knuth, volume 3, section 6.4, algorithm R. */
static void forget(const struct fg_vtc *vtc, uint64_t user)
{
    uint32_t *slots = slots_of(vtc);
    uint32_t mask = slot_count_of(vtc->capacity) - 1;
    uint32_t hole = slot_of(vtc, user);
    assert(slots[hole] != 0);
    for (uint32_t at = (hole + 1) & mask; slots[at] != 0; at = (at + 1) & mask) {
        uint32_t home = home_of(vtc, vtc->users[slots[at] - 1].user);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            slots[hole] = slots[at];
            hole = at;
        }
    }
    slots[hole] = 0;
}

/* ---- users ---- */

void fg_vtc_rebuild(struct fg_vtc *vtc)
{
    memset(vtc->index, 0, fg_vtc_index_count(vtc->capacity) * sizeof(*vtc->index));
    for (uint32_t i = 0; i < vtc->capacity; i++) {
        const struct fg_vtc_user *user = &vtc->users[i];
        push(vtc, user->active > 0 ? active_of(vtc) : idle_of(vtc), i);
        if (user->is_taken != 0)
            slots_of(vtc)[slot_of(vtc, user->user)] = i + 1;
    }
}

void fg_vtc_init(struct fg_vtc *vtc, struct fg_vtc_user *users, uint32_t *index, uint32_t capacity)
{
    assert(capacity > 0);
    memset(users, 0, capacity * sizeof(*users));
    *vtc = (struct fg_vtc){users, index, capacity};
    fg_vtc_rebuild(vtc);
}

static bool is_heap(const struct fg_vtc *vtc, struct heap heap, bool is_active)
{
    for (uint32_t at = 0; at < *heap.count; at++) {
        uint32_t handle = heap.at[at];
        if (handle >= vtc->capacity || vtc->users[handle].heap_at != at ||
            (vtc->users[handle].active > 0) != is_active ||
            (at > 0 && goes_first(vtc, handle, heap.at[(at - 1) / 2])))
            return false;
    }
    return true;
}

bool fg_vtc_is_sound(const struct fg_vtc *vtc)
{
    struct heap active = active_of(vtc);
    struct heap idle = idle_of(vtc);
    if ((uint64_t)*active.count + *idle.count != vtc->capacity || !is_heap(vtc, active, true) ||
        !is_heap(vtc, idle, false))
        return false;
    uint32_t taken = 0;
    uint32_t found = 0;
    for (uint32_t i = 0; i < vtc->capacity; i++)
        taken += vtc->users[i].is_taken != 0;
    for (uint32_t at = 0; at < slot_count_of(vtc->capacity); at++) {
        uint32_t held = slots_of(vtc)[at];
        if (held > vtc->capacity)
            return false;
        found += held != 0 && slot_of(vtc, vtc->users[held - 1].user) == at;
    }
    return found == taken;
}

/* Gives `user` the place of the idle one who had least; FG_VTC_NO_USER: nobody is idle. */
static uint32_t make_place(const struct fg_vtc *vtc, uint64_t user)
{
    struct heap idle = idle_of(vtc);
    if (*idle.count == 0)
        return FG_VTC_NO_USER;
    uint32_t handle = idle.at[0];
    if (vtc->users[handle].is_taken != 0)
        forget(vtc, vtc->users[handle].user);
    take_out(vtc, idle, handle);
    vtc->users[handle] = (struct fg_vtc_user){.user = user, .is_taken = 1};
    push(vtc, idle, handle);
    slots_of(vtc)[slot_of(vtc, user)] = handle + 1;
    return handle;
}

uint32_t fg_vtc_enter(struct fg_vtc *vtc, uint64_t user)
{
    uint32_t held = slots_of(vtc)[slot_of(vtc, user)];
    uint32_t at = held != 0 ? held - 1 : make_place(vtc, user);
    if (at == FG_VTC_NO_USER)
        return at;
    struct fg_vtc_user *place = &vtc->users[at];
    if (place->active++ > 0)
        return at;
    take_out(vtc, idle_of(vtc), at);
    uint64_t least = fg_vtc_least(vtc);
    if (place->counter < least)
        place->counter = least;
    push(vtc, active_of(vtc), at);
    return at;
}

uint64_t fg_vtc_least(const struct fg_vtc *vtc)
{
    struct heap active = active_of(vtc);
    return *active.count > 0 ? vtc->users[active.at[0]].counter : 0;
}

void fg_vtc_leave(struct fg_vtc *vtc, uint32_t handle)
{
    assert(handle < vtc->capacity && vtc->users[handle].active > 0);
    if (--vtc->users[handle].active > 0)
        return;
    take_out(vtc, active_of(vtc), handle);
    push(vtc, idle_of(vtc), handle);
}

void fg_vtc_charge(struct fg_vtc *vtc, uint32_t handle, uint64_t work)
{
    assert(handle < vtc->capacity && vtc->users[handle].active > 0);
    uint64_t *counter = &vtc->users[handle].counter;
    *counter = work > UINT64_MAX - *counter ? UINT64_MAX : *counter + work;
    sift_down(vtc, active_of(vtc), vtc->users[handle].heap_at, handle);
}

uint64_t fg_vtc_counter(const struct fg_vtc *vtc, uint32_t handle)
{
    assert(handle < vtc->capacity);
    return vtc->users[handle].counter;
}
