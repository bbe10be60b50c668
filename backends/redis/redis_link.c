/*
 * redis_link.c: hiredis keeps its own queue of replies; `open` is ours, to know what to repeat and
 * what is late. A command that hiredis still holds is freed by its callback alone.
 */
#include "redis_link.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fg_redis_command {
    struct fg_list list; /* open or free; alone when expired */
    struct fg_redis_link *link;
    struct fg_redis_request request; /* request.owner NULL: detached */
    uint64_t submitted_ns;
    uint64_t deadline_ns;
    unsigned sends;
    bool is_sent;    /* hiredis will call on_command_reply */
    bool is_expired; /* its owner is told by expire() */
    bool with_source;
};

/* ---- commands ---- */

static void note_oldest(struct fg_redis_link *link)
{
    const struct fg_redis_command *first =
        fg_list_is_empty(&link->open)
            ? NULL
            : FG_CONTAINER_OF(link->open.next, struct fg_redis_command, list);
    fg_counter_set(&link->metrics->oldest_ns, first == NULL ? 0 : first->submitted_ns);
}

static struct fg_redis_command *take_command(struct fg_redis_link *link)
{
    if (link->in_flight >= link->connector.conf->commands_in_flight_max)
        return NULL;
    struct fg_list *first = fg_list_pop_front(&link->free);
    struct fg_redis_command *command = first != NULL
                                           ? FG_CONTAINER_OF(first, struct fg_redis_command, list)
                                           : malloc(sizeof(*command));
    if (command == NULL)
        return NULL;
    memset(command, 0, sizeof(*command));
    fg_list_init(&command->list);
    command->link = link;
    link->in_flight++;
    fg_counter_set(&link->metrics->in_flight, link->in_flight);
    return command;
}

static void free_command(struct fg_redis_command *command)
{
    struct fg_redis_link *link = command->link;
    assert(!command->is_sent);
    fg_list_remove(&command->list);
    fg_list_push_front(&link->free, &command->list);
    note_oldest(link);
    assert(link->in_flight > 0);
    link->in_flight--;
    fg_counter_set(&link->metrics->in_flight, link->in_flight);
}

/* The command is freed first, so that the owner may submit another in its place. */
static void finish(struct fg_redis_command *command, enum fg_redis_outcome outcome,
                   const redisReply *reply)
{
    struct fg_redis_request request = command->request;
    struct fg_redis_metrics *metrics = command->link->metrics;
    if (outcome == FG_REDIS_REPLY)
        fg_histogram_record(&metrics->latency, fg_clock_monotonic_ns() - command->submitted_ns);
    if (outcome == FG_REDIS_TIMEOUT)
        fg_counter_add_owned(&metrics->timeouts, 1);
    if (outcome != FG_REDIS_REPLY || reply->type == REDIS_REPLY_ERROR)
        fg_counter_add_owned(&metrics->errors, 1);
    free_command(command);
    if (request.owner != NULL)
        request.on_reply(request.owner, outcome, reply);
}

static bool is_no_script(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0;
}

static void send_command(struct fg_redis_link *link, struct fg_redis_command *command);

static void on_command_reply(redisAsyncContext *context, void *reply_object, void *private_data)
{
    struct fg_redis_command *command = private_data;
    struct fg_redis_link *link = command->link;
    const redisReply *reply = reply_object;
    command->is_sent = false;
    if (reply == NULL) {
        if (!link->is_closing)
            fg_redis_connector_notice_loss(&link->connector, context);
        if (command->is_expired)
            return;
        if (command->request.owner == NULL)
            free_command(command);
        else if (!command->request.is_repeatable || command->sends > 1)
            finish(command, FG_REDIS_UNAVAILABLE, NULL);
        return; /* else it waits for the next connection */
    }
    if (is_no_script(reply) && !command->with_source && command->request.owner != NULL) {
        command->with_source = true; /* EVAL loads it as well */
        send_command(link, command);
        return;
    }
    finish(command, FG_REDIS_REPLY, reply);
}

