/*
 * endpoint.c: the hosts of the cluster as one event loop uses them.
 * Job      take over the shared list when it has changed; choose by policies/balance; pass a host
 *          over that could not be connected to for 50 ms, then twice as long each time up to 1 s.
 * Thread   the owning event loop.
 * Never    looks names up or checks health: resolver.c and health_check.c change the list.
 * Memory   one object a host, and the balancer's tables, made anew when the list changes. A host
 *          that left the list stays until its last connection and request are done.
 */
#include "proxy_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>

#define BACKOFF_FIRST_NS (50 * FG_MS)
#define BACKOFF_MOST_NS FG_S
#define OVERPROVISION_PERMILLE 1400u

/* ---- taking the list over ---- */

static void free_if_done(struct fg_proxy_endpoint *endpoint)
{
    if (endpoint->index != FG_BALANCE_NONE || endpoint->users > 0)
        return;
    fg_list_remove(&endpoint->link);
    SSL_SESSION_free(endpoint->session);
    SSL_CTX_free(endpoint->session_tls);
    fg_hosts_release(&endpoint->thread->proxy->hosts, endpoint->host);
    free(endpoint);
}

void fg_proxy_endpoint_hold(struct fg_proxy_endpoint *endpoint)
{
    endpoint->users++;
}

void fg_proxy_endpoint_release(struct fg_proxy_endpoint *endpoint)
{
    assert(endpoint->users > 0);
    endpoint->users--;
    free_if_done(endpoint);
}

static struct fg_proxy_endpoint *find(struct fg_proxy_thread *thread, const struct fg_host *host)
{
    for (struct fg_list *it = thread->endpoints.next; it != &thread->endpoints; it = it->next) {
        struct fg_proxy_endpoint *endpoint = FG_CONTAINER_OF(it, struct fg_proxy_endpoint, link);
        if (endpoint->host == host)
            return endpoint;
    }
    return NULL;
}

/* The reference to `host` is the endpoint's from here on, or given back. */
static struct fg_proxy_endpoint *take(struct fg_proxy_thread *thread, struct fg_host *host)
{
    struct fg_proxy_endpoint *endpoint = find(thread, host);
    if (endpoint != NULL) {
        fg_hosts_release(&thread->proxy->hosts, host);
        return endpoint;
    }
    endpoint = calloc(1, sizeof(*endpoint));
    if (endpoint == NULL) {
        fg_hosts_release(&thread->proxy->hosts, host);
        return NULL;
    }
    endpoint->thread = thread;
    endpoint->host = host;
    endpoint->metrics = &host->metrics[thread->env.thread_index];
    endpoint->index = FG_BALANCE_NONE;
    fg_list_init(&endpoint->idle);
    fg_list_init(&endpoint->opening);
    fg_list_init(&endpoint->shared);
    fg_list_push_back(&thread->endpoints, &endpoint->link);
    return endpoint;
}

/* Everything the balancer works on, for `count` hosts. */
struct view {
    struct fg_proxy_endpoint **endpoints;
    struct fg_balance_host *hosts;
    uint16_t *order;
    uint16_t *slots;
    struct fg_maglev_host *scratch;
};

static void free_view(struct view *view)
{
    free(view->endpoints);
    free(view->hosts);
    free(view->order);
    free(view->slots);
    free(view->scratch);
}

static bool make_view(struct view *view, size_t count, bool has_hash)
{
    *view = (struct view){
        .endpoints = calloc(count + 1, sizeof(*view->endpoints)),
        .hosts = calloc(count + 1, sizeof(*view->hosts)),
        .order = calloc(count + 1, sizeof(*view->order)),
    };
    bool is_made = view->endpoints != NULL && view->hosts != NULL && view->order != NULL;
    if (has_hash) {
        view->slots = calloc(fg_maglev_slot_count(count), sizeof(*view->slots));
        view->scratch = calloc(count + 1, sizeof(*view->scratch));
        is_made = is_made && view->slots != NULL && view->scratch != NULL;
    }
    if (!is_made)
        free_view(view);
    return is_made;
}

static void set_balance_host(struct fg_balance_host *to, const struct fg_proxy_endpoint *endpoint)
{
    const struct fg_host *host = endpoint->host;
    *to = (struct fg_balance_host){
        .name_hash = host->name_hash,
        .weight = (uint32_t)fg_counter_get(&host->weight),
        .priority = (uint32_t)fg_counter_get(&host->priority),
        .is_healthy = fg_counter_get(&host->is_usable) != 0,
        .is_out = fg_counter_get(&host->is_out) != 0,
        .healthy_since_ns = fg_counter_get(&host->usable_since_ns),
        .in_flight = endpoint->requests,
        .not_before_ns = endpoint->not_before_ns,
    };
}

