/*
 * live.c: events of the virtual users when their time has come; requests out, answers in.
 * Memory   a call for each request under way, used again; a ticket for each user in line.
 */
#include "rehearse/live/live.h"

#include "base/clock.h"
#include "pipeline/jwt.h"
#include "rehearse/live/live_target.h"
#include "rehearse/users.h"

#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_BYTES 4096 /* of a body or a field with its numbers filled in */
#define TOKEN_TTL_S 86400
#define CONNECT_MOST_NS (5 * FG_S)
#define EVENTS_A_TURN 512 /* then the sockets are looked at */

struct call {
    struct fg_h2_call h2; /* first */
    struct call *next_free;
    uint32_t user;
    char body[];
};

struct user_state {
    struct call *call; /* NULL: none is under way */
    char *ticket;
};

struct live {
    const struct fg_scenario *scenario;
    const struct fg_config *config;
    const struct fg_live_options *options;
    struct fg_tally *tally;
    struct event_base *base;
    struct fg_live_target target;
    struct fg_h2_client **clients;
    unsigned client_count;
    unsigned next_client;
    struct fg_users *users;
    struct fg_event_heap heap;
    struct event *timer;
    struct event *second;
    struct event *interrupt;
    uint64_t started_ns;
    uint64_t behind_ns;
    struct user_state *by_user;
    size_t user_capacity;
    struct call *free_calls;
    /* tokens for routes that want to know who asks */
    struct fg_jwt_key key;
    struct fg_jwt_signer *signer;
    struct fg_arena_pool pool;
    /* progress */
    fg_live_progress_fn on_progress;
    void *ctx;
};

static uint64_t now_of(const struct live *live)
{
    return fg_clock_monotonic_ns() - live->started_ns;
}

/* ---- answers ---- */

static struct fg_span code_of(const struct fg_h2_call *call)
{
    static const char mark[] = "\"code\":\"";
    const char *end = call->answer + call->answer_len;
    const char *found = memmem(call->answer, call->answer_len, mark, sizeof(mark) - 1);
    if (found == NULL)
        return FG_SPAN("");
    found += sizeof(mark) - 1;
    const char *quote = memchr(found, '"', (size_t)(end - found));
    return fg_span_make(found, quote == NULL ? 0 : (size_t)(quote - found));
}

static uint64_t retry_after_ns(const struct fg_h2_call *call)
{
    static const char mark[] = "\"retry_after_ms\":";
    const char *end = call->answer + call->answer_len;
    const char *found = memmem(call->answer, call->answer_len, mark, sizeof(mark) - 1);
    if (found == NULL)
        return call->retry_after_s * FG_S;
    uint64_t ms = 0;
    for (found += sizeof(mark) - 1; found < end && *found >= '0' && *found <= '9'; found++)
        ms = ms > UINT32_MAX ? ms : ms * 10 + (uint64_t)(*found - '0');
    return ms * FG_MS;
}

/* By the gateway's own error code; a status without one that we know is the backend's. */
static struct fg_answer read_answer(const struct fg_h2_call *call, bool is_complete)
{
    struct fg_answer answer = {.outcome = FG_OUTCOME_FAILED, .retry_after_ns = 0};
    if (!is_complete)
        return answer;
    answer.retry_after_ns = retry_after_ns(call);
    if (call->ticket[0] != '\0') {
        answer.outcome = FG_OUTCOME_IN_LINE;
        return answer;
    }
    struct fg_span code = call->status >= 400 ? code_of(call) : FG_SPAN("");
    for (unsigned i = 0; i < FG_TALLY_REASON_COUNT && code.len > 0; i++) {
        if (!fg_span_equal(code, fg_span_from_string(fg_tally_reason_name(i))))
            continue;
        answer.outcome = i == FG_REFUSED_DEADLINE ? FG_OUTCOME_LATE : FG_OUTCOME_REFUSED;
        answer.reason = i;
        return answer;
    }
    if (call->status < 500 && call->status != 429 && call->status != 401)
        answer.outcome = FG_OUTCOME_GOOD;
    return answer;
}

static void free_call(struct live *live, struct call *call)
{
    call->next_free = live->free_calls;
    live->free_calls = call;
}

static void keep_ticket(struct live *live, uint32_t user, const char *ticket)
{
    struct user_state *state = &live->by_user[user];
    if (ticket[0] == '\0') {
        free(state->ticket);
        state->ticket = NULL;
        return;
    }
    if (state->ticket == NULL)
        state->ticket = malloc(FG_H2_CALL_TICKET_BYTES);
    if (state->ticket != NULL)
        snprintf(state->ticket, FG_H2_CALL_TICKET_BYTES, "%s", ticket);
}

