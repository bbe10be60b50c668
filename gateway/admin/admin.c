/*
 * admin.c: a small handler over the same codecs as the public listeners, on a loop of its own.
 * Requests are few and answers are whole, so each is made in one go; admin.answers_max bounds those
 * that nobody reads.
 */
#include "admin.h"

#include "admin/admin_access.h"
#include "admin/admin_query.h"
#include "admin/cache_pages.h"
#include "admin/dashboard.h"
#include "admin/endpoint_page.h"
#include "admin/explain.h"
#include "admin/sampler.h"
#include "admin/stats.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/log.h"
#include "policies/cache/http_date.h"

#include <assert.h>
#include <event2/event.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#define ARENA_CHUNKS 2048
#define LAST_ANSWERS_NS (2 * FG_S) /* as a codec waits for the request of a new connection */
#define SMALL_ANSWER_BYTES ((size_t)4096)
#define NUMBERS_FORM (JSON_COMPACT | JSON_REAL_PRECISION(9))

/* A page that takes long to make: all who ask for it in one turn of the loop get the same. */
struct page_of_turn {
    uint64_t turn;
    char *text; /* NULL: none yet */
    size_t len;
};

struct fg_admin {
    struct fg_admin_options options;
    struct fg_admin_access access;
    struct fg_limits_conf limits;
    struct fg_listener_conf listener;
    struct fg_loop *loop;
    struct fg_net *net;
    struct event *sample_timer;
    struct fg_heap_watch heap;
    uint64_t changes_version; /* of the endpoints' changes that are in force */
    struct page_of_turn stats;
    struct page_of_turn metrics;
    uint64_t unread_bytes; /* of answers that are not in the socket yet */
    struct fg_flag is_draining;
    struct fg_message stop_message;
    pthread_t thread;
};

/* ---- answers ---- */

/*
 * May it wait until its client reads it? With a hundred streams a connection those would be
 * gigabytes. A page that is the only one may be as large as it is.
 */
static bool try_hold(struct fg_request *req, size_t len)
{
    static struct fg_log_limit limit;
    struct fg_admin *admin = req->handler_ctx;
    if (len > SMALL_ANSWER_BYTES && admin->unread_bytes > 0 &&
        admin->unread_bytes + len > admin->options.config->admin.answers_bytes_max) {
        fg_log_limited(&limit, 1, FG_LOG_WARN, "admin_answers_unread", "bytes=%" PRIu64,
                       admin->unread_bytes);
        return false;
    }
    admin->unread_bytes += len;
    req->handler_state = (void *)(uintptr_t)len; /* nothing else is known of a request here */
    return true;
}

/* `allow` has no data but in a 405. */
static void answer_allowing(struct fg_request *req, unsigned status, struct fg_span type,
                            struct fg_span body, struct fg_span allow)
{
    char date[FG_HTTP_DATE_BYTES];
    if (!try_hold(req, body.len)) {
        status = 503;
        type = FG_SPAN("text/plain; charset=utf-8");
        body = FG_SPAN("pages of more than admin.answers_max wait to be read\n");
    }
    fg_http_date_format((int64_t)(fg_clock_wall_ns() / FG_S), date);
    const struct fg_field fields[] = {
        {FG_SPAN("content-type"), type},
        {FG_SPAN("content-length"), fg_arena_try_u64(req->ex.arena, body.len)},
        {FG_SPAN("cache-control"), FG_SPAN("no-store")},
        {FG_SPAN("x-content-type-options"), FG_SPAN("nosniff")},
        {FG_SPAN("content-security-policy"),
         FG_SPAN("default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'")},
        {FG_SPAN("x-request-id"), req->ex.request_id},
        {FG_SPAN("date"), fg_span_from_string(date)},
        {FG_SPAN("allow"), allow},
    };
    size_t count = sizeof(fields) / sizeof(fields[0]) - (allow.data == NULL ? 1 : 0);
    bool has_body = body.len > 0;
    fg_response_head(req, status, fields, count, !has_body);
    if (!has_body)
        return;
    (void)fg_response_write(req, body.data, body.len);
    fg_response_end(req);
}

