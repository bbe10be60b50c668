/*
 * kv_users_shared.c: what each user has had of all workers together: one table of virtual token
 * counters (policies/vtc.h) for the machine.
 * Job      enter, leave, charge and read, by handle.
 * Thread   any, under the arena's mutex; each worker writes only its own column of presences.
 * Never    counts somebody present whose worker has died: how many requests of a user are active is
 *          the sum of the workers' columns, and a column goes with its worker. A death within a
 *          critical section can cost a charge, no more.
 * Memory   a place for each of twice sequences_max users; when all are active, further ones are not
 *          counted, and pass for the user who had least.
 *
 *    users      (user_count)                 who, and how much
 *    index      of them, by who and by how much; made anew after a death (policies/vtc.h)
 *    presences  (worker_count, user_count)   active requests of each user in each worker
 */
#include "inference/kv/kv_arena_layout_shared.h"

static uint32_t *presence_of(const struct fg_kv_arena *arena, uint32_t worker_index, uint32_t user)
{
    return &arena->presences[(size_t)worker_index * arena->users.capacity + user];
}

uint32_t fg_kv_arena_user_enter(struct fg_kv_arena *arena, uint32_t worker_index, uint64_t user,
                                uint64_t *work)
{
    fg_kv_lock(arena);
    uint32_t handle = fg_vtc_enter(&arena->users, user);
    fg_kv_point(arena, FG_KV_POINT_USER_ENTERED);
    *work = handle == FG_VTC_NO_USER ? fg_vtc_least(&arena->users)
                                     : fg_vtc_counter(&arena->users, handle);
    if (handle != FG_VTC_NO_USER)
        (*presence_of(arena, worker_index, handle))++;
    fg_kv_unlock(arena);
    return handle;
}

/* One that has been given up by mistake may be gone from the table. */
static bool is_present(const struct fg_kv_arena *arena, uint32_t worker_index, uint32_t user)
{
    return user<arena->users.capacity && * presence_of(arena, worker_index, user)> 0 &&
           arena->users.users[user].active > 0;
}

void fg_kv_arena_user_leave(struct fg_kv_arena *arena, uint32_t worker_index, uint32_t user,
                            uint64_t charge)
{
    fg_kv_lock(arena);
    if (is_present(arena, worker_index, user)) {
        fg_vtc_charge(&arena->users, user, charge);
        (*presence_of(arena, worker_index, user))--;
        fg_kv_point(arena, FG_KV_POINT_USER_LEFT);
        fg_vtc_leave(&arena->users, user);
    }
    fg_kv_unlock(arena);
}

void fg_kv_arena_users_sync(struct fg_kv_arena *arena, uint32_t worker_index,
                            struct fg_kv_user_work *list, uint32_t count)
{
    fg_kv_lock(arena);
    for (uint32_t i = 0; i < count; i++) {
        if (is_present(arena, worker_index, list[i].user))
            fg_vtc_charge(&arena->users, list[i].user, list[i].charge);
    }
    for (uint32_t i = 0; i < count; i++)
        list[i].work = list[i].user < arena->users.capacity
                           ? fg_vtc_counter(&arena->users, list[i].user)
                           : fg_vtc_least(&arena->users);
    fg_kv_unlock(arena);
}

void fg_kv_users_give_up(struct fg_kv_arena *arena, uint32_t worker_index)
{
    for (uint32_t i = 0; i < arena->users.capacity; i++)
        *presence_of(arena, worker_index, i) = 0;
    fg_kv_users_repair(arena);
}

static uint64_t presences_of(const struct fg_kv_arena *arena, uint32_t user)
{
    uint64_t sum = 0;
    for (uint32_t w = 0; w < arena->geometry.worker_count; w++)
        sum += *presence_of(arena, w, user);
    return sum;
}

void fg_kv_users_repair(struct fg_kv_arena *arena)
{
    for (uint32_t i = 0; i < arena->users.capacity; i++)
        arena->users.users[i].active = (uint32_t)presences_of(arena, i);
    fg_vtc_rebuild(&arena->users);
}

const char *fg_kv_users_check(const struct fg_kv_arena *arena)
{
    for (uint32_t i = 0; i < arena->users.capacity; i++) {
        if (arena->users.users[i].active != presences_of(arena, i))
            return "a user's active requests are not those of the workers";
    }
    return fg_vtc_is_sound(&arena->users) ? NULL : "the index of users is not theirs";
}