static void on_done(void *object, struct fg_h2_call *h2, bool is_complete)
{
    struct live *live = object;
    struct call *call = (struct call *)(void *)h2;
    uint32_t user = call->user;
    struct fg_answer answer = read_answer(h2, is_complete);
    keep_ticket(live, user, is_complete ? h2->ticket : "");
    live->by_user[user].call = NULL;
    free_call(live, call);
    fg_users_answer(live->users, user, now_of(live), &answer);
}

/* ---- requests ---- */

/* `text` with {user} and {n} filled in; cut to TEXT_BYTES. Returns the length. */
static size_t fill_in(char *to, const char *text, const struct fg_call *call)
{
    size_t at = 0;
    while (*text != '\0' && at + 24 < TEXT_BYTES) {
        if (strncmp(text, "{user}", 6) == 0) {
            at += (size_t)snprintf(to + at, 24, "%" PRIu64, call->user_id);
            text += 6;
        } else if (strncmp(text, "{n}", 3) == 0) {
            at += (size_t)snprintf(to + at, 24, "%" PRIu64, call->number);
            text += 3;
        } else {
            to[at++] = *text++;
        }
    }
    to[at] = '\0';
    return at;
}

/* "Bearer ..." as POST /api/session would have given; empty without memory. */
static size_t make_token(struct live *live, char *to, const struct fg_call *call)
{
    struct fg_arena arena;
    char user[48];
    int len = snprintf(user, sizeof(user), "rehearsal-%" PRIu64 "-%" PRIu64, live->scenario->seed,
                       call->user_id);
    uint64_t now_s = fg_clock_wall_ns() / FG_S;
    fg_arena_init(&arena, &live->pool, 32768);
    struct fg_span token = fg_jwt_sign(live->signer, &arena, fg_span_make(user, (size_t)len), now_s,
                                       now_s + TOKEN_TTL_S);
    int written =
        token.data == NULL ? 0 : snprintf(to, TEXT_BYTES, "Bearer %.*s", FG_SPAN_ARGS(token));
    fg_arena_fini(&arena);
    return written < 0 || written >= TEXT_BYTES ? 0 : (size_t)written;
}

static bool add_client(struct live *live)
{
    struct fg_h2_client *client = fg_h2_client_create(live->base, &live->target.h2, on_done, live);
    if (client == NULL)
        return false;
    live->clients[live->client_count++] = client;
    return true;
}

/* One that the target has said goodbye to ends what it has; meanwhile another stands in for it. */
static struct fg_h2_client *choose_client(struct live *live)
{
    struct fg_h2_client *best = NULL;
    unsigned leaving = 0;
    for (unsigned i = 0; i < live->client_count; i++) {
        struct fg_h2_client *client = live->clients[(live->next_client + i) % live->client_count];
        leaving += fg_h2_client_is_leaving(client);
        if (fg_h2_client_is_ready(client) &&
            (best == NULL || fg_h2_client_load(client) < fg_h2_client_load(best)))
            best = client;
    }
    live->next_client++;
    if (leaving > live->client_count - live->options->connections &&
        live->client_count < 2 * live->options->connections)
        (void)add_client(live);
    return best;
}

static struct call *take_call(struct live *live)
{
    struct call *call = live->free_calls;
    if (call != NULL)
        live->free_calls = call->next_free;
    else
        call = malloc(sizeof(*call) + TEXT_BYTES);
    return call;
}

static bool remember_user(struct live *live, uint32_t user)
{
    if (user < live->user_capacity)
        return true;
    size_t capacity = live->user_capacity == 0 ? 4096 : live->user_capacity;
    while (capacity <= user)
        capacity *= 2;
    struct user_state *grown = reallocarray(live->by_user, capacity, sizeof(*grown));
    if (grown == NULL)
        return false;
    memset(grown + live->user_capacity, 0, (capacity - live->user_capacity) * sizeof(*grown));
    live->by_user = grown;
    live->user_capacity = capacity;
    return true;
}

static bool send_call(struct live *live, struct call *call, const struct fg_call *asked)
{
    static char texts[18][TEXT_BYTES]; /* copied by nghttp2 before the next call */
    static char target[TEXT_BYTES];
    struct fg_h2_field fields[20];
    size_t count = 0;
    const struct fg_scenario_step *step = asked->step;
    struct fg_h2_client *client = choose_client(live);
    if (client == NULL)
        return false;
    if (step->query.data != NULL)
        call->h2.path = fg_span_make(target, fill_in(target, step->target.data, asked));
    if (live->signer != NULL && step->route->identity != FG_IDENTITY_NONE) {
        size_t len = make_token(live, texts[count], asked);
        fields[count] =
            (struct fg_h2_field){FG_SPAN("authorization"), fg_span_make(texts[count], len)};
        count++;
    }
    for (size_t i = 0; i < step->header_count && step->headers[i].value != NULL; i++, count++)
        fields[count] = (struct fg_h2_field){
            fg_span_from_string(step->headers[i].name),
            fg_span_make(texts[count], fill_in(texts[count], step->headers[i].value, asked))};
    if (call->h2.body.len > 0)
        fields[count++] =
            (struct fg_h2_field){FG_SPAN("content-type"), FG_SPAN("application/json")};
    if (live->by_user[asked->user].ticket != NULL && asked->has_ticket)
        fields[count++] = (struct fg_h2_field){
            FG_SPAN("x-floodgate-ticket"), fg_span_from_string(live->by_user[asked->user].ticket)};
    return fg_h2_client_send(client, &call->h2, fields, count);
}