static void answer(struct fg_request *req, unsigned status, struct fg_span type,
                   struct fg_span body)
{
    answer_allowing(req, status, type, body, (struct fg_span){NULL, 0});
}

static void answer_text(struct fg_request *req, unsigned status, const char *text)
{
    answer(req, status, FG_SPAN("text/plain; charset=utf-8"), fg_span_from_string(text));
}

/* Takes the reference. */
static void answer_json(struct fg_request *req, json_t *json)
{
    char *text = json == NULL ? NULL : json_dumps(json, NUMBERS_FORM);
    json_decref(json);
    if (text == NULL)
        answer_text(req, 503, "not enough memory for this page\n");
    else
        answer(req, 200, FG_SPAN("application/json"), fg_span_from_string(text));
    free(text);
}

/* ---- pages ---- */

static char *write_stats(const struct fg_admin_options *options, size_t *len)
{
    json_t *json = fg_admin_stats(options);
    char *text = json == NULL ? NULL : json_dumps(json, NUMBERS_FORM);
    json_decref(json);
    *len = text == NULL ? 0 : strlen(text);
    return text;
}

static void show_page_of_turn(struct fg_admin *admin, struct fg_request *req,
                              struct page_of_turn *page, struct fg_span type,
                              char *(*write)(const struct fg_admin_options *options, size_t *len))
{
    uint64_t turn = fg_loop_turn(admin->loop);
    if (page->text == NULL || page->turn != turn) {
        free(page->text);
        page->turn = turn;
        page->text = write(&admin->options, &page->len);
    }
    if (page->text == NULL)
        answer_text(req, 503, "not enough memory for this page\n");
    else
        answer(req, 200, type, fg_span_make(page->text, page->len));
}

static void show_stats(struct fg_admin *admin, struct fg_request *req)
{
    show_page_of_turn(admin, req, &admin->stats, FG_SPAN("application/json"), write_stats);
}

static void show_metrics(struct fg_admin *admin, struct fg_request *req)
{
    show_page_of_turn(admin, req, &admin->metrics,
                      FG_SPAN("text/plain; version=0.0.4; charset=utf-8"), fg_admin_metrics);
}

static void show_config(struct fg_admin *admin, struct fg_request *req)
{
    answer_json(req, fg_config_to_json(admin->options.config));
}

static void show_health(struct fg_admin *admin, struct fg_request *req)
{
    (void)admin;
    answer_text(req, 200, "ok\n");
}

static void show_readiness(struct fg_admin *admin, struct fg_request *req)
{
    const char *backend = NULL, *why = NULL;
    if (fg_flag_is_raised(&admin->is_draining)) {
        answer_text(req, 503, "draining\n");
    } else if (!fg_admin_is_ready(&admin->options, &backend, &why)) {
        struct fg_span text = fg_arena_try_printf(req->ex.arena, "backend %s: %s\n", backend, why);
        answer_text(req, 503, text.data == NULL ? "not ready\n" : text.data);
    } else {
        answer_text(req, 200, "ready\n");
    }
}

static void show_cache(struct fg_admin *admin, struct fg_request *req)
{
    json_t *objects = fg_admin_cache_objects(&admin->options, &req->ex);
    if (objects == NULL)
        answer_text(req, 400, "expected prefix=, or no query\n");
    else
        answer_json(req, objects);
}

static void purge_cache(struct fg_admin *admin, struct fg_request *req)
{
    json_t *purged = fg_admin_purge_cache(&admin->options, &req->ex);
    if (purged == NULL) /* a misspelt one must not empty the whole cache */
        answer_text(req, 400, "expected one of path=, prefix= and tag=, or no query\n");
    else
        answer_json(req, purged);
}

static void change_endpoint(struct fg_admin *admin, struct fg_request *req)
{
    const char *text;
    unsigned status = fg_admin_change_endpoint(&admin->options, &req->ex, &text);
    answer_text(req, status, text);
}