/* Hosts that are listed no more: their idle connections go, the rest when they are done. */
static void drop_endpoint(struct fg_proxy_endpoint *endpoint)
{
    endpoint->index = FG_BALANCE_NONE;
    fg_proxy_endpoint_hold(endpoint);
    fg_upstreams_close_idle(endpoint);
    fg_proxy_endpoint_release(endpoint);
}

static void install(struct fg_proxy_thread *thread, struct view *view, size_t count)
{
    const struct fg_cluster_conf *conf = &thread->proxy->conf;
    struct view old = {.endpoints = thread->listed,
                       .hosts = thread->balance.hosts,
                       .order = thread->balance.order,
                       .slots = thread->slots};
    size_t old_count = thread->balance.host_count;
    for (size_t i = 0; i < old_count; i++)
        old.endpoints[i]->index = FG_BALANCE_NONE;
    for (size_t i = 0; i < count; i++) {
        view->endpoints[i]->index = i;
        set_balance_host(&view->hosts[i], view->endpoints[i]);
    }
    thread->listed = view->endpoints;
    thread->slots = view->slots;
    const struct fg_balance_conf balance = {
        .kind = conf->balance,
        .panic_permille = conf->panic_permille,
        .overprovision_permille = OVERPROVISION_PERMILLE,
        .hash_load_permille = conf->hash_load_permille,
        .slow_start_ns = conf->slow_start_ns,
    };
    fg_balance_init(&thread->balance, &balance, view->hosts, count, view->order, view->slots,
                    view->scratch);
    free(view->scratch);
    for (size_t i = 0; i < old_count; i++) {
        if (old.endpoints[i]->index == FG_BALANCE_NONE)
            drop_endpoint(old.endpoints[i]);
    }
    free_view(&old);
}

static bool is_same_list(const struct fg_proxy_thread *thread, struct fg_host *const *hosts,
                         size_t count)
{
    if (count != thread->balance.host_count)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct fg_balance_host *host = &thread->balance.hosts[i];
        if (thread->listed[i]->host != hosts[i] ||
            host->weight != fg_counter_get(&hosts[i]->weight) ||
            host->priority != fg_counter_get(&hosts[i]->priority))
            return false;
    }
    return true;
}

static void refresh_health(struct fg_proxy_thread *thread)
{
    for (size_t i = 0; i < thread->balance.host_count; i++) {
        const struct fg_host *host = thread->listed[i]->host;
        thread->balance.hosts[i].is_healthy = fg_counter_get(&host->is_usable) != 0;
        thread->balance.hosts[i].is_out = fg_counter_get(&host->is_out) != 0;
        thread->balance.hosts[i].healthy_since_ns = fg_counter_get(&host->usable_since_ns);
    }
    fg_balance_refresh(&thread->balance);
}

/* False without memory: the old view goes on, and the next choice tries again. */
static bool take_list_over(struct fg_proxy_thread *thread)
{
    struct fg_hosts *shared = &thread->proxy->hosts;
    struct view view;
    struct fg_host **hosts = calloc(shared->conf.hosts_max, sizeof(*hosts));
    if (hosts == NULL)
        return false;
    size_t count = fg_hosts_adopt(shared, hosts, shared->conf.hosts_max);
    bool is_same = is_same_list(thread, hosts, count);
    bool is_taken =
        is_same || make_view(&view, count, thread->proxy->conf.balance == FG_BALANCE_HASH);
    for (size_t i = 0; i < count; i++) {
        if (is_same || !is_taken) {
            fg_hosts_release(shared, hosts[i]);
            continue;
        }
        view.endpoints[i] = take(thread, hosts[i]);
        if (view.endpoints[i] == NULL) {
            free_view(&view);
            is_taken = false;
        }
    }
    if (is_same)
        refresh_health(thread);
    else if (is_taken)
        install(thread, &view, count);
    free(hosts);
    return is_taken;
}

void fg_proxy_endpoints_sync(struct fg_proxy_thread *thread)
{
    uint64_t generation = fg_counter_get(&thread->proxy->hosts.generation);
    if (generation != thread->generation && take_list_over(thread))
        thread->generation = generation;
}

void fg_proxy_endpoints_init(struct fg_proxy_thread *thread)
{
    fg_list_init(&thread->endpoints);
    thread->random = fg_clock_monotonic_ns() ^ (uint64_t)(uintptr_t)thread;
    fg_proxy_endpoints_sync(thread);
}

