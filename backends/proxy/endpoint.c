/*
 * endpoint.c: which server a request goes to, and under which addresses it is known.
 * Job      smooth weighted round robin; an endpoint that cannot be connected to is passed over for
 *          50 ms, then twice as long each time up to 1 s, while there are others.
 * Thread   start-up for targets; the event loop for the rest; getaddrinfo runs in the helper pool.
 * Never    looks a name up on an event loop.
 * Memory   fixed, but for one job while a name is looked up; the job outlives the loop's state.
 * Source   smooth weighted round robin as in nginx, ngx_http_upstream_get_peer.
 */
#include "proxy_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#define BACKOFF_FIRST_NS (50 * FG_MS)
#define BACKOFF_MOST_NS FG_S
#define RESOLVE_AFTER_FAILURES 2u
#define RESOLVE_PAUSE_NS FG_S

/* A name on its way through the helper pool. */
struct fg_resolve_job {
    struct fg_helper_job job;           /* first */
    struct fg_proxy_endpoint *endpoint; /* NULL: nobody waits any more */
    char host[256];
    char port[8];
    struct fg_address addresses[FG_ADDRESSES_MAX];
    size_t address_count;
};

/* ---- addresses ---- */

size_t fg_endpoint_resolve(const char *host, const char *port,
                           struct fg_address addresses[FG_ADDRESSES_MAX])
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    size_t count = 0;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        return 0;
    for (struct addrinfo *it = found; it != NULL && count < FG_ADDRESSES_MAX; it = it->ai_next) {
        if (it->ai_addrlen > sizeof(addresses[0].storage))
            continue;
        memcpy(&addresses[count].storage, it->ai_addr, it->ai_addrlen);
        addresses[count].len = it->ai_addrlen;
        count++;
    }
    freeaddrinfo(found);
    return count;
}

static bool set_unix(struct fg_endpoint_target *target, const char *path)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&target->addresses[0].storage;
    size_t len = strlen(path);
    if (len < 2 || path[0] != '/' || len >= sizeof(address->sun_path))
        return false;
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, len + 1);
    target->addresses[0].len = sizeof(*address);
    target->address_count = 1;
    target->is_unix = true;
    return true;
}

/* "host:port" or "[v6]:port". */
static bool split_host_port(struct fg_endpoint_target *target, const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port = 0;
    if (colon == NULL || !fg_span_parse_u64(fg_span_from_string(colon + 1), &port) || port == 0 ||
        port > 65535)
        return false;
    struct fg_span host = fg_span_make(text, (size_t)(colon - text));
    if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = fg_span_make(host.data + 1, host.len - 2);
    else if (memchr(host.data, ':', host.len) != NULL)
        return false;
    if (host.len == 0 || host.len >= sizeof(target->host))
        return false;
    memcpy(target->host, host.data, host.len);
    target->host[host.len] = '\0';
    snprintf(target->port, sizeof(target->port), "%u", (unsigned)port);
    return true;
}

bool fg_endpoint_target_init(struct fg_endpoint_target *target, const char *text,
                             struct fg_error *error)
{
    *target = (struct fg_endpoint_target){.text = text};
    if (strncmp(text, "unix:", 5) == 0 ? !set_unix(target, text + 5)
                                       : !split_host_port(target, text)) {
        (void)fg_error_set(error,
                           "endpoint \"%s\" is no address; expected host:port, [IPv6]:port or "
                           "unix:/path",
                           text);
        return false;
    }
    if (target->is_unix)
        return true;
    unsigned char numeric[sizeof(struct in6_addr)];
    target->is_name = inet_pton(AF_INET, target->host, numeric) != 1 &&
                      inet_pton(AF_INET6, target->host, numeric) != 1;
    target->address_count = fg_endpoint_resolve(target->host, target->port, target->addresses);
    if (target->address_count == 0) {
        fg_counter_set(&target->is_failing, 1);
        fg_log(FG_LOG_WARN, "endpoint_unresolved", "endpoint=%s", text);
    }
    return true;
}

/* ---- looking a name up again ---- */

static void resolve_in_helper(struct fg_helper_job *job)
{
    struct fg_resolve_job *resolve = (struct fg_resolve_job *)job;
    resolve->address_count = fg_endpoint_resolve(resolve->host, resolve->port, resolve->addresses);
}

static void on_resolved(struct fg_message *message)
{
    struct fg_resolve_job *resolve = FG_CONTAINER_OF(message, struct fg_resolve_job, job.message);
    struct fg_proxy_endpoint *endpoint = resolve->endpoint;
    if (endpoint != NULL) {
        endpoint->resolving = NULL;
        endpoint->resolve_at_ns = fg_clock_monotonic_ns() + RESOLVE_PAUSE_NS;
        if (resolve->address_count > 0) {
            memcpy(endpoint->addresses, resolve->addresses, sizeof(endpoint->addresses));
            endpoint->address_count = resolve->address_count;
            endpoint->address_index = 0;
        }
    }
    free(resolve);
}

