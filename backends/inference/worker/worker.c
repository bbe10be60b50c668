/*
 * worker.c: the worker's loop: sockets between steps, steps while there is work, sleep otherwise.
 * Job      wire links, tokenising and scheduler together; start, drain, stop.
 * Thread   the process's first one. Helpers tokenise (worker_prepare.c) and compute (executor).
 * Never    blocks while sequences run; when none do it sleeps until a socket, a result or a timer.
 * Memory   links x (one frame + output_bytes_max), prepared bytes, scheduler and executor: all
 * bounded.
 *
 * Blame    what is done for a request before it is in a step is marked (kv_blame_shared.c). While
 *          one is there with which a worker has died, all new ones are deferred, and prepared one
 *          by one on the loop, when no helper works and between two steps: then a death tells who.
 *
 *    link --SUBMIT--> enter --helper--> tokens --submit--> scheduler --step--> TOKEN, DONE --> link
 *      |`--> deferred --enter, tokens, submit: alone------^
 *      `--CANCEL, or the link's end--> cancel (blocks go back before anything else happens)
 */
#include "inference/worker/worker.h"

#include "base/clock.h"
#include "inference/worker/background.h"
#include "inference/worker/worker_deferred.h"
#include "inference/worker/worker_link.h"
#include "inference/worker/worker_prepare.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINKS_MAX 256u
#define PREPARED_BYTES_MAX (4 * FG_CHANNEL_PAYLOAD_MAX)
#define HELPER_COUNT 2u /* so that one huge prompt does not hold up all others */
#define HEARTBEAT_MS 200u
#define DRAIN_NS_DEFAULT (10 * FG_S)
#define OUTPUT_BYTES_DEFAULT ((size_t)4 << 20)
/* How often, and how long, to ask for a sequence whose last worker is not known to be dead yet. */
#define ADOPT_POLL_NS (2 * FG_MS)
#define ADOPT_WAIT_NS (1 * FG_S)

struct worker {
    struct fg_worker_options options;
    struct fg_worker_model model;
    struct fg_kv_arena *arena;
    struct fg_kv_worker_record *record;
    struct fg_kv_store store;
    struct fg_executor *executor;
    struct fg_scheduler *scheduler;

    struct event_base *base;
    struct event *acceptable;
    struct event *mail;
    struct event *heartbeat;
    struct event *wake;
    struct event *terminate;

    struct fg_helper_pool *helpers;
    struct fg_mailbox mailbox;
    bool has_mailbox;
    struct fg_list prepares; /* jobs that are out */
    struct fg_list adopting; /* not yet jobs: what they need may still lie in the arena */
    struct fg_list deferred; /* not yet entered: each is to be prepared alone */
    uint64_t prepared_bytes;

    struct fg_worker_link *links[LINKS_MAX]; /* a link's key modulo LINKS_MAX is its place */
    uint64_t next_key;
    bool is_accepting_paused; /* out of descriptors; the heartbeat tries again */

    bool is_draining;
    uint64_t drain_ends_ns;
    bool is_failed;
};

static struct fg_worker_link *find_link(const struct worker *w, uint64_t key)
{
    struct fg_worker_link *link = w->links[key % LINKS_MAX];
    return link != NULL && fg_worker_link_key(link) == key ? link : NULL;
}

static size_t frame_room(struct fg_span text)
{
    return FG_CHANNEL_HEADER_BYTES + 64 + text.len;
}

static void on_token(const struct fg_scheduler_key *key, const struct fg_channel_token *token,
                     void *owner)
{
    struct fg_worker_link *link = find_link(owner, key->connection);
    size_t room = fg_channel_token_bytes(token);
    unsigned char *out = link != NULL ? fg_worker_link_reserve(link, room) : NULL;
    if (out != NULL)
        fg_worker_link_commit(link, fg_channel_write_token(out, room, key->request_id, token));
}

static void on_done(const struct fg_scheduler_key *key, const struct fg_channel_done *done,
                    void *owner)
{
    struct fg_worker_link *link = find_link(owner, key->connection);
    size_t room = frame_room(done->text);
    unsigned char *out = link != NULL ? fg_worker_link_reserve(link, room) : NULL;
    if (out != NULL)
        fg_worker_link_commit(link, fg_channel_write_done(out, room, key->request_id, done));
}

