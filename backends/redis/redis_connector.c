/*
 * redis_connector.c: hiredis frees a context by itself after an error and after its callbacks; we
 * free it only in drop and fini, and forget it first, so that no callback sees a dying one.
 */
#include "redis_connector.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <event2/event.h>
#include <hiredis/adapters/libevent.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#define BACKOFF_FIRST_NS (10 * FG_MS)
#define BACKOFF_MAX_NS FG_S

/* ---- name lookup, on a helper thread ---- */

struct fg_redis_resolve_job {
    struct fg_helper_job job;             /* first */
    struct fg_redis_connector *connector; /* NULL: nobody waits for it any more */
    char host[256];
    char ip[64]; /* empty: not found */
};

static void resolve(struct fg_helper_job *helper_job)
{
    struct fg_redis_resolve_job *job = (struct fg_redis_resolve_job *)helper_job;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    job->ip[0] = '\0';
    if (getaddrinfo(job->host, NULL, &hints, &found) != 0)
        return;
    if (getnameinfo(found->ai_addr, found->ai_addrlen, job->ip, sizeof(job->ip), NULL, 0,
                    NI_NUMERICHOST) != 0)
        job->ip[0] = '\0';
    freeaddrinfo(found);
}

/* ---- state ---- */

static void set_timer(struct fg_redis_connector *connector, uint64_t delay_ns)
{
    struct timeval delay = {.tv_sec = (time_t)(delay_ns / FG_S),
                            .tv_usec = (suseconds_t)(delay_ns % FG_S / FG_US)};
    evtimer_add(connector->timer, &delay);
}

/* 10 ms, 20 ms, ... 1 s, each up to a quarter less, so that threads do not come back in step. */
static uint64_t backoff_ns(struct fg_redis_connector *connector)
{
    uint32_t doublings = connector->failures > 10 ? 10 : connector->failures;
    uint64_t delay_ns = BACKOFF_FIRST_NS << doublings;
    if (delay_ns > BACKOFF_MAX_NS)
        delay_ns = BACKOFF_MAX_NS;
    connector->seed = connector->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return delay_ns - delay_ns / 4 * (connector->seed >> 56) / 256;
}

static void wait_for_next_try(struct fg_redis_connector *connector)
{
    connector->state = FG_CONNECTOR_WAITING;
    if (connector->down_since_ns == 0)
        connector->down_since_ns = fg_clock_monotonic_ns();
    set_timer(connector, backoff_ns(connector));
    connector->failures++;
}

static void lose(struct fg_redis_connector *connector, const char *why)
{
    static struct fg_log_limit limit;
    char address[300];
    connector->context = NULL;
    fg_log_limited(&limit, 1, FG_LOG_WARN, "redis_lost", "purpose=%s address=%s reason=\"%s\"",
                   connector->purpose,
                   fg_redis_address_text(&connector->address, address, sizeof(address)), why);
    wait_for_next_try(connector);
    connector->on_lost(connector->owner);
}

static void on_disconnect(const redisAsyncContext *context, int status)
{
    struct fg_redis_connector *connector = context->data;
    (void)status;
    if (connector != NULL)
        fg_redis_connector_notice_loss(connector, context);
}

static void on_auth(redisAsyncContext *context, void *reply_object, void *private_data)
{
    struct fg_redis_connector *connector = private_data;
    const redisReply *reply = reply_object;
    if (connector->context != context)
        return;
    if (reply == NULL)
        fg_redis_connector_notice_loss(connector, context);
    else if (reply->type == REDIS_REPLY_ERROR)
        fg_redis_connector_drop(connector, reply->str);
}

static void authenticate(struct fg_redis_connector *connector)
{
    const struct fg_redis_conf *conf = connector->conf;
    if (conf->embedded || conf->password == NULL)
        return;
    if (conf->username != NULL)
        redisAsyncCommand(connector->context, on_auth, connector, "AUTH %s %s", conf->username,
                          conf->password);
    else
        redisAsyncCommand(connector->context, on_auth, connector, "AUTH %s", conf->password);
}

static void on_connect(const redisAsyncContext *context, int status)
{
    struct fg_redis_connector *connector = context->data;
    if (connector == NULL || connector->context != context)
        return;
    if (status != REDIS_OK) {
        lose(connector, context->errstr);
        return;
    }
    connector->state = FG_CONNECTOR_OPEN;
    connector->connects++;
    authenticate(connector);
    connector->on_open(connector->owner);
}

