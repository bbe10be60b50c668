/*
 * resolver.c: asks DNS again when the answer's time to live is over, or when connects fail.
 * Job      A and AAAA by evdns, which tells the time to live; what does not fit a datagram, from
 *          the configured servers by TCP in a helper thread; where evdns finds nothing, the
 *          system's own lookup there, which also knows the hosts file, but not in place of
 *          configured servers that have once known the name: the system may know another one.
 *          What is found becomes the endpoint's hosts; when nothing is, the old ones stay, and when
 *          one of the two questions had no answer (in FAMILY_LAG_NS behind the other's), the old
 *          ones of that family.
 * Thread   the first event loop; getaddrinfo in the helper pool.
 * Never    blocks; asks for a name twice at once; forgets addresses because DNS is down.
 * Trusts   the servers that it asks, for what they say and that they do not flood us: evdns reads
 *          its socket until it is empty. What comes from any other address costs a read a turn, and
 *          one that forges theirs has a port and an id to guess. It reads faster than a machine
 *          sends by itself: 130,000 datagrams a second over the loopback delay nobody.
 * Memory   one object a name, fixed; a job in the helper pool outlives the loop's state if it must.
 *
 *    due --evdns--> addresses --> fg_hosts_replace, due in clamp(ttl)
 *           |-- cut off --helper, TCP--> the same
 *           `-- none --helper--> addresses --> the same, due in ttl_max
 *                         `-- none --> due in LOOKUP_PAUSE_NS
 */
#include "proxy/resolver.h"

#include "proxy_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "proxy/dns_tcp.h"

#include <event2/dns.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define TICK_NS FG_S /* at most; then failed connects are noticed */
#define TICK_LEAST_NS (20 * FG_MS)
#define FAMILY_LAG_NS FG_S   /* the other family is waited for so long, once one is there */
#define LOOKUP_PAUSE_NS FG_S /* between two lookups of a name that connects or DNS failed for */

struct lookup;

/* A name on its way through the helper pool. */
struct helper_job {
    struct fg_helper_job job; /* first */
    struct lookup *lookup;    /* NULL: nobody waits any more */
    struct fg_endpoint_target target;
    const struct fg_cluster_conf
        *servers; /* to ask by TCP; NULL: the system's lookup. Outlives it */
    uint64_t ttl_s;
    struct fg_address addresses[FG_ADDRESSES_MAX];
    size_t address_count;
};

struct lookup {
    struct fg_resolver *resolver;
    const struct fg_endpoint_target *target;
    unsigned source; /* of the hosts: the endpoint's index */
    uint64_t due_ns;
    uint64_t asked_ns;
    unsigned pending;                 /* answers of evdns that are still to come */
    struct evdns_request *v4_request; /* NULL: none is under way */
    struct evdns_request *v6_request;
    bool has_v4_failed; /* nobody could say */
    bool has_v6_failed;
    bool is_trouble_told; /* that it is not found, or finds too many */
    bool is_cut_off;      /* there is more than a datagram holds */
    bool is_from_dns;     /* what is known; else from the system's lookup */
    uint64_t ttl_s;       /* the shortest */
    struct helper_job *helper;
    struct fg_address addresses[FG_ADDRESSES_MAX];
    size_t address_count;
    struct fg_address known[FG_ADDRESSES_MAX]; /* the hosts that the name has */
    size_t known_count;
};

struct fg_resolver {
    struct fg_proxy_thread *thread;
    struct evdns_base *dns; /* NULL: the helper alone */
    struct event *timer;
    size_t lookup_count;
    struct lookup lookups[];
};

/* ---- the timer ---- */

static void arm(struct fg_resolver *resolver, uint64_t now_ns)
{
    uint64_t wait_ns = TICK_NS;
    for (size_t i = 0; i < resolver->lookup_count; i++) {
        uint64_t due_ns = resolver->lookups[i].due_ns;
        if (due_ns < now_ns + wait_ns)
            wait_ns = due_ns < now_ns + TICK_LEAST_NS ? TICK_LEAST_NS : due_ns - now_ns;
    }
    const struct timeval wait = {.tv_sec = (time_t)(wait_ns / FG_S),
                                 .tv_usec = (suseconds_t)(wait_ns % FG_S / FG_US)};
    event_add(resolver->timer, &wait);
}