static void on_refused(const struct fg_scheduler_key *key, const struct fg_channel_refused *refused,
                       void *owner)
{
    struct fg_worker_link *link = find_link(owner, key->connection);
    size_t room = frame_room(refused->message);
    unsigned char *out = link != NULL ? fg_worker_link_reserve(link, room) : NULL;
    if (out != NULL)
        fg_worker_link_commit(link, fg_channel_write_refused(out, room, key->request_id, refused));
}

static void on_begun(const struct fg_scheduler_key *key, uint32_t prompt_tokens, void *owner)
{
    struct fg_worker_link *link = find_link(owner, key->connection);
    size_t room = FG_CHANNEL_HEADER_BYTES + sizeof(prompt_tokens);
    unsigned char *out = link != NULL ? fg_worker_link_reserve(link, room) : NULL;
    if (out != NULL)
        fg_worker_link_commit(link,
                              fg_channel_write_begun(out, room, key->request_id, prompt_tokens));
}

/* On the loop: a helper has made a request's tokens, or could not. */
static void on_prepared(struct fg_worker_prepare *prepare, void *owner)
{
    struct worker *w = owner;
    fg_list_remove(&prepare->link);
    w->prepared_bytes -= prepare->payload_bytes;
    if (prepare->is_refused)
        fg_scheduler_reject(w->scheduler, prepare->ticket, prepare->reason,
                            (struct fg_scheduler_figures){0, 0}, prepare->message);
    else
        fg_scheduler_submit(w->scheduler, prepare->ticket, &prepare->prompt, prepare->resumed,
                            prepare->resumed_count);
    fg_worker_prepare_destroy(prepare);
}

static uint32_t begin_mark(struct worker *w, uint64_t stream_key)
{
    return fg_kv_arena_prepare_begin(w->arena, w->options.worker_index, stream_key);
}

static void end_mark(struct worker *w, uint32_t place)
{
    fg_kv_arena_prepare_end(w->arena, w->options.worker_index, place);
}

static void on_helper_done(struct fg_worker_prepare *prepare, void *owner)
{
    uint32_t place = begin_mark(owner, prepare->stream_key);
    on_prepared(prepare, owner);
    end_mark(owner, place);
}

static void start_job(struct worker *w, struct fg_worker_prepare *prepare)
{
    fg_list_push_back(&w->prepares, &prepare->link);
    if (prepare->is_alone) {
        fg_worker_prepare_run(prepare);
        on_prepared(prepare, w);
        return;
    }
    if (fg_worker_prepare_submit(prepare, w->helpers, &w->mailbox) == FG_OK)
        return;
    prepare->is_refused = true;
    prepare->reason = FG_REFUSAL_QUEUE_FULL;
    prepare->message = "too many prompts are being prepared";
    on_prepared(prepare, w);
}

/* False: its last worker is not known to be gone, ask again. */
static bool try_adopt(struct worker *w, struct fg_worker_prepare *prepare, uint64_t now_ns)
{
    enum fg_status status = fg_worker_prepare_adopt(prepare, w->scheduler);
    if (status == FG_OK) {
        w->prepared_bytes -= prepare->payload_bytes;
        fg_worker_prepare_destroy(prepare);
        return true;
    }
    if (status == FG_ERR_BUSY && now_ns < prepare->adopt_until_ns)
        return false;
    start_job(w, prepare);
    return true;
}

static void adopt_what_can_be(struct worker *w)
{
    uint64_t now_ns = fg_clock_monotonic_ns();
    FG_LIST_EACH_SAFE(it, after, &w->adopting)
    {
        struct fg_worker_prepare *prepare = FG_CONTAINER_OF(it, struct fg_worker_prepare, link);
        fg_list_remove(it);
        prepare->is_alone = false; /* its turn is over, it goes to a helper */
        uint32_t place = begin_mark(w, prepare->stream_key);
        if (!try_adopt(w, prepare, now_ns))
            fg_list_insert_between(after->prev, it, after);
        end_mark(w, place);
    }
}

/* Bytes of the prompts that are being prepared, with this one. */
static struct fg_scheduler_figures prepared_figures(const struct worker *w, size_t more)
{
    return (struct fg_scheduler_figures){w->prepared_bytes + more, PREPARED_BYTES_MAX};
}