static void on_send(void *object, const struct fg_call *asked, uint64_t due_ns)
{
    struct live *live = object;
    (void)due_ns; /* the latency counts from it: see fg_users_answer */
    struct call *call = remember_user(live, asked->user) ? take_call(live) : NULL;
    if (call != NULL) {
        call->h2 =
            (struct fg_h2_call){.method = asked->step->method_text, .path = asked->step->target};
        call->user = asked->user;
        if (asked->step->body != NULL)
            call->h2.body = fg_span_make(call->body, fill_in(call->body, asked->step->body, asked));
        if (send_call(live, call, asked)) {
            live->by_user[asked->user].call = call;
            return;
        }
        free_call(live, call);
    }
    fg_users_answer(live->users, asked->user, now_of(live),
                    &(struct fg_answer){.outcome = FG_OUTCOME_FAILED});
}

static void on_abandon(void *object, uint32_t user, uint64_t now_ns)
{
    struct live *live = object;
    (void)now_ns;
    struct call *call = live->by_user[user].call;
    fg_h2_client_cancel(call->h2.client, &call->h2);
    live->by_user[user].call = NULL;
    free_call(live, call);
}

/* ---- time ---- */

static void arm_timer(struct live *live)
{
    uint64_t now_ns = now_of(live);
    uint64_t next_ns = live->tally->duration_ns;
    if (live->heap.count > 0 && live->heap.events[0].at_ns < next_ns)
        next_ns = live->heap.events[0].at_ns;
    uint64_t wait_us = next_ns > now_ns ? (next_ns - now_ns + 999) / 1000 : 0;
    struct timeval wait = {.tv_sec = (time_t)(wait_us / 1000000),
                           .tv_usec = (suseconds_t)(wait_us % 1000000)};
    evtimer_add(live->timer, &wait);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct live *live = arg;
    struct fg_event event;
    for (unsigned i = 0; i < EVENTS_A_TURN && live->heap.count > 0; i++) {
        uint64_t now_ns = now_of(live);
        uint64_t at_ns = live->heap.events[0].at_ns;
        if (at_ns > now_ns || at_ns >= live->tally->duration_ns)
            break;
        if (now_ns - at_ns > live->behind_ns)
            live->behind_ns = now_ns - at_ns;
        (void)fg_event_heap_take(&live->heap, &event);
        live->tally->events++;
        fg_users_on_event(live->users, &event);
    }
    if (now_of(live) >= live->tally->duration_ns)
        event_base_loopbreak(live->base);
    else
        arm_timer(live);
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct live *live = arg;
    struct fg_live_progress progress = {.now_ns = now_of(live),
                                        .users_active = fg_users_active(live->users),
                                        .behind_ns = live->behind_ns};
    for (size_t i = 0; i < live->tally->route_count; i++) {
        progress.offered += live->tally->routes[i].offered;
        for (unsigned j = 0; j < FG_OUTCOME_COUNT; j++)
            progress.outcomes[j] += live->tally->routes[i].outcomes[j];
    }
    if (live->behind_ns > live->tally->behind_max_ns)
        live->tally->behind_max_ns = live->behind_ns;
    live->behind_ns = 0;
    if (live->on_progress != NULL)
        live->on_progress(live->ctx, &progress);
}

static void on_interrupt(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct live *live = arg;
    live->tally->interrupted_ns = now_of(live);
    event_base_loopbreak(live->base);
}

/* ---- set-up ---- */

static bool needs_tokens(const struct fg_scenario *scenario)
{
    for (size_t i = 0; i < scenario->crowd_count; i++) {
        for (size_t j = 0; j < scenario->crowds[i].step_count; j++) {
            if (scenario->crowds[i].steps[j].route->identity != FG_IDENTITY_NONE)
                return true;
        }
    }
    return false;
}