static void connect_to(struct fg_redis_connector *connector, const char *ip)
{
    redisAsyncContext *context = connector->address.is_unix
                                     ? redisAsyncConnectUnix(connector->address.path)
                                     : redisAsyncConnect(ip, connector->address.port);
    if (context == NULL || context->err != 0) {
        lose(connector, context == NULL ? "no memory" : context->errstr);
        if (context != NULL)
            redisAsyncFree(context);
        return;
    }
    context->data = connector;
    if (redisLibeventAttach(context, connector->env.base) != REDIS_OK) {
        redisAsyncFree(context);
        lose(connector, "no memory");
        return;
    }
    connector->context = context;
    connector->state = FG_CONNECTOR_CONNECTING;
    set_timer(connector, connector->conf->connect_timeout_ns);
    redisAsyncSetConnectCallback(context, on_connect);
    redisAsyncSetDisconnectCallback(context, on_disconnect);
}

static void on_resolved(struct fg_message *message)
{
    struct fg_redis_resolve_job *job = (struct fg_redis_resolve_job *)(void *)message;
    struct fg_redis_connector *connector = job->connector;
    if (connector != NULL) {
        connector->job = NULL;
        if (job->ip[0] == '\0')
            lose(connector, "the host name is not known");
        else
            connect_to(connector, job->ip);
    }
    free(job);
}

static void begin_resolve(struct fg_redis_connector *connector)
{
    struct fg_redis_resolve_job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        lose(connector, "no memory");
        return;
    }
    job->job.message.run = on_resolved;
    job->job.work = resolve;
    job->job.reply_to = connector->env.mailbox;
    job->connector = connector;
    snprintf(job->host, sizeof(job->host), "%s", connector->address.host);
    connector->job = job;
    connector->state = FG_CONNECTOR_RESOLVING;
    if (connector->env.helper == NULL) { /* a loop without helpers may block */
        resolve(&job->job);
        on_resolved(&job->job.message);
    } else if (fg_helper_pool_try_look_up(connector->env.helper, &job->job) != FG_OK) {
        connector->job = NULL;
        free(job);
        lose(connector, "the helper threads are busy");
    }
}

static bool is_ip_address(const char *host)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    freeaddrinfo(found);
    return true;
}

static void on_timer(evutil_socket_t fd, short what, void *object)
{
    struct fg_redis_connector *connector = object;
    (void)fd;
    (void)what;
    if (connector->state == FG_CONNECTOR_CONNECTING || connector->state == FG_CONNECTOR_OPEN)
        fg_redis_connector_drop(connector, "no connection within connect_timeout");
    else if (connector->state != FG_CONNECTOR_WAITING)
        return;
    else if (connector->address.is_unix || is_ip_address(connector->address.host))
        connect_to(connector, connector->address.host);
    else
        begin_resolve(connector);
}

/* ---- public ---- */

enum fg_status fg_redis_connector_init(struct fg_redis_connector *connector)
{
    connector->state = FG_CONNECTOR_IDLE;
    connector->seed = fg_clock_monotonic_ns() ^ (uint64_t)(uintptr_t)connector;
    connector->timer = evtimer_new(connector->env.base, on_timer, connector);
    return connector->timer == NULL ? FG_ERR_NO_MEMORY : FG_OK;
}

void fg_redis_connector_start(struct fg_redis_connector *connector)
{
    if (connector->state != FG_CONNECTOR_IDLE)
        return;
    connector->state = FG_CONNECTOR_WAITING;
    connector->down_since_ns = fg_clock_monotonic_ns();
    set_timer(connector, 0);
}

void fg_redis_connector_settle(struct fg_redis_connector *connector)
{
    assert(connector->state == FG_CONNECTOR_OPEN);
    connector->state = FG_CONNECTOR_SETTLED;
    connector->failures = 0;
    connector->down_since_ns = 0;
    evtimer_del(connector->timer);
}

void fg_redis_connector_drop(struct fg_redis_connector *connector, const char *why)
{
    redisAsyncContext *context = connector->context;
    if (context == NULL)
        return;
    char reason[160];
    snprintf(reason, sizeof(reason), "%s", why); /* `why` may belong to a reply */
    lose(connector, reason);
    redisAsyncFree(context);
}

void fg_redis_connector_notice_loss(struct fg_redis_connector *connector,
                                    const redisAsyncContext *context)
{
    if (connector->context == context && context != NULL)
        lose(connector, context->err != 0 ? context->errstr : "closed");
}

void fg_redis_connector_fini(struct fg_redis_connector *connector)
{
    redisAsyncContext *context = connector->context;
    connector->state = FG_CONNECTOR_IDLE;
    connector->context = NULL;
    if (context != NULL)
        redisAsyncFree(context);
    if (connector->job != NULL)
        connector->job->connector = NULL; /* freed when it comes back */
    connector->job = NULL;
    if (connector->timer != NULL)
        event_free(connector->timer);
    connector->timer = NULL;
}