static void start_prepare(struct worker *w, struct fg_scheduler_ticket ticket,
                          struct fg_span payload, const struct fg_channel_submit *submit,
                          bool is_alone)
{
    struct fg_worker_prepare *prepare = NULL;
    if (w->prepared_bytes + payload.len <= PREPARED_BYTES_MAX)
        prepare = fg_worker_prepare_create(&w->model, ticket, payload, on_helper_done, w);
    if (prepare == NULL) {
        fg_scheduler_reject(w->scheduler, ticket, FG_REFUSAL_QUEUE_FULL,
                            prepared_figures(w, payload.len),
                            "too many prompts are being prepared");
        return;
    }
    prepare->arena = w->arena;
    prepare->worker_index = w->options.worker_index;
    prepare->stream_key = submit->stream_key;
    prepare->is_alone = is_alone;
    w->prepared_bytes += payload.len;
    uint64_t now_ns = fg_clock_monotonic_ns();
    prepare->adopt_until_ns = now_ns + ADOPT_WAIT_NS;
    if (!submit->may_adopt)
        start_job(w, prepare);
    else if (!try_adopt(w, prepare, now_ns))
        fg_list_push_back(&w->adopting, &prepare->link);
}

/* False: the id is in use, and the two sides no longer agree on anything. */
static bool admit(struct worker *w, const struct fg_scheduler_key *key, struct fg_span payload,
                  const struct fg_channel_submit *submit, bool is_alone)
{
    struct fg_scheduler_ticket ticket;
    uint32_t place = begin_mark(w, submit->stream_key);
    enum fg_status status = fg_scheduler_enter(w->scheduler, key, submit, &ticket);
    if (status == FG_OK)
        start_prepare(w, ticket, payload, submit, is_alone);
    end_mark(w, place);
    return status == FG_OK || status == FG_ERR_BUSY; /* busy: refused already */
}

/* Whether it is to be prepared when nothing else goes on. */
static bool must_be_alone(struct worker *w, const struct fg_channel_submit *submit)
{
    struct fg_blame blame = {0};
    if (!fg_list_is_empty(&w->deferred) || fg_scheduler_has_suspects(w->scheduler))
        return true;
    return submit->may_adopt && (fg_kv_arena_prepare_blame(w->arena, w->options.worker_index,
                                                           submit->stream_key, &blame) != FG_OK ||
                                 fg_blame_is_suspect(&blame));
}

static void defer(struct worker *w, const struct fg_scheduler_key *key, struct fg_span payload,
                  uint32_t choice_count)
{
    struct fg_worker_deferred *deferred = NULL;
    if (w->prepared_bytes + payload.len <= PREPARED_BYTES_MAX)
        deferred = fg_worker_deferred_create(key, payload, fg_clock_monotonic_ns() + ADOPT_WAIT_NS);
    if (deferred != NULL) {
        w->prepared_bytes += payload.len;
        fg_list_push_back(&w->deferred, &deferred->link);
        return;
    }
    for (uint32_t i = 0; i < choice_count; i++) {
        struct fg_scheduler_key each = {key->connection, key->request_id + i};
        fg_scheduler_turn_away(w->scheduler, &each, FG_REFUSAL_QUEUE_FULL,
                               prepared_figures(w, payload.len),
                               "too many prompts are being prepared");
    }
}

static bool take_submit(struct worker *w, const struct fg_scheduler_key *key,
                        struct fg_span payload)
{
    struct fg_channel_submit submit;
    if (fg_channel_read_submit(payload, &submit) != FG_OK)
        return false;
    if (!must_be_alone(w, &submit))
        return admit(w, key, payload, &submit, false);
    defer(w, key, payload, submit.choice_count);
    return true;
}