static enum fg_status open_all(struct live *live, struct fg_error *error)
{
    fg_arena_pool_init(&live->pool, 64);
    if (fg_live_target_open(&live->target, live->options->target, live->scenario->host,
                            live->options->is_insecure, error) != FG_OK)
        return FG_ERR_CONFIG;
    if (needs_tokens(live->scenario)) {
        if (fg_jwt_key_load(&live->key, &live->config->identity.jwt, error) != FG_OK)
            return FG_ERR_CONFIG;
        live->signer = fg_jwt_signer_create(&live->key);
        if (live->signer == NULL)
            return fg_error_set(error, "out of memory");
    }
    live->base = event_base_new();
    live->clients = calloc(2 * (size_t)live->options->connections, sizeof(struct fg_h2_client *));
    live->tally = fg_tally_create(live->scenario, live->config, live->options->buckets);
    if (live->base == NULL || live->clients == NULL || live->tally == NULL)
        return fg_error_set(error, "out of memory");
    live->timer = evtimer_new(live->base, on_timer, live);
    live->second = event_new(live->base, -1, EV_PERSIST, on_second, live);
    live->interrupt = evsignal_new(live->base, SIGINT, on_interrupt, live);
    for (unsigned i = 0; i < live->options->connections; i++) {
        if (!add_client(live))
            return fg_error_set(error, "out of memory");
    }
    return live->timer == NULL || live->second == NULL || live->interrupt == NULL
               ? fg_error_set(error, "out of memory")
               : FG_OK;
}

/* All connections stand before the first user comes: connecting is not what is measured. */
static enum fg_status await_connections(struct live *live, struct fg_error *error)
{
    uint64_t until_ns = fg_clock_monotonic_ns() + CONNECT_MOST_NS;
    const struct timeval tick = {.tv_usec = 20000};
    for (;;) {
        unsigned ready = 0;
        for (unsigned i = 0; i < live->client_count; i++)
            ready += fg_h2_client_is_ready(live->clients[i]);
        if (ready == live->client_count)
            return FG_OK;
        if (fg_clock_monotonic_ns() >= until_ns) {
            const char *problem = fg_h2_client_problem(live->clients[0]);
            return fg_error_set(error, "%s: %u of %u connections stand after 5 s; %s",
                                live->options->target, ready, live->client_count,
                                problem == NULL ? "no reason is known" : problem);
        }
        event_base_loopexit(live->base, &tick);
        event_base_dispatch(live->base);
    }
}

static enum fg_status run(struct live *live, struct fg_error *error)
{
    const struct timeval second = {.tv_sec = 1};
    struct fg_users_port port = {.object = live, .send = on_send, .abandon = on_abandon};
    if (await_connections(live, error) != FG_OK)
        return FG_ERR_CONFIG;
    live->users = fg_users_create(live->scenario, live->config, &live->heap, live->tally, &port);
    if (live->users == NULL)
        return fg_error_set(error, "out of memory");
    live->started_ns = fg_clock_monotonic_ns();
    event_add(live->second, &second);
    event_add(live->interrupt, NULL);
    arm_timer(live);
    event_base_dispatch(live->base);
    live->tally->users_active = fg_users_active(live->users);
    if (live->heap.is_exhausted || !fg_users_are_complete(live->users))
        return fg_error_set(error, "not enough memory for so many users at a time");
    return FG_OK;
}

static void close_all(struct live *live)
{
    for (unsigned i = 0; i < live->client_count; i++)
        fg_h2_client_destroy(live->clients[i]);
    for (size_t i = 0; i < live->user_capacity; i++) {
        free(live->by_user[i].ticket);
        free(live->by_user[i].call);
    }
    while (live->free_calls != NULL) {
        struct call *call = live->free_calls;
        live->free_calls = call->next_free;
        free(call);
    }
    if (live->timer != NULL)
        event_free(live->timer);
    if (live->second != NULL)
        event_free(live->second);
    if (live->interrupt != NULL)
        event_free(live->interrupt);
    if (live->base != NULL)
        event_base_free(live->base);
    fg_users_destroy(live->users);
    fg_event_heap_fini(&live->heap);
    fg_jwt_signer_destroy(live->signer);
    fg_arena_pool_fini(&live->pool);
    fg_live_target_close(&live->target);
    free(live->clients);
    free(live->by_user);
    explicit_bzero(&live->key, sizeof(live->key));
}

struct fg_tally *fg_live_run(const struct fg_scenario *scenario, const struct fg_config *config,
                             const struct fg_live_options *options, fg_live_progress_fn on_progress,
                             void *ctx, struct fg_error *error)
{
    struct live *live = calloc(1, sizeof(*live));
    if (live == NULL) {
        fg_error_set(error, "out of memory");
        return NULL;
    }
    *live = (struct live){.scenario = scenario,
                          .config = config,
                          .options = options,
                          .on_progress = on_progress,
                          .ctx = ctx};
    bool is_done = open_all(live, error) == FG_OK && run(live, error) == FG_OK;
    struct fg_tally *tally = live->tally;
    close_all(live);
    free(live);
    if (!is_done) {
        fg_tally_destroy(tally);
        return NULL;
    }
    return tally;
}
