/*
 * stalled.c: answers whose clients take nothing, while others wait for a connection, or the process
 *            runs out of them.
 * Job      look now and then at each exchange that is paused; let it go when policies/give_way says
 *          so.
 * Thread   the owning event loop.
 * Never    looks at a tunnel, or lets one go whose client takes 4 KiB now and then.
 *
 *    paused --a quarter of slow_reader_max--> looked at --+--> paused
 *       `-- the client takes more --> goes on              `-- others wait, or short --> let go
 */
#include "proxy_internal.h"

#include "base/clock.h"

#define LOOKS 4u /* in slow_reader_max: so much later at most it is noticed */

static void on_look(struct fg_timeout_entry *entry)
{
    struct fg_proxy_request *request = FG_CONTAINER_OF(entry, struct fg_proxy_request, stall_look);
    struct fg_proxy_thread *thread = request->thread;
    if (!request->is_paused || request->is_tunnel)
        return;
    bool is_short = fg_pressure_asks(thread->env.pressure, FG_OVERLOAD_ADDRESS_SHARE);
    if (!fg_cluster_limits_give_way(&thread->proxy->limits, fg_clock_monotonic_ns(),
                                    fg_exchange_stalled_since(request->ex), is_short)) {
        fg_timeout_list_set(&thread->stall_looks, entry);
        return;
    }
    fg_counter_add_owned(&request->metrics->gave_way, 1);
    fg_proxy_request_fail(request, FG_FAILURE_SLOW_CLIENT,
                          "its client took nothing while connections were short");
}

void fg_stalled_init(struct fg_proxy_thread *thread)
{
    fg_timeout_list_init(&thread->stall_looks, thread->env.base,
                         thread->proxy->conf.slow_reader_max_ns / LOOKS + 1, on_look);
}

void fg_stalled_fini(struct fg_proxy_thread *thread)
{
    fg_timeout_list_fini(&thread->stall_looks);
}

void fg_stalled_watch(struct fg_proxy_request *request)
{
    if (request->thread->proxy->conf.slow_reader_max_ns > 0)
        fg_timeout_list_set(&request->thread->stall_looks, &request->stall_look);
}