/* It has waited until nothing else goes on; false: what became of its last worker is not known. */
static bool admit_deferred(struct worker *w, const struct fg_worker_deferred *deferred)
{
    struct fg_span payload = fg_span_make(deferred->payload, deferred->payload_bytes);
    struct fg_channel_submit submit;
    struct fg_blame blame;
    enum fg_status status = fg_channel_read_submit(payload, &submit);
    assert(status == FG_OK); /* take_submit read the same bytes */
    status =
        fg_kv_arena_prepare_blame(w->arena, w->options.worker_index, submit.stream_key, &blame);
    if (status == FG_ERR_BUSY && fg_clock_monotonic_ns() < deferred->until_ns)
        return false;
    if (fg_blame_is_guilty(&blame)) {
        fg_kv_arena_prepare_forgive(w->arena, submit.stream_key); /* it does not come back */
        fg_scheduler_turn_away(w->scheduler, &deferred->key, FG_REFUSAL_FATAL,
                               (struct fg_scheduler_figures){0, 0},
                               "inference workers died while they prepared this request");
        return true;
    }
    struct fg_worker_link *link = find_link(w, deferred->key.connection);
    if (!admit(w, &deferred->key, payload, &submit, true) && link != NULL)
        fg_worker_link_fail(link);
    if (blame.suspicion > 0)
        fg_kv_arena_prepare_forgive(w->arena, submit.stream_key);
    return true;
}

/* One a turn, so that sockets and steps have theirs. True when there are more to be had now. */
static bool work_off_deferred(struct worker *w)
{
    if (fg_list_is_empty(&w->deferred) || !fg_list_is_empty(&w->prepares))
        return false;
    struct fg_worker_deferred *deferred =
        FG_CONTAINER_OF(w->deferred.next, struct fg_worker_deferred, link);
    fg_list_remove(&deferred->link);
    if (!admit_deferred(w, deferred)) {
        fg_list_push_back(&w->deferred, &deferred->link);
        return false;
    }
    w->prepared_bytes -= deferred->payload_bytes;
    fg_worker_deferred_destroy(deferred);
    return !fg_list_is_empty(&w->deferred);
}

static bool on_frame(struct fg_worker_link *link, const struct fg_channel_header *header,
                     struct fg_span payload, void *owner)
{
    struct worker *w = owner;
    struct fg_scheduler_key key = {fg_worker_link_key(link), header->request_id};
    switch (header->type) {
    case FG_CHANNEL_SUBMIT:
        return take_submit(w, &key, payload);
    case FG_CHANNEL_CANCEL:
        w->prepared_bytes -=
            fg_worker_deferred_forget(&w->deferred, key.connection, &key.request_id);
        fg_scheduler_cancel(w->scheduler, &key);
        return true;
    default:
        return false; /* only a worker says these */
    }
}

static enum fg_worker_role role_of(const struct fg_inference_conf *conf, uint32_t worker_index)
{
    if (worker_index < conf->prefill_workers)
        return FG_ROLE_PREFILL;
    bool decodes = worker_index - conf->prefill_workers < conf->decode_workers;
    return decodes ? FG_ROLE_DECODE : FG_ROLE_ANY;
}

static void say_hello(struct worker *w, struct fg_worker_link *link)
{
    struct fg_channel_hello hello = {
        .version = FG_CHANNEL_VERSION,
        .pid = (uint32_t)getpid(),
        .vocab_count = w->model.vocab_count,
        .context_max = w->model.context_max,
        .has_chat_template = w->model.chat != FG_CHAT_NONE,
        .role = role_of(w->options.conf, w->options.worker_index),
    };
    size_t room = frame_room(FG_SPAN(""));
    unsigned char *out = fg_worker_link_reserve(link, room);
    if (out != NULL)
        fg_worker_link_commit(link, fg_channel_write_hello(out, room, &hello));
}

/* A key whose place in `links` is free; false when all are taken. */
static bool take_key(struct worker *w, uint64_t *key)
{
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        uint64_t next = w->next_key++;
        if (w->links[next % LINKS_MAX] == NULL) {
            *key = next;
            return true;
        }
    }
    return false;
}

static void open_link(struct worker *w, int fd)
{
    uint64_t key;
    if (!take_key(w, &key)) {
        fg_log(FG_LOG_WARN, "worker_link_refused", "worker=%u reason=too_many max=%u",
               w->options.worker_index, LINKS_MAX);
        close(fd);
        return;
    }
    struct fg_worker_link_options options = {
        .base = w->base,
        .fd = fd,
        .key = key,
        .output_bytes_max = w->options.output_bytes_max,
        .on_frame = on_frame,
        .owner = w,
    };
    struct fg_worker_link *link = fg_worker_link_create(&options);
    if (link == NULL)
        return;
    w->links[key % LINKS_MAX] = link;
    say_hello(w, link);
}

