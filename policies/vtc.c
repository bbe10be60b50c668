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
 * Never    overflows in practice: 2^64 tokens. Charging saturates all the same.
 */
#include "policies/vtc.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

void fg_vtc_init(struct fg_vtc *vtc, struct fg_vtc_user *users, uint32_t capacity)
{
    assert(capacity > 0);
    memset(users, 0, capacity * sizeof(*users));
    *vtc = (struct fg_vtc){users, capacity};
}

/* The place of `user`, else a free one, else that of the idle user who had least. */
static uint32_t place_for(const struct fg_vtc *vtc, uint64_t user, bool *is_known)
{
    uint32_t best = UINT32_MAX;
    *is_known = false;
    for (uint32_t i = 0; i < vtc->capacity; i++) {
        const struct fg_vtc_user *it = &vtc->users[i];
        if (it->is_taken != 0 && it->user == user) {
            *is_known = true;
            return i;
        }
        if (it->active > 0)
            continue;
        if (best == UINT32_MAX || it->is_taken < vtc->users[best].is_taken ||
            (it->is_taken == vtc->users[best].is_taken && it->counter < vtc->users[best].counter))
            best = i;
    }
    return best;
}

/* Of those who are active; false when nobody is. */
static bool least_active(const struct fg_vtc *vtc, uint64_t *least)
{
    bool is_found = false;
    for (uint32_t i = 0; i < vtc->capacity; i++) {
        const struct fg_vtc_user *it = &vtc->users[i];
        if (it->active == 0 || (is_found && it->counter >= *least))
            continue;
        *least = it->counter;
        is_found = true;
    }
    return is_found;
}

uint32_t fg_vtc_enter(struct fg_vtc *vtc, uint64_t user)
{
    bool is_known;
    uint64_t least = 0;
    uint32_t at = place_for(vtc, user, &is_known);
    if (at == UINT32_MAX)
        return FG_VTC_NO_USER;
    struct fg_vtc_user *place = &vtc->users[at];
    if (!is_known)
        *place = (struct fg_vtc_user){.user = user, .is_taken = 1};
    if (place->active == 0 && least_active(vtc, &least) && place->counter < least)
        place->counter = least;
    place->active++;
    return at;
}

uint64_t fg_vtc_least(const struct fg_vtc *vtc)
{
    uint64_t least = 0;
    return least_active(vtc, &least) ? least : 0;
}

void fg_vtc_leave(struct fg_vtc *vtc, uint32_t handle)
{
    assert(handle < vtc->capacity && vtc->users[handle].active > 0);
    vtc->users[handle].active--;
}

void fg_vtc_charge(struct fg_vtc *vtc, uint32_t handle, uint64_t work)
{
    assert(handle < vtc->capacity && vtc->users[handle].active > 0);
    uint64_t *counter = &vtc->users[handle].counter;
    *counter = work > UINT64_MAX - *counter ? UINT64_MAX : *counter + work;
}

uint64_t fg_vtc_counter(const struct fg_vtc *vtc, uint32_t handle)
{
    assert(handle < vtc->capacity);
    return vtc->users[handle].counter;
}