static void send_command(struct fg_redis_link *link, struct fg_redis_command *command)
{
    const struct fg_redis_request *request = &command->request;
    const char *argv[FG_REDIS_ARGS_MAX];
    size_t lens[FG_REDIS_ARGS_MAX];
    int argc = 0;
    char key_count[12];
    if (request->is_script) {
        bool with_source = command->with_source;
        snprintf(key_count, sizeof(key_count), "%u", request->key_count);
        argv[0] = with_source ? "EVAL" : "EVALSHA";
        argv[1] = with_source ? link->scripts[request->script].source : link->shas[request->script];
        argv[2] = key_count;
        for (; argc < 3; argc++)
            lens[argc] = strlen(argv[argc]);
    }
    for (size_t i = 0; i < request->arg_count; i++, argc++) {
        argv[argc] = request->args[i].len == 0 ? "" : request->args[i].data;
        lens[argc] = request->args[i].len;
    }
    if (redisAsyncCommandArgv(link->connector.context, on_command_reply, command, argc, argv,
                              lens) == REDIS_OK) {
        command->is_sent = true;
        command->sends++;
        fg_counter_add_owned(&link->metrics->commands, 1);
    } /* else hiredis is closing or has no memory: the deadline answers */
}

static void send_waiting(struct fg_redis_link *link)
{
    FG_LIST_EACH_SAFE(it, after, &link->open)
    {
        struct fg_redis_command *command = FG_CONTAINER_OF(it, struct fg_redis_command, list);
        if (!command->is_sent)
            send_command(link, command);
    }
}

/* ---- preparation of a new connection ---- */

static void on_prepared(struct fg_redis_link *link)
{
    char address[300];
    fg_redis_connector_settle(&link->connector);
    fg_log(FG_LOG_INFO, "redis_ready", "address=%s thread=%u",
           fg_redis_address_text(&link->connector.address, address, sizeof(address)),
           link->connector.env.thread_index);
    fg_counter_set(&link->metrics->is_connected, 1);
    fg_counter_set(&link->metrics->connects, link->connector.connects);
    send_waiting(link);
}

void fg_redis_link_prepared(struct fg_redis_link *link, redisAsyncContext *context,
                            const redisReply *reply, bool is_needed)
{
    if (link->is_closing || link->connector.context != context)
        return;
    if (reply == NULL) {
        fg_redis_connector_notice_loss(&link->connector, context);
        return;
    }
    assert(link->replies_missing > 0);
    link->replies_missing--;
    if (is_needed && reply->type == REDIS_REPLY_ERROR)
        fg_redis_connector_drop(&link->connector, reply->str);
    else if (link->replies_missing == 0 && link->connector.state == FG_CONNECTOR_OPEN)
        on_prepared(link);
}

static void on_plain_reply(redisAsyncContext *context, void *reply, void *private_data)
{
    fg_redis_link_prepared(private_data, context, reply, true);
}

/* Replies come in the order of the commands: which script it was follows from how many came. */
static void on_script_sha(redisAsyncContext *context, void *reply_object, void *private_data)
{
    struct fg_redis_link *link = private_data;
    const redisReply *reply = reply_object;
    if (link->connector.context == context && reply != NULL && reply->type == REDIS_REPLY_STRING &&
        reply->len == FG_REDIS_SHA_BYTES - 1) {
        size_t index = link->scripts_loaded++;
        assert(index < link->script_count);
        memcpy(link->shas[index], reply->str, FG_REDIS_SHA_BYTES);
    }
    fg_redis_link_prepared(link, context, reply, true);
}

void fg_redis_link_prepare(struct fg_redis_link *link, redisCallbackFn *on_reply,
                           const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (redisvAsyncCommand(link->connector.context, on_reply != NULL ? on_reply : on_plain_reply,
                           link, format, args) == REDIS_OK)
        link->replies_missing++;
    va_end(args);
}

static void on_open(void *owner)
{
    struct fg_redis_link *link = owner;
    link->replies_missing = 0;
    link->scripts_loaded = 0;
    for (size_t i = 0; i < link->script_count; i++)
        fg_redis_link_prepare(link, on_script_sha, "SCRIPT LOAD %b", link->scripts[i].source,
                              link->scripts[i].source_len);
    if (link->prepare != NULL)
        link->prepare(link);
    if (link->replies_missing == 0)
        fg_redis_link_prepare(link, NULL, "PING"); /* an answer says that it is ready */
}

static void on_lost(void *owner)
{
    struct fg_redis_link *link = owner;
    fg_counter_set(&link->metrics->is_connected, 0);
}

/* ---- deadlines ---- */

static void set_deadline_timer(struct fg_redis_link *link, uint64_t now_ns)
{
    if (link->is_timer_set || fg_list_is_empty(&link->open))
        return;
    const struct fg_redis_command *first =
        FG_CONTAINER_OF(link->open.next, struct fg_redis_command, list);
    uint64_t delay_ns = first->deadline_ns > now_ns ? first->deadline_ns - now_ns : 0;
    struct timeval delay = {.tv_sec = (time_t)(delay_ns / FG_S),
                            .tv_usec = (suseconds_t)(delay_ns % FG_S / FG_US + 1)};
    link->is_timer_set = evtimer_add(link->deadline_timer, &delay) == 0;
}

