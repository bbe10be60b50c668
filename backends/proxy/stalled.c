/*
 * stalled.c: answers whose clients take nothing, and bodies of which they send nothing, while
 *            others wait for a connection, or the process runs out of them.
 * Job      count the paused answers of each client; look now and then at each of them, and let it
 *          go when policies/give_way says so; give a client that has its share no further
 *          connection while there are few. A body that stands still counts as such an answer.
 * Thread   the owning event loop; shares are divided among the loops.
 * Never    lets a tunnel go, or one whose client takes 4 KiB now and then; minds whose answers are
 *          unread while connections are plenty.
 *
 *    paused --patience / 2 or 4--> looked at --+--> paused
 *       `-- the client takes more --> goes on   `-- others wait, or short --> let go
 */
#include "proxy_internal.h"

#include "backends/client_owner.h"
#include "base/clock.h"

#include <sys/random.h>

#define UPLOAD_PROGRESS_BYTES 4096u /* of a body: it gets on */

static const struct fg_give_way *law_of(const struct fg_proxy_thread *thread)
{
    return &thread->proxy->limits.give_way;
}

/* ---- whose answers are unread ---- */

uint64_t fg_proxy_request_owner(struct fg_proxy_request *request)
{
    if (request->owner == 0 && request->pinned == NULL)
        request->owner = fg_client_owner(&request->thread->owner_key, request->ex->client_addr);
    return request->owner;
}

uint32_t fg_stalled_held(struct fg_proxy_request *request)
{
    return fg_crowd_count(&request->thread->stalled, fg_proxy_request_owner(request));
}

void fg_stalled_forget(struct fg_proxy_request *request)
{
    fg_timeout_list_clear(&request->stall_look);
    if (!request->is_stall_counted)
        return;
    request->is_stall_counted = false;
    fg_crowd_remove(&request->thread->stalled, request->owner);
}

bool fg_stalled_is_short(const struct fg_proxy_thread *thread)
{
    return fg_pressure_is_short(thread->env.pressure);
}

bool fg_stalled_admits(struct fg_proxy_request *request)
{
    return request->pinned != NULL ||
           fg_give_way_admits(law_of(request->thread), fg_stalled_held(request));
}

/* ---- looking ---- */

static void count_stalled(struct fg_proxy_request *request)
{
    if (request->is_stall_counted || fg_proxy_request_owner(request) == 0)
        return;
    request->is_stall_counted = true;
    fg_crowd_add(&request->thread->stalled, request->owner);
}

static void mark_upload(struct fg_proxy_request *request)
{
    request->upload_mark = request->body_received;
    request->upload_since_ns = fg_clock_monotonic_ns();
}

/* 0: it gets on, or it is not for the client to go on. */
static uint64_t stalled_since(struct fg_proxy_request *request)
{
    if (request->is_paused)
        return fg_exchange_stalled_since(request->ex);
    if (!fg_proxy_request_is_upload(request) ||
        request->body_received - request->upload_mark >= UPLOAD_PROGRESS_BYTES) {
        mark_upload(request);
        return 0;
    }
    count_stalled(request);
    return request->upload_since_ns;
}

static void on_look(struct fg_timeout_entry *entry)
{
    struct fg_proxy_request *request = FG_CONTAINER_OF(entry, struct fg_proxy_request, stall_look);
    struct fg_proxy_thread *thread = request->thread;
    if (!request->is_paused && (request->is_body_complete || request->answering != NULL)) {
        fg_stalled_forget(request);
        return;
    }
    uint64_t since_ns = stalled_since(request);
    const struct fg_give_way_need need = {.is_short = fg_stalled_is_short(thread),
                                          .held = fg_stalled_held(request)};
    if (!fg_cluster_limits_give_way(&thread->proxy->limits, fg_clock_monotonic_ns(), since_ns,
                                    need)) {
        fg_timeout_list_set(&thread->stall_looks, entry);
        return;
    }
    fg_counter_add_owned(&request->metrics->gave_way, 1);
    if (need.held > law_of(thread)->share)
        fg_counter_add_owned(&request->metrics->share_cut, 1);
    fg_proxy_request_fail(request, FG_FAILURE_SLOW_CLIENT,
                          "its client did not go on while connections were short");
}

void fg_stalled_watch(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    if (thread->stall_looks.duration_ns == 0 || request->is_tunnel)
        return;
    if (fg_list_is_empty(&request->stall_look.link))
        fg_timeout_list_set(&thread->stall_looks, &request->stall_look);
    count_stalled(request);
}

void fg_stalled_watch_upload(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    if (thread->stall_looks.duration_ns == 0 || request->answering != NULL ||
        !fg_list_is_empty(&request->stall_look.link))
        return;
    mark_upload(request);
    fg_timeout_list_set(&thread->stall_looks, &request->stall_look);
}

/* ---- a loop's part ---- */

bool fg_stalled_init(struct fg_proxy_thread *thread)
{
    struct fg_siphash_key *key = &thread->owner_key;
    fg_timeout_list_init(&thread->stall_looks, thread->env.base, &thread->clock,
                         fg_give_way_look_ns(law_of(thread)), on_look);
    return getrandom(key, sizeof(*key), 0) == sizeof(*key);
}

void fg_stalled_fini(struct fg_proxy_thread *thread)
{
    fg_timeout_list_fini(&thread->stall_looks);
}