static void on_acceptable(evutil_socket_t listen_fd, short events, void *owner)
{
    (void)events;
    struct worker *w = owner;
    for (;;) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd != -1) {
            open_link(w, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            /* Readable it stays; without a pause the loop would spin. */
            w->is_accepting_paused = true;
            event_del(w->acceptable);
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void on_mail(evutil_socket_t fd, short events, void *owner)
{
    (void)fd;
    (void)events;
    fg_mailbox_drain(&((struct worker *)owner)->mailbox);
}

static void on_heartbeat(evutil_socket_t fd, short events, void *owner)
{
    (void)fd;
    (void)events;
    struct worker *w = owner;
    uint64_t now_ns = fg_clock_monotonic_ns();
    fg_counter_set(&w->record->heartbeat_ns, now_ns);
    fg_kv_arena_reclaim_orphans(w->arena, now_ns);
    if (w->is_accepting_paused && !w->is_draining) {
        w->is_accepting_paused = false;
        event_add(w->acceptable, NULL);
    }
}

static void on_wake(evutil_socket_t fd, short events, void *owner)
{
    (void)fd;
    (void)events;
    (void)owner; /* the loop steps the scheduler after every turn */
}

static void on_terminate(evutil_socket_t signal_number, short events, void *owner)
{
    (void)signal_number;
    (void)events;
    struct worker *w = owner;
    if (w->is_draining)
        return;
    w->is_draining = true;
    w->drain_ends_ns = fg_clock_monotonic_ns() + w->options.drain_ns;
    event_del(w->acceptable);
    fg_log(FG_LOG_INFO, "worker_draining", "worker=%u running=%u waiting=%u",
           w->options.worker_index, fg_scheduler_running(w->scheduler),
           fg_scheduler_waiting(w->scheduler));
    fg_scheduler_drain(w->scheduler);
}

/* End of a turn: links that are closing take their sequences with them, the others send. */
static void tend_links(struct worker *w)
{
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        struct fg_worker_link *link = w->links[i];
        if (link == NULL)
            continue;
        fg_worker_link_flush(link);
        if (!fg_worker_link_is_closing(link))
            continue;
        w->links[i] = NULL;
        w->prepared_bytes -=
            fg_worker_deferred_forget(&w->deferred, fg_worker_link_key(link), NULL);
        fg_scheduler_cancel_connection(w->scheduler, fg_worker_link_key(link));
        fg_worker_link_destroy(link);
    }
}

static bool is_flushed(const struct worker *w)
{
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        if (w->links[i] != NULL && !fg_worker_link_is_flushed(w->links[i]))
            return false;
    }
    return true;
}

/* Whether a drain is over: nothing runs and all is sent, or its time is up. */
static bool is_drained(struct worker *w)
{
    if (!w->is_draining)
        return false;
    bool is_late = fg_clock_monotonic_ns() >= w->drain_ends_ns;
    if (is_late && fg_scheduler_running(w->scheduler) > 0) {
        fg_scheduler_evict(w->scheduler);
        tend_links(w);
    }
    return is_late || (fg_scheduler_running(w->scheduler) == 0 && is_flushed(w));
}

static void arm_wake(struct worker *w)
{
    uint64_t now_ns = fg_clock_monotonic_ns();
    uint64_t wake_ns = fg_scheduler_wake_ns(w->scheduler);
    bool polls = !fg_list_is_empty(&w->adopting) || !fg_list_is_empty(&w->deferred);
    if (polls && wake_ns > now_ns + ADOPT_POLL_NS)
        wake_ns = now_ns + ADOPT_POLL_NS;
    if (wake_ns == UINT64_MAX) {
        event_del(w->wake);
        return;
    }
    uint64_t left_us = wake_ns > now_ns ? (wake_ns - now_ns) / FG_US + 1 : 0;
    struct timeval left = {
        .tv_sec = (time_t)(left_us / 1000000),
        .tv_usec = (suseconds_t)(left_us % 1000000),
    };
    event_add(w->wake, &left);
}