/* The connection goes first: then no owner can put a command on one that hangs. */
static void expire(struct fg_redis_link *link, uint64_t now_ns)
{
    struct fg_list expired;
    bool is_hung = false;
    fg_list_init(&expired);
    FG_LIST_EACH_SAFE(it, after, &link->open)
    {
        struct fg_redis_command *command = FG_CONTAINER_OF(it, struct fg_redis_command, list);
        if (command->deadline_ns > now_ns)
            break;
        fg_list_remove(it);
        fg_list_push_back(&expired, it);
        command->is_expired = true;
        is_hung = is_hung || command->is_sent;
    }
    if (is_hung)
        fg_redis_connector_drop(&link->connector, "no reply within command_timeout");
    for (struct fg_list *it = fg_list_pop_front(&expired); it != NULL;
         it = fg_list_pop_front(&expired))
        finish(FG_CONTAINER_OF(it, struct fg_redis_command, list), FG_REDIS_TIMEOUT, NULL);
}

static void on_deadline(evutil_socket_t fd, short what, void *object)
{
    struct fg_redis_link *link = object;
    (void)fd;
    (void)what;
    link->is_timer_set = false;
    expire(link, fg_clock_monotonic_ns());
    set_deadline_timer(link, fg_clock_monotonic_ns());
}

/* ---- public ---- */

enum fg_status fg_redis_link_open(struct fg_redis_link *link)
{
    fg_list_init(&link->open);
    fg_list_init(&link->free);
    link->connector.owner = link;
    link->connector.on_open = on_open;
    link->connector.on_lost = on_lost;
    link->shas = calloc(link->script_count + 1, sizeof(*link->shas));
    link->deadline_timer = evtimer_new(link->connector.env.base, on_deadline, link);
    if (link->shas == NULL || link->deadline_timer == NULL ||
        fg_redis_connector_init(&link->connector) != FG_OK)
        goto fail;
    fg_redis_connector_start(&link->connector);
    return FG_OK;
fail:
    fg_redis_link_close(link);
    return FG_ERR_NO_MEMORY;
}

void fg_redis_link_close(struct fg_redis_link *link)
{
    struct fg_list *it;
    link->is_closing = true;
    fg_redis_connector_fini(&link->connector);
    while ((it = fg_list_pop_front(&link->open)) != NULL)
        free(FG_CONTAINER_OF(it, struct fg_redis_command, list));
    while ((it = fg_list_pop_front(&link->free)) != NULL)
        free(FG_CONTAINER_OF(it, struct fg_redis_command, list));
    free(link->shas);
    if (link->deadline_timer != NULL)
        event_free(link->deadline_timer);
}

bool fg_redis_link_is_ready(const struct fg_redis_link *link)
{
    return link->connector.state == FG_CONNECTOR_SETTLED;
}

enum fg_status fg_redis_link_submit(struct fg_redis_link *link,
                                    const struct fg_redis_request *request,
                                    struct fg_redis_command **command)
{
    assert(request->arg_count <= FG_REDIS_ARGS_MAX - 3);
    assert(request->owner != NULL);
    uint64_t now_ns = fg_clock_monotonic_ns();
    uint64_t timeout_ns = link->connector.conf->command_timeout_ns;
    bool is_ready = fg_redis_link_is_ready(link);
    if (!is_ready && now_ns - link->connector.down_since_ns > timeout_ns)
        return FG_ERR_CLOSED;
    struct fg_redis_command *taken = take_command(link);
    if (taken == NULL) {
        fg_counter_add_owned(&link->metrics->refused_busy, 1);
        return FG_ERR_LIMIT;
    }
    taken->request = *request;
    taken->submitted_ns = now_ns;
    taken->deadline_ns = now_ns + timeout_ns;
    fg_list_push_back(&link->open, &taken->list);
    note_oldest(link);
    set_deadline_timer(link, now_ns);
    if (is_ready)
        send_command(link, taken);
    *command = taken;
    return FG_OK;
}

void fg_redis_command_detach(struct fg_redis_command *command)
{
    command->request.owner = NULL;
    command->request.args = NULL;
    command->request.arg_count = 0;
    if (!command->is_sent && !command->is_expired)
        free_command(command);
}