void fg_proxy_endpoints_fini(struct fg_proxy_thread *thread)
{
    struct view view = {.endpoints = thread->listed,
                        .hosts = thread->balance.hosts,
                        .order = thread->balance.order,
                        .slots = thread->slots};
    FG_LIST_EACH_SAFE(it, after, &thread->endpoints)
    {
        struct fg_proxy_endpoint *endpoint = FG_CONTAINER_OF(it, struct fg_proxy_endpoint, link);
        endpoint->index = FG_BALANCE_NONE;
        assert(endpoint->users == 0);
        free_if_done(endpoint);
    }
    free_view(&view);
}

/* ---- choosing ---- */

uint64_t fg_proxy_random(struct fg_proxy_thread *thread)
{
    thread->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = thread->random;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static bool was_tried(const struct fg_proxy_wish *wish, const struct fg_proxy_endpoint *endpoint)
{
    for (size_t i = 0; i < wish->tried_count; i++) {
        if (wish->tried[i] == endpoint)
            return true;
    }
    return false;
}

static bool is_broken(const struct fg_proxy_endpoint *endpoint)
{
    return fg_counter_get(&endpoint->host->breaker_state) != FG_BREAKER_CLOSED;
}

static bool is_out(const struct fg_proxy_endpoint *endpoint)
{
    return fg_counter_get(&endpoint->host->is_out) != 0;
}

bool fg_proxy_endpoint_has_untried(const struct fg_proxy_thread *thread,
                                   const struct fg_proxy_wish *wish,
                                   const struct fg_proxy_endpoint *but)
{
    for (size_t i = 0; i < thread->balance.host_count; i++) {
        const struct fg_proxy_endpoint *endpoint = thread->listed[i];
        if (endpoint != but && !was_tried(wish, endpoint) && !is_out(endpoint) &&
            fg_counter_get(&endpoint->host->is_usable) != 0)
            return true;
    }
    return false;
}

/* For how long nobody needs to ask the host's breaker; then it wants to know who asks. */
static uint64_t resting_ns(const struct fg_host *host, const struct fg_breaker_config *conf,
                           uint64_t now_ns)
{
    uint64_t until_ns = fg_counter_get(&host->breaker_until_ns);
    bool is_open = fg_counter_get(&host->breaker_state) == FG_BREAKER_OPEN;
    return is_open && now_ns < until_ns && until_ns - now_ns > conf->half_open_interval_ns
               ? until_ns - now_ns
               : 0;
}

/*
 * Breakers that are not closed: is a probe due, and this request the one to be it? Such hosts are
 * not usable, so the balancer does not choose them. *soonest_ns: when one may be asked again.
 */
static struct fg_proxy_endpoint *find_probe(struct fg_proxy_thread *thread,
                                            const struct fg_proxy_wish *wish, uint64_t now_ns,
                                            uint64_t *soonest_ns)
{
    struct fg_hosts *hosts = &thread->proxy->hosts;
    for (size_t i = 0; i < thread->balance.host_count; i++) {
        struct fg_proxy_endpoint *endpoint = thread->listed[i];
        struct fg_host *host = endpoint->host;
        if (!is_broken(endpoint) || is_out(endpoint) || was_tried(wish, endpoint))
            continue;
        uint64_t wait_ns = resting_ns(host, &hosts->conf.breaker, now_ns);
        if (wait_ns == 0 &&
            fg_hosts_try_pass(hosts, host, wish->priority, now_ns, &wait_ns) == FG_BREAKER_PROBE)
            return endpoint;
        if (wait_ns > 0 && wait_ns < *soonest_ns)
            *soonest_ns = wait_ns;
    }
    return NULL;
}

/* With too few healthy hosts the balancer takes any; but not one that is left alone. */
static struct fg_proxy_endpoint *find_closed(struct fg_proxy_thread *thread, size_t from)
{
    size_t count = thread->balance.host_count;
    struct fg_proxy_endpoint *found = NULL;
    for (size_t i = 0; i < count; i++) {
        struct fg_proxy_endpoint *endpoint = thread->listed[(from + i) % count];
        if (is_broken(endpoint) || is_out(endpoint))
            continue;
        if (fg_counter_get(&endpoint->host->is_usable) != 0)
            return endpoint;
        found = found == NULL ? endpoint : found;
    }
    return found;
}

static struct fg_proxy_endpoint *choose(struct fg_proxy_thread *thread,
                                        const struct fg_proxy_wish *wish, uint64_t now_ns)
{
    uint16_t tried[FG_TRIED_MAX];
    struct fg_balance_ask ask = {
        .now_ns = now_ns,
        .random = fg_proxy_random(thread),
        .has_key = wish->has_key,
        .key_hash = wish->key_hash,
        .tried = tried,
    };
    for (size_t i = 0; i < wish->tried_count; i++) {
        if (wish->tried[i]->index != FG_BALANCE_NONE)
            tried[ask.tried_count++] = (uint16_t)wish->tried[i]->index;
    }
    size_t index = fg_balance_pick(&thread->balance, &ask);
    return index == FG_BALANCE_NONE ? NULL : thread->listed[index];
}

struct fg_proxy_endpoint *fg_proxy_endpoint_pick(struct fg_proxy_thread *thread,
                                                 const struct fg_proxy_wish *wish, uint64_t now_ns,
                                                 bool *is_probe, uint64_t *retry_after_ns)
{
    struct fg_hosts *hosts = &thread->proxy->hosts;
    *is_probe = false;
    *retry_after_ns = 0;
    fg_proxy_endpoints_sync(thread);
    bool has_broken = fg_counter_get(&hosts->broken_count) > 0;
    uint64_t soonest_ns = UINT64_MAX;
    if (has_broken && !hosts->conf.is_breaker_shadow) {
        struct fg_proxy_endpoint *probed = find_probe(thread, wish, now_ns, &soonest_ns);
        *is_probe = probed != NULL;
        if (probed != NULL)
            return probed;
    }
    struct fg_proxy_endpoint *chosen = choose(thread, wish, now_ns);
    if (chosen == NULL || !is_broken(chosen))
        return chosen;
    if (hosts->conf.is_breaker_shadow) {
        uint64_t wait_ns = 0;
        *is_probe = fg_hosts_try_pass(hosts, chosen->host, wish->priority, now_ns, &wait_ns) ==
                    FG_BREAKER_PROBE;
        if (!*is_probe && find_closed(thread, chosen->index) == NULL)
            *retry_after_ns = wait_ns == 0 ? FG_S : wait_ns;
        return chosen;
    }
    struct fg_proxy_endpoint *closed = find_closed(thread, chosen->index);
    if (closed == NULL)
        *retry_after_ns = soonest_ns == UINT64_MAX ? FG_S : soonest_ns;
    return closed;
}

void fg_proxy_endpoint_started(struct fg_proxy_endpoint *endpoint)
{
    fg_proxy_endpoint_hold(endpoint);
    endpoint->requests++;
    if (endpoint->index != FG_BALANCE_NONE)
        fg_balance_started(&endpoint->thread->balance, endpoint->index);
}

void fg_proxy_endpoint_ended(struct fg_proxy_endpoint *endpoint)
{
    endpoint->requests--;
    if (endpoint->index != FG_BALANCE_NONE)
        fg_balance_ended(&endpoint->thread->balance, endpoint->index);
    fg_proxy_endpoint_release(endpoint);
}

static void rest_until(struct fg_proxy_endpoint *endpoint, uint64_t not_before_ns)
{
    endpoint->not_before_ns = not_before_ns;
    if (endpoint->index != FG_BALANCE_NONE)
        endpoint->thread->balance.hosts[endpoint->index].not_before_ns = not_before_ns;
}

void fg_proxy_endpoint_note_connected(struct fg_proxy_endpoint *endpoint)
{
    if (endpoint->connect_failures == 0 && fg_counter_get(&endpoint->host->is_failing) == 0)
        return;
    endpoint->connect_failures = 0;
    rest_until(endpoint, 0);
    fg_counter_set(&endpoint->host->is_failing, 0);
}

void fg_proxy_endpoint_note_failed(struct fg_proxy_endpoint *endpoint)
{
    struct fg_proxy_thread *thread = endpoint->thread;
    uint64_t now_ns = fg_clock_monotonic_ns();
    unsigned doublings = endpoint->connect_failures < 5 ? endpoint->connect_failures : 5;
    uint64_t backoff_ns = BACKOFF_FIRST_NS << doublings;
    rest_until(endpoint, now_ns + (backoff_ns < BACKOFF_MOST_NS ? backoff_ns : BACKOFF_MOST_NS));
    endpoint->connect_failures++;
    fg_counter_set(&endpoint->host->is_failing, 1);
    fg_counter_add_owned(&endpoint->metrics->connect_errors, 1);
    fg_counter_add_owned(&thread->metrics->connect_errors, 1);
    fg_counter_set(&thread->proxy->is_lookup_wanted, 1);
}