static json_t *outcome_json(const struct fg_reload_board *board, enum fg_reload_kind kind)
{
    struct fg_reload_outcome outcome;
    if (!fg_reload_board_read(board, kind, &outcome))
        return NULL;
    return json_pack("{s:I,s:s,s:I,s:I,s:I,s:s}", "ticket", (json_int_t)outcome.ticket, "state",
                     fg_reload_state_name(outcome.state), "generation",
                     (json_int_t)outcome.generation, "workers_exchanged",
                     (json_int_t)outcome.workers_exchanged, "workers",
                     (json_int_t)outcome.worker_count, "text", outcome.text);
}

/* POST asks for one; GET tells what became of the last ones. */
static void reload(struct fg_admin *admin, struct fg_request *req)
{
    struct fg_reload_board *board = admin->options.reloads;
    bool is_workers = fg_span_equal(req->ex.query, FG_SPAN("workers"));
    if (board == NULL) {
        answer_text(req, 503, "no supervisor to ask\n");
    } else if (req->ex.method != FG_METHOD_POST) {
        answer_json(req, json_pack("{s:o?,s:o?}", "config", outcome_json(board, FG_RELOAD_CONFIG),
                                   "workers", outcome_json(board, FG_RELOAD_WORKERS)));
    } else if (req->ex.query.len > 0 && !is_workers) {
        answer_text(req, 400, "expected ?workers, or no query\n");
    } else {
        uint64_t ticket =
            fg_reload_board_ask(board, is_workers ? FG_RELOAD_WORKERS : FG_RELOAD_CONFIG);
        if (ticket == 0)
            answer_text(req, 503, "the supervisor is not there\n");
        else
            answer_json(req, json_pack("{s:I}", "ticket", (json_int_t)ticket));
    }
}

/* What is in flight is finished, within limits.drain_timeout; then all processes end. */
static void drain(struct fg_admin *admin, struct fg_request *req)
{
    const struct fg_reload_board *board = admin->options.reloads;
    if (board == NULL || !fg_reload_board_ask_stop(board))
        answer_text(req, 503, "no supervisor to ask\n");
    else
        answer_text(req, 202, "draining\n");
}

/* ?request_id= */
static void show_explanation(struct fg_admin *admin, struct fg_request *req)
{
    struct fg_admin_query query;
    struct fg_span name, value;
    bool is_known = false;
    fg_admin_query_init(&query, &req->ex);
    if (!fg_admin_query_next(&query, &name, &value) || query.rest.data != NULL ||
        !fg_span_equal(name, FG_SPAN("request_id")) || value.len == 0) {
        answer_text(req, 400, "expected request_id=, as in the x-request-id field of an answer\n");
        return;
    }
    json_t *json = fg_admin_explain(admin->options.pipeline, value, &is_known);
    if (is_known)
        answer_json(req, json);
    else
        answer_text(req, 404, "this request is not among the recent ones\n");
}

enum page_methods { TAKES_GET = 1, TAKES_POST = 2 };

static const struct page {
    struct fg_span path;
    unsigned methods; /* enum page_methods */
    void (*show)(struct fg_admin *admin, struct fg_request *req);
} pages[] = {
    {FG_SPAN_LITERAL("/stats"), TAKES_GET, show_stats},
    {FG_SPAN_LITERAL("/metrics"), TAKES_GET, show_metrics},
    {FG_SPAN_LITERAL("/config"), TAKES_GET, show_config},
    {FG_SPAN_LITERAL("/explain"), TAKES_GET, show_explanation},
    {FG_SPAN_LITERAL("/healthz"), TAKES_GET, show_health},
    {FG_SPAN_LITERAL("/readyz"), TAKES_GET, show_readiness},
    {FG_SPAN_LITERAL("/cache/objects"), TAKES_GET, show_cache},
    {FG_SPAN_LITERAL("/cache/purge"), TAKES_POST, purge_cache},
    {FG_SPAN_LITERAL("/clusters/endpoints"), TAKES_POST, change_endpoint},
    {FG_SPAN_LITERAL("/reload"), TAKES_GET | TAKES_POST, reload},
    {FG_SPAN_LITERAL("/drain"), TAKES_POST, drain},
};