/* ---- an answer ---- */

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static bool install(struct lookup *lookup, const struct fg_address *addresses, size_t count)
{
    struct fg_proxy *proxy = lookup->resolver->thread->proxy;
    struct fg_host_spec *specs = calloc(count, sizeof(*specs));
    if (specs == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        fg_endpoint_spec(lookup->target, &addresses[i], &specs[i]);
    enum fg_status status =
        fg_hosts_replace(&proxy->hosts, lookup->source, specs, count, fg_clock_monotonic_ns());
    free(specs);
    if (status == FG_OK) {
        memcpy(lookup->known, addresses, count * sizeof(*addresses));
        lookup->known_count = count;
    } else if (!lookup->is_trouble_told) {
        fg_log(FG_LOG_WARN, "endpoint_addresses_dropped",
               "cluster=%s endpoint=%s addresses=%zu reason=%s", proxy->base.name,
               lookup->target->text, count, fg_status_name(status));
    }
    lookup->is_trouble_told = status != FG_OK;
    return status == FG_OK;
}

/* What it was is kept, and the name asked for again each second: that is told once. */
static void note_unresolved(struct lookup *lookup)
{
    if (!lookup->is_trouble_told)
        fg_log(FG_LOG_WARN, "endpoint_unresolved", "cluster=%s endpoint=%s",
               lookup->resolver->thread->proxy->base.name, lookup->target->text);
    lookup->is_trouble_told = true;
}

static void settle(struct lookup *lookup, const struct fg_address *addresses, size_t count,
                   uint64_t ttl_ns)
{
    const struct fg_cluster_conf *conf = &lookup->resolver->thread->proxy->conf;
    uint64_t pause_ns = LOOKUP_PAUSE_NS;
    if (count > 0 && install(lookup, addresses, count))
        pause_ns = clamp(ttl_ns, conf->dns_ttl_min_ns, conf->dns_ttl_max_ns);
    else if (count == 0)
        note_unresolved(lookup);
    uint64_t now_ns = fg_clock_monotonic_ns();
    lookup->due_ns = now_ns + pause_ns;
    arm(lookup->resolver, now_ns);
}

/* ---- addresses ---- */

static struct fg_address make_v4(uint16_t port, const void *bytes)
{
    struct fg_address address = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address.storage;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    memcpy(&v4->sin_addr, bytes, sizeof(v4->sin_addr));
    return address;
}

static struct fg_address make_v6(uint16_t port, const void *bytes)
{
    struct fg_address address = {.len = sizeof(struct sockaddr_in6)};
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address.storage;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    memcpy(&v6->sin6_addr, bytes, sizeof(v6->sin6_addr));
    return address;
}

/* ---- in a helper thread ---- */

static void add_to_job(struct helper_job *job, const struct fg_address *address, uint32_t ttl_s)
{
    if (job->address_count < FG_ADDRESSES_MAX && fg_address_is_of_host(address))
        job->addresses[job->address_count++] = *address;
    if (ttl_s < job->ttl_s)
        job->ttl_s = ttl_s;
}

static void add_v4(void *arg, const void *bytes, uint32_t ttl_s)
{
    struct helper_job *job = arg;
    const struct fg_address address = make_v4(job->target.port, bytes);
    add_to_job(job, &address, ttl_s);
}

static void add_v6(void *arg, const void *bytes, uint32_t ttl_s)
{
    struct helper_job *job = arg;
    const struct fg_address address = make_v6(job->target.port, bytes);
    add_to_job(job, &address, ttl_s);
}

/* The first server that answers both questions. */
static void ask_by_tcp(struct helper_job *job)
{
    const char *host = job->target.host;
    for (size_t i = 0; i < job->servers->dns_server_count; i++) {
        const char *server = job->servers->dns_servers[i];
        job->address_count = 0;
        job->ttl_s = UINT32_MAX;
        if (fg_dns_tcp_ask(server, host, FG_DNS_A, add_v4, job) &&
            fg_dns_tcp_ask(server, host, FG_DNS_AAAA, add_v6, job))
            return;
    }
    job->address_count = 0;
}

static void look_up_in_helper(struct fg_helper_job *base)
{
    struct helper_job *job = (struct helper_job *)base;
    if (job->servers != NULL)
        ask_by_tcp(job);
    else
        job->address_count = fg_endpoint_lookup(&job->target, job->addresses);
}

static void on_helper_done(struct fg_message *message)
{
    struct helper_job *job = (struct helper_job *)message;
    struct lookup *lookup = job->lookup;
    if (lookup != NULL) {
        lookup->helper = NULL;
        lookup->is_from_dns =
            job->servers != NULL || (lookup->is_from_dns && job->address_count == 0);
        settle(lookup, job->addresses, job->address_count, job->ttl_s * FG_S);
    }
    free(job);
}

static void ask_helper(struct lookup *lookup)
{
    struct fg_proxy_thread *thread = lookup->resolver->thread;
    struct helper_job *job = thread->env.helper == NULL ? NULL : calloc(1, sizeof(*job));
    if (job == NULL) {
        settle(lookup, NULL, 0, 0);
        return;
    }
    const struct fg_cluster_conf *conf = &thread->proxy->conf;
    job->target = *lookup->target;
    job->servers = lookup->is_cut_off && conf->dns_server_count > 0 ? conf : NULL;
    job->ttl_s = UINT32_MAX;
    job->lookup = lookup;
    job->job.message.run = on_helper_done;
    job->job.work = look_up_in_helper;
    job->job.reply_to = thread->env.mailbox;
    if (fg_helper_pool_try_look_up(thread->env.helper, &job->job) != FG_OK) {
        free(job);
        settle(lookup, NULL, 0, 0);
        return;
    }
    lookup->helper = job;
}

/* ---- DNS ---- */

static void add_address(struct lookup *lookup, const struct fg_address *address)
{
    if (lookup->address_count < FG_ADDRESSES_MAX && fg_address_is_of_host(address))
        lookup->addresses[lookup->address_count++] = *address;
}

/* Of a family that nobody could say anything about, beside one that was answered. */
static void keep_known(struct lookup *lookup, int family)
{
    for (size_t i = 0; i < lookup->known_count; i++) {
        if (lookup->known[i].storage.ss_family != family)
            continue;
        add_address(lookup, &lookup->known[i]);
        lookup->ttl_s = 0; /* asked again soon */
    }
}

/* One of the answers is here, or what stands for one. */
static void take_answer(struct lookup *lookup)
{
    if (--lookup->pending > 0)
        return;
    const struct fg_cluster_conf *conf = &lookup->resolver->thread->proxy->conf;
    if (lookup->is_cut_off) {
        ask_helper(lookup);
        return;
    }
    if (lookup->address_count > 0 && lookup->has_v4_failed)
        keep_known(lookup, AF_INET);
    if (lookup->address_count > 0 && lookup->has_v6_failed)
        keep_known(lookup, AF_INET6);
    if (lookup->address_count > 0) {
        lookup->is_from_dns = true;
        settle(lookup, lookup->addresses, lookup->address_count, lookup->ttl_s * FG_S);
    } else if (conf->dns_server_count > 0 && lookup->is_from_dns) {
        settle(lookup, NULL, 0, 0);
    } else {
        ask_helper(lookup);
    }
}

/* That there are none is an answer. */
static bool has_failed(int result)
{
    return result != DNS_ERR_NONE && result != DNS_ERR_NOTEXIST && result != DNS_ERR_NODATA;
}

static void take_family(struct lookup *lookup, int family, int result, int count, int ttl,
                        const void *bytes)
{
    uint16_t port = lookup->target->port;
    lookup->is_cut_off |= result == DNS_ERR_TRUNCATED;
    for (int i = 0; result == DNS_ERR_NONE && i < count; i++) {
        const char *at = (const char *)bytes + (size_t)i * (family == AF_INET ? 4 : 16);
        struct fg_address address = family == AF_INET ? make_v4(port, at) : make_v6(port, at);
        add_address(lookup, &address);
    }
    uint64_t ttl_s = ttl < 0 ? 0 : (uint64_t)ttl;
    if (result == DNS_ERR_NONE && count > 0 && ttl_s < lookup->ttl_s)
        lookup->ttl_s = ttl_s;
    take_answer(lookup);
}

static void on_v4_answer(int result, char type, int count, int ttl, void *addresses, void *arg)
{
    struct lookup *lookup = arg;
    (void)type; /* a failure has none */
    lookup->v4_request = NULL;
    lookup->has_v4_failed = has_failed(result);
    take_family(lookup, AF_INET, result, count, ttl, addresses);
}

static void on_v6_answer(int result, char type, int count, int ttl, void *addresses, void *arg)
{
    struct lookup *lookup = arg;
    (void)type;
    lookup->v6_request = NULL;
    lookup->has_v6_failed = has_failed(result);
    take_family(lookup, AF_INET6, result, count, ttl, addresses);
}

static void look_up(struct lookup *lookup, uint64_t now_ns)
{
    struct fg_resolver *resolver = lookup->resolver;
    lookup->asked_ns = now_ns;
    lookup->due_ns = UINT64_MAX; /* until it is settled */
    fg_counter_add_owned(&resolver->thread->metrics->resolves, 1);
    lookup->address_count = 0;
    lookup->is_cut_off = false;
    lookup->ttl_s = UINT32_MAX;
    if (resolver->dns == NULL) {
        ask_helper(lookup);
        return;
    }
    lookup->pending = 3; /* one is ours, since a question that cannot be asked is answered here */
    const char *host = lookup->target->host;
    lookup->v4_request = evdns_base_resolve_ipv4(resolver->dns, host, 0, on_v4_answer, lookup);
    if (lookup->v4_request == NULL)
        on_v4_answer(DNS_ERR_UNKNOWN, 0, 0, 0, NULL, lookup);
    lookup->v6_request = evdns_base_resolve_ipv6(resolver->dns, host, 0, on_v6_answer, lookup);
    if (lookup->v6_request == NULL)
        on_v6_answer(DNS_ERR_UNKNOWN, 0, 0, 0, NULL, lookup);
    take_answer(lookup);
}

/*
 * There are servers that never answer for one of the families. evdns would ask for 15 s, and then
 * hold the server for dead.
 */
static void give_up_laggard(struct lookup *lookup, uint64_t now_ns)
{
    if (lookup->pending != 1 || lookup->address_count == 0 ||
        now_ns - lookup->asked_ns < FAMILY_LAG_NS)
        return;
    struct evdns_base *dns = lookup->resolver->dns;
    if (lookup->v4_request != NULL)
        evdns_cancel_request(dns, lookup->v4_request);
    if (lookup->v6_request != NULL)
        evdns_cancel_request(dns, lookup->v6_request);
}

/* ---- when it is time ---- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct fg_resolver *resolver = arg;
    struct fg_counter *is_wanted = &resolver->thread->proxy->is_lookup_wanted;
    (void)fd;
    (void)what;
    uint64_t now_ns = fg_clock_monotonic_ns();
    bool is_urgent = fg_counter_get(is_wanted) != 0;
    fg_counter_set(is_wanted, 0);
    for (size_t i = 0; i < resolver->lookup_count; i++) {
        struct lookup *lookup = &resolver->lookups[i];
        bool is_waiting = lookup->due_ns != UINT64_MAX;
        if (!is_waiting)
            give_up_laggard(lookup, now_ns);
        if (is_waiting && (lookup->due_ns <= now_ns ||
                           (is_urgent && now_ns - lookup->asked_ns >= LOOKUP_PAUSE_NS)))
            look_up(lookup, now_ns);
    }
    arm(resolver, now_ns);
}

static void on_dns_log(int is_warning, const char *text)
{
    char quoted[512];
    fg_log(is_warning != 0 ? FG_LOG_WARN : FG_LOG_DEBUG, "dns", "text=%s",
           fg_log_quote(quoted, sizeof(quoted), text, strlen(text)));
}

static struct evdns_base *open_dns(const struct fg_proxy_thread *thread)
{
    const struct fg_cluster_conf *conf = &thread->proxy->conf;
    evdns_set_log_fn(on_dns_log);
    if (conf->dns_server_count == 0)
        return evdns_base_new(thread->env.base,
                              EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    struct evdns_base *dns = evdns_base_new(thread->env.base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    for (size_t i = 0; dns != NULL && i < conf->dns_server_count; i++) {
        if (evdns_base_nameserver_ip_add(dns, conf->dns_servers[i]) != 0)
            fg_log(FG_LOG_WARN, "dns_server_unusable", "server=%s", conf->dns_servers[i]);
    }
    return dns;
}

enum fg_status fg_resolver_open(struct fg_resolver **out, struct fg_proxy_thread *thread)
{
    const struct fg_proxy *proxy = thread->proxy;
    size_t count = 0;
    *out = NULL;
    for (size_t i = 0; i < proxy->conf.endpoint_count; i++)
        count += proxy->targets[i].is_name;
    if (count == 0)
        return FG_OK;
    struct fg_resolver *resolver =
        calloc(1, sizeof(*resolver) + count * sizeof(resolver->lookups[0]));
    if (resolver == NULL)
        return FG_ERR_NO_MEMORY;
    resolver->thread = thread;
    resolver->timer = event_new(thread->env.base, -1, 0, on_tick, resolver);
    if (resolver->timer == NULL) {
        free(resolver);
        return FG_ERR_NO_MEMORY;
    }
    resolver->dns = open_dns(thread);
    uint64_t now_ns = fg_clock_monotonic_ns();
    for (size_t i = 0; i < proxy->conf.endpoint_count; i++) {
        if (!proxy->targets[i].is_name)
            continue;
        struct lookup *lookup = &resolver->lookups[resolver->lookup_count++];
        *lookup = (struct lookup){
            .resolver = resolver, .target = &proxy->targets[i], .source = (unsigned)i};
        look_up(lookup, now_ns);
    }
    arm(resolver, now_ns);
    *out = resolver;
    return FG_OK;
}

void fg_resolver_close(struct fg_resolver *resolver)
{
    if (resolver == NULL)
        return;
    for (size_t i = 0; i < resolver->lookup_count; i++) {
        if (resolver->lookups[i].helper != NULL)
            resolver->lookups[i].helper->lookup = NULL; /* freed when its answer comes */
    }
    if (resolver->dns != NULL)
        evdns_base_free(resolver->dns, 0);
    event_free(resolver->timer);
    free(resolver);
}