static void resolve_again(struct fg_proxy_thread *thread, struct fg_proxy_endpoint *endpoint,
                          uint64_t now_ns)
{
    const struct fg_endpoint_target *target = endpoint->target;
    if (!target->is_name || thread->env.helper == NULL || endpoint->resolving != NULL ||
        now_ns < endpoint->resolve_at_ns)
        return;
    struct fg_resolve_job *resolve = calloc(1, sizeof(*resolve));
    if (resolve == NULL)
        return;
    resolve->job.message.run = on_resolved;
    resolve->job.work = resolve_in_helper;
    resolve->job.reply_to = thread->env.mailbox;
    resolve->endpoint = endpoint;
    memcpy(resolve->host, target->host, sizeof(resolve->host));
    memcpy(resolve->port, target->port, sizeof(resolve->port));
    if (fg_helper_pool_try_submit(thread->env.helper, &resolve->job) != FG_OK) {
        free(resolve);
        return;
    }
    endpoint->resolving = resolve;
    fg_counter_add_owned(&thread->metrics->resolves, 1);
}

/* ---- choosing ---- */

void fg_proxy_endpoints_init(struct fg_proxy_thread *thread)
{
    struct fg_proxy *proxy = thread->proxy;
    for (size_t i = 0; i < thread->endpoint_count; i++) {
        struct fg_proxy_endpoint *endpoint = &thread->endpoints[i];
        struct fg_endpoint_target *target = &proxy->targets[i];
        size_t first = thread->env.thread_index * proxy->conf.endpoint_count;
        endpoint->target = target;
        endpoint->metrics = &proxy->endpoint_metrics[first + i];
        endpoint->weight = proxy->conf.endpoints[i].weight;
        memcpy(endpoint->addresses, target->addresses, sizeof(endpoint->addresses));
        endpoint->address_count = target->address_count;
        fg_list_init(&endpoint->idle);
    }
}

void fg_proxy_endpoints_fini(struct fg_proxy_thread *thread)
{
    for (size_t i = 0; i < thread->endpoint_count; i++) {
        if (thread->endpoints[i].resolving != NULL)
            thread->endpoints[i].resolving->endpoint = NULL; /* freed when its answer comes */
    }
}

struct fg_proxy_endpoint *fg_proxy_endpoint_pick(struct fg_proxy_thread *thread, uint64_t now_ns)
{
    struct fg_proxy_endpoint *best = NULL;
    struct fg_proxy_endpoint *soonest = &thread->endpoints[0];
    int64_t total = 0;
    for (size_t i = 0; i < thread->endpoint_count; i++) {
        struct fg_proxy_endpoint *endpoint = &thread->endpoints[i];
        if (endpoint->retry_at_ns < soonest->retry_at_ns)
            soonest = endpoint;
        if (endpoint->retry_at_ns > now_ns)
            continue;
        endpoint->turn += endpoint->weight;
        total += endpoint->weight;
        if (best == NULL || endpoint->turn > best->turn)
            best = endpoint;
    }
    if (best == NULL)
        return soonest;
    best->turn -= total;
    return best;
}

void fg_proxy_endpoint_note_connected(struct fg_proxy_endpoint *endpoint)
{
    endpoint->failures = 0;
    endpoint->retry_at_ns = 0;
    fg_counter_set(&endpoint->target->is_failing, 0);
}

void fg_proxy_endpoint_note_failed(struct fg_proxy_thread *thread,
                                   struct fg_proxy_endpoint *endpoint)
{
    uint64_t now_ns = fg_clock_monotonic_ns();
    unsigned doublings = endpoint->failures < 5 ? endpoint->failures : 5;
    uint64_t backoff_ns = BACKOFF_FIRST_NS << doublings;
    endpoint->retry_at_ns = now_ns + (backoff_ns < BACKOFF_MOST_NS ? backoff_ns : BACKOFF_MOST_NS);
    endpoint->failures++;
    endpoint->address_index++;
    fg_counter_set(&endpoint->target->is_failing, 1);
    fg_counter_add_owned(&endpoint->metrics->connect_errors, 1);
    fg_counter_add_owned(&thread->metrics->connect_errors, 1);
    if (endpoint->failures >= RESOLVE_AFTER_FAILURES || endpoint->address_count == 0)
        resolve_again(thread, endpoint, now_ns);
}