static unsigned method_of(const struct fg_request *req)
{
    switch (req->ex.method) {
    case FG_METHOD_GET:
    case FG_METHOD_HEAD:
        return TAKES_GET;
    case FG_METHOD_POST:
        return TAKES_POST;
    default:
        return 0;
    }
}

static void refuse_method(struct fg_request *req, unsigned methods)
{
    static const struct fg_span allowed[] = {
        [TAKES_GET] = FG_SPAN_LITERAL("GET, HEAD"),
        [TAKES_POST] = FG_SPAN_LITERAL("POST"),
        [TAKES_GET | TAKES_POST] = FG_SPAN_LITERAL("GET, HEAD, POST"),
    };
    answer_allowing(req, 405, FG_SPAN("text/plain; charset=utf-8"),
                    methods == TAKES_POST ? FG_SPAN("this page takes POST\n")
                                          : FG_SPAN("this page takes GET\n"),
                    allowed[methods]);
}

static void show_page(const struct page *page, struct fg_admin *admin, struct fg_request *req)
{
    if ((page->methods & method_of(req)) == 0)
        refuse_method(req, page->methods);
    else
        page->show(admin, req);
}

static void on_request(void *handler, struct fg_request *req)
{
    struct fg_admin *admin = handler;
    const char *refusal =
        fg_admin_access_refuses(&admin->access, req, method_of(req) == TAKES_POST);
    if (refusal != NULL) {
        answer_text(req, 403, refusal);
        return;
    }
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (!fg_span_equal(pages[i].path, req->ex.path))
            continue;
        show_page(&pages[i], admin, req);
        return;
    }
    const struct fg_dashboard_file *file = fg_dashboard_find(req->ex.path);
    if (file != NULL && method_of(req) != TAKES_GET)
        refuse_method(req, TAKES_GET);
    else if (file != NULL)
        answer(req, 200, file->type, file->body);
    else
        answer_text(
            req, 404,
            "no such page; expected /, /stats, /metrics, /healthz, /readyz, "
            "/config, /explain, /cache/objects, /reload, POST /cache/purge, POST /reload, POST "
            "/drain or POST /clusters/endpoints\n");
}

static void on_body(struct fg_request *req, const void *data, size_t len, bool is_last)
{
    (void)data;
    (void)is_last;
    fg_request_consumed(req, len); /* no page reads one */
}

static void on_writable(struct fg_request *req)
{
    (void)req; /* answers are written whole */
}

static void on_gone(struct fg_request *req, enum fg_gone_reason reason)
{
    (void)req;
    (void)reason;
}

static void on_done(struct fg_request *req)
{
    struct fg_admin *admin = req->handler_ctx;
    uint64_t held = (uintptr_t)req->handler_state;
    assert(held <= admin->unread_bytes);
    admin->unread_bytes -= held;
}

static const struct fg_request_handler handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_writable = on_writable,
    .on_gone = on_gone,
    .on_done = on_done,
};

/* ---- sampling ---- */

static void on_sample(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_admin *admin = arg;
    fg_admin_sample(&admin->options, fg_flag_is_raised(&admin->is_draining));
    fg_admin_follow_changes(&admin->options, &admin->changes_version);
    (void)fg_heap_trim(&admin->heap, fg_clock_monotonic_ns());
}

/* ---- life ---- */

static void *run_admin(void *arg)
{
    struct fg_admin *admin = arg;
    fg_loop_run(admin->loop);
    return NULL;
}

static void on_drained(void *ctx)
{
    struct fg_admin *admin = ctx;
    fg_loop_stop(admin->loop);
}

static void run_stop(struct fg_message *message)
{
    struct fg_admin *admin = FG_CONTAINER_OF(message, struct fg_admin, stop_message);
    event_del(admin->sample_timer);
    fg_net_drain(admin->net, fg_clock_monotonic_ns() + LAST_ANSWERS_NS, on_drained, admin);
}