static void serve(struct worker *w)
{
    bool has_work = false;
    while (!is_drained(w)) {
        /* Once, in both cases: without it libevent goes on for as long as sockets are ready. */
        int flags = EVLOOP_ONCE;
        if (has_work)
            flags |= EVLOOP_NONBLOCK;
        else
            arm_wake(w);
        if (event_base_loop(w->base, flags) == -1) {
            fg_log(FG_LOG_ERROR, "worker_loop_failed", "worker=%u", w->options.worker_index);
            w->is_failed = true;
            return;
        }
        /* Closed links first, so that what they held is free for this step already. */
        tend_links(w);
        adopt_what_can_be(w);
        bool has_more = work_off_deferred(w);
        /* A suspect's step is to be all that goes on; the helpers' mail wakes the loop. */
        bool may_step = fg_list_is_empty(&w->prepares) || !fg_scheduler_has_suspects(w->scheduler);
        has_work = (may_step && fg_scheduler_step(w->scheduler)) || has_more;
        tend_links(w);
    }
}

static bool open_events(struct worker *w)
{
    w->base = event_base_new();
    if (w->base == NULL || fg_mailbox_init(&w->mailbox) != FG_OK)
        return false;
    w->has_mailbox = true;
    int flags = fcntl(w->options.listen_fd, F_GETFL);
    if (flags == -1 || fcntl(w->options.listen_fd, F_SETFL, flags | O_NONBLOCK) == -1)
        return false;
    w->acceptable =
        event_new(w->base, w->options.listen_fd, EV_READ | EV_PERSIST, on_acceptable, w);
    w->mail = event_new(w->base, w->mailbox.event_fd, EV_READ | EV_PERSIST, on_mail, w);
    w->heartbeat = event_new(w->base, -1, EV_PERSIST, on_heartbeat, w);
    w->wake = event_new(w->base, -1, 0, on_wake, w);
    w->terminate = event_new(w->base, SIGTERM, EV_SIGNAL | EV_PERSIST, on_terminate, w);
    struct timeval beat = {.tv_sec = 0, .tv_usec = HEARTBEAT_MS * 1000};
    return w->acceptable != NULL && w->mail != NULL && w->heartbeat != NULL && w->wake != NULL &&
           w->terminate != NULL && event_add(w->terminate, NULL) == 0 &&
           event_add(w->acceptable, NULL) == 0 && event_add(w->mail, NULL) == 0 &&
           event_add(w->heartbeat, &beat) == 0;
}

static bool same_shape(const struct fg_kv_shape *a, const struct fg_kv_shape *b)
{
    return a->layer_count == b->layer_count && a->kv_head_count == b->kv_head_count &&
           a->head_dim == b->head_dim && a->type == b->type;
}

static enum fg_status open_arena(struct worker *w, struct fg_error *error)
{
    enum fg_status status = fg_kv_arena_attach(&w->arena, w->options.arena_fd, error);
    if (status != FG_OK)
        return status;
    w->store = fg_kv_arena_store(w->arena);
    if (!same_shape(&w->store.shape, &w->model.kv_shape))
        return fg_error_set(error, "the KV arena was made for another model");
    w->record = fg_kv_arena_worker(w->arena, w->options.worker_index);
    if (w->record == NULL)
        return fg_error_set(error, "worker %u: expected an index below %u", w->options.worker_index,
                            fg_kv_arena_worker_count(w->arena));
    fg_kv_arena_set_on_point(w->arena, w->options.on_point, w->options.on_point_owner);
    uint64_t now_ns = fg_clock_monotonic_ns();
    fg_kv_arena_worker_begin(w->arena, w->options.worker_index, (uint32_t)getpid(), now_ns,
                             now_ns + w->options.conf->orphan_keep_ns);
    return FG_OK;
}

static enum fg_status open_scheduler(struct worker *w, struct fg_error *error)
{
    const struct fg_inference_conf *conf = w->options.conf;
    unsigned threads = conf->threads_per_worker > 0 ? conf->threads_per_worker : 1;
    uint32_t step_tokens = conf->step_tokens_max > 0 ? conf->step_tokens_max : 1;
    enum fg_status status =
        fg_executor_create(&w->executor, w->model.model, &w->store, threads, step_tokens, error);
    if (status != FG_OK)
        return status;
    struct fg_scheduler_options options = {
        .conf = conf,
        .context_max = w->model.context_max,
        .vocab_count = w->model.vocab_count,
        .width = w->model.width,
        .worker_index = w->options.worker_index,
        .hands_over_after_prefill = role_of(conf, w->options.worker_index) == FG_ROLE_PREFILL,
        .arena = w->arena,
        .executor = w->executor,
        .tokenizer = w->model.tokenizer,
        .events = {on_token, on_done, on_refused, on_begun, w},
    };
    return fg_scheduler_create(&w->scheduler, &options, error);
}