static bool open_admin(struct fg_admin *admin, struct fg_error *error)
{
    const struct fg_config *config = admin->options.config;
    fg_error_set(error, "admin: not enough memory or file descriptors");
    admin->loop = fg_loop_create(admin->options.thread_count, ARENA_CHUNKS);
    if (admin->loop == NULL)
        return false;
    admin->net = fg_net_create(&(struct fg_net_options){.loop = admin->loop,
                                                        .is_for_operators = true,
                                                        .limits = &admin->limits,
                                                        .thread_count = 1,
                                                        .handler = &handler,
                                                        .handler_ctx = admin});
    admin->sample_timer = event_new(fg_loop_base(admin->loop), -1, EV_PERSIST, on_sample, admin);
    if (admin->net == NULL || admin->sample_timer == NULL)
        return false;
    uint64_t us = config->overload.interval_ns / 1000;
    struct timeval every = {.tv_sec = (time_t)(us / 1000000),
                            .tv_usec = (suseconds_t)(us % 1000000)};
    event_add(admin->sample_timer, &every);
    admin->listener = (struct fg_listener_conf){.name = "admin",
                                                .address = config->admin.address,
                                                .kind = FG_LISTENER_PLAIN,
                                                .backlog = 64};
    return admin->options.listen_fd == -1 ||
           fg_net_listen(admin->net, admin->options.listen_fd, &admin->listener, NULL) == FG_OK;
}

static void free_admin(struct fg_admin *admin)
{
    if (admin->sample_timer != NULL)
        event_free(admin->sample_timer);
    if (admin->net != NULL)
        fg_net_destroy(admin->net);
    fg_loop_destroy(admin->loop);
    free(admin->stats.text);
    free(admin->metrics.text);
    free((void *)(uintptr_t)admin->options.nets);
    free((void *)(uintptr_t)admin->options.loops);
    free(admin);
}

struct fg_admin *fg_admin_start(const struct fg_admin_options *options, struct fg_error *error)
{
    struct fg_admin *admin = calloc(1, sizeof(*admin));
    if (admin == NULL) {
        fg_error_set(error, "admin: not enough memory");
        return NULL;
    }
    admin->options = *options;
    fg_admin_access_init(&admin->access, &options->config->admin, options->listen_fd);
    admin->limits = options->config->limits;
    admin->limits.connections_max = 128;
    admin->limits.connections_per_ip_max = 128;
    admin->limits.connection_buffer_bytes = 4 << 20; /* a page is written whole */
    admin->limits.request_memory_max = 1 << 20;
    admin->stop_message.run = run_stop;
    struct fg_net **nets = malloc(options->thread_count * sizeof(*nets));
    struct fg_loop **loops = malloc(options->thread_count * sizeof(*loops));
    admin->options.nets = nets;
    admin->options.loops = loops;
    for (unsigned i = 0; nets != NULL && loops != NULL && i < options->thread_count; i++) {
        nets[i] = options->nets[i];
        loops[i] = options->loops[i];
    }
    if (nets == NULL || loops == NULL || !open_admin(admin, error)) {
        free_admin(admin);
        return NULL;
    }
    /* Who follows another in the middle of a flood knows of it before its first request. The pace
     * of waiting rooms may still be the predecessor's. */
    fg_admin_sample(&admin->options, true);
    fg_admin_follow_changes(&admin->options, &admin->changes_version);
    if (pthread_create(&admin->thread, NULL, run_admin, admin) != 0) {
        free_admin(admin);
        return NULL;
    }
    return admin;
}

void fg_admin_stop(struct fg_admin *admin)
{
    if (admin == NULL)
        return;
    fg_mailbox_post(fg_loop_mailbox(admin->loop), &admin->stop_message);
    pthread_join(admin->thread, NULL);
    free_admin(admin);
}

void fg_admin_set_draining(struct fg_admin *admin)
{
    fg_flag_raise(&admin->is_draining);
}