static enum fg_status open_worker(struct worker *w, struct fg_error *error)
{
    enum fg_status status = fg_worker_model_open(&w->model, w->options.conf, error);
    if (status != FG_OK)
        return status;
    status = open_arena(w, error);
    if (status != FG_OK)
        return status;
    status = open_scheduler(w, error);
    if (status != FG_OK)
        return status;
    unsigned jobs_max = w->options.conf->batch_max + w->options.conf->waiting_max;
    w->helpers = fg_helper_pool_create(HELPER_COUNT, jobs_max > 0 ? jobs_max : 1);
    if (w->helpers == NULL)
        return fg_error_set(error, "worker: no memory for helper threads");
    if (!open_events(w))
        return fg_error_set(error, "worker: event loop: %s", strerror(errno));
    return FG_OK;
}

static void free_event(struct event *event)
{
    if (event != NULL)
        event_free(event);
}

static void close_worker(struct worker *w)
{
    fg_helper_pool_destroy(
        w->helpers); /* no job runs any more; what they posted stays in the list */
    struct fg_list *lists[] = {&w->prepares, &w->adopting};
    for (size_t i = 0; i < 2; i++) {
        FG_LIST_EACH_SAFE(it, after, lists[i])
        fg_worker_prepare_destroy(FG_CONTAINER_OF(it, struct fg_worker_prepare, link));
    }
    FG_LIST_EACH_SAFE(it, after, &w->deferred)
    fg_worker_deferred_destroy(FG_CONTAINER_OF(it, struct fg_worker_deferred, link));
    for (uint32_t i = 0; i < LINKS_MAX; i++)
        fg_worker_link_destroy(w->links[i]);
    fg_scheduler_destroy(w->scheduler);
    fg_executor_destroy(w->executor);
    free_event(w->acceptable);
    free_event(w->mail);
    free_event(w->heartbeat);
    free_event(w->wake);
    free_event(w->terminate);
    if (w->has_mailbox)
        fg_mailbox_fini(&w->mailbox);
    if (w->base != NULL)
        event_base_free(w->base);
    fg_kv_arena_detach(w->arena);
    fg_worker_model_close(&w->model);
}

/* True when the parent is there and its death will reach us. */
static bool follow_parent(pid_t parent_pid)
{
    if (parent_pid == 0)
        return true;
    /* Asked for first, checked second: a parent that dies in between is seen by one of the two. */
    return prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent_pid;
}

int fg_worker_run(const struct fg_worker_options *options)
{
    fg_log_set_level(options->log);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* a terminal sends it to everyone; the supervisor decides */
    if (!follow_parent(options->parent_pid))
        return 1;
    fg_background_enter();
    struct worker *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return 1;
    w->options = *options;
    if (w->options.drain_ns == 0)
        w->options.drain_ns = DRAIN_NS_DEFAULT;
    if (w->options.output_bytes_max == 0)
        w->options.output_bytes_max = OUTPUT_BYTES_DEFAULT;
    fg_list_init(&w->prepares);
    fg_list_init(&w->adopting);
    fg_list_init(&w->deferred);
    struct fg_error error = {0};
    int code = 2;
    if (open_worker(w, &error) == FG_OK) {
        fg_log(FG_LOG_INFO, "worker_ready", "worker=%u kernels=%s context=%u",
               options->worker_index, fg_executor_kernels(w->executor), w->model.context_max);
        serve(w);
        code = w->is_failed ? 1 : 0;
    } else {
        char text[1024];
        char quoted[1200];
        fg_error_format(&error, text, sizeof(text));
        fg_log(FG_LOG_ERROR, "worker_start_failed", "worker=%u error=%s", options->worker_index,
               fg_log_quote(quoted, sizeof(quoted), text, strlen(text)));
    }
    close_worker(w);
    free(w);
    return code;
}
