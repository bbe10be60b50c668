/*
 * inference_backend.c: the backend's outside: create and open, which path means what, readiness.
 * Thread   start-up for create and destroy; the event loops for the rest, each with its own state.
 * Never    blocks: workers are reached over non-blocking sockets, long bodies are parsed elsewhere.
 * Memory   per loop: a request table of sequences_max, a link per worker, scratch for one chunk.
 */
#include "inference/api/inference_backend.h"

#include "backends/json_reply.h"
#include "base/clock.h"
#include "inference/kv/kv_arena_shared.h"
#include "inference_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/un.h>

#define CHUNK_BYTES ((size_t)16 * 1024)
#define MAX_TOKENS_LIMIT_MAX (UINT32_C(1) << 20)
/* A killed worker is back within a second; a request waits twice the time in which a hung one is
 * found, and no longer than this. */
#define WORKER_WAIT_NS_MAX (5 * FG_S)

static void reply_models(struct fg_inference_thread *thread, struct fg_exchange *ex, bool is_list)
{
    const struct fg_inference *backend = thread->backend;
    uint64_t context_max = 0;
    for (uint32_t i = 0; i < backend->conf.worker_count && context_max == 0; i++)
        context_max = fg_counter_get(&backend->workers[i].context_max);
    json_t *model = json_pack("{s:s, s:s, s:I, s:s}", "id", backend->model_name, "object", "model",
                              "created", (json_int_t)backend->created_s, "owned_by", "floodgate");
    if (context_max > 0 && model != NULL)
        json_object_set_new(model, "max_model_len", json_integer((json_int_t)context_max));
    if (is_list)
        model = json_pack("{s:s, s:[o]}", "object", "list", "data", model);
    fg_json_reply(ex, 200, model, NULL, NULL);
}

static void refuse_method(struct fg_exchange *ex, struct fg_span allow)
{
    fg_exchange_refuse(ex, &(struct fg_backend_refusal){
                               .status = 405,
                               .type = "invalid_request_error",
                               .code = "method_not_allowed",
                               .message = "wrong method; the field allow names what is expected",
                               .allow = allow,
                           });
}

static void start_models(struct fg_inference_thread *thread, struct fg_exchange *ex)
{
    struct fg_span all = FG_SPAN("/v1/models");
    if (ex->method != FG_METHOD_GET && ex->method != FG_METHOD_HEAD) {
        refuse_method(ex, FG_SPAN("GET, HEAD"));
        return;
    }
    if (ex->path.len == all.len) {
        reply_models(thread, ex, true);
        return;
    }
    struct fg_span asked = fg_span_make(ex->path.data + all.len + 1, ex->path.len - all.len - 1);
    if (fg_span_equal(asked, fg_span_from_string(thread->backend->model_name)))
        reply_models(thread, ex, false);
    else
        fg_exchange_refuse(
            ex, &(struct fg_backend_refusal){
                    .status = 404,
                    .type = "invalid_request_error",
                    .code = "model_not_found",
                    .message = "this model does not exist; GET /v1/models lists what does",
                });
}

/* False: the path is none of those that have something made. */
static bool find_kind(struct fg_span path, enum fg_completion_kind *kind)
{
    static const struct {
        struct fg_span path;
        enum fg_completion_kind kind;
    } all[] = {{FG_SPAN_LITERAL("/v1/completions"), FG_COMPLETION_TEXT},
               {FG_SPAN_LITERAL("/v1/chat/completions"), FG_COMPLETION_CHAT},
               {FG_SPAN_LITERAL("/v1/embeddings"), FG_COMPLETION_EMBEDDING}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        *kind = all[i].kind;
        if (fg_span_equal(path, all[i].path))
            return true;
    }
    return false;
}

static bool wants_body(const struct fg_backend_thread *base, const struct fg_exchange *ex,
                       uint64_t *bytes_max)
{
    enum fg_completion_kind kind;
    *bytes_max = fg_generation_body_max(((const struct fg_inference_thread *)base)->backend, ex);
    return ex->method == FG_METHOD_POST && find_kind(ex->path, &kind);
}

static void start(struct fg_backend_thread *base, struct fg_exchange *ex)
{
    struct fg_inference_thread *thread = (struct fg_inference_thread *)base;
    enum fg_completion_kind kind;
    ex->counts_tokens = true;
    if (fg_span_equal(ex->path, FG_SPAN("/v1/models")) ||
        fg_span_starts_with(ex->path, FG_SPAN("/v1/models/")))
        start_models(thread, ex);
    else if (!find_kind(ex->path, &kind))
        fg_exchange_refuse(
            ex, &(struct fg_backend_refusal){
                    .status = 404,
                    .type = "invalid_request_error",
                    .code = "not_found",
                    .message = "nothing here; expected /v1/chat/completions, /v1/completions, "
                               "/v1/embeddings or /v1/models",
                });
    else if (ex->method != FG_METHOD_POST)
        refuse_method(ex, FG_SPAN("POST"));
    else
        fg_generation_start(thread, ex, kind);
}

/* Every way that an exchange can end clears backend_state; a late call finds nothing. */
static void on_body(struct fg_exchange *ex, const void *data, size_t len, bool is_last)
{
    assert(is_last); /* wants_body says so */
    if (ex->backend_state != NULL)
        fg_generation_on_body(ex->backend_state, fg_span_make(data, len));
}

static void on_writable(struct fg_exchange *ex)
{
    if (ex->backend_state != NULL)
        fg_generation_on_writable(ex->backend_state);
}

static void cancel(struct fg_exchange *ex)
{
    if (ex->backend_state != NULL)
        fg_generation_cancel(ex->backend_state);
}

static bool is_ready(struct fg_backend *base, const char **why)
{
    const struct fg_inference *backend = (const struct fg_inference *)base;
    for (uint32_t i = 0; i < backend->conf.worker_count; i++) {
        if (fg_counter_get(&backend->workers[i].connections) > 0)
            return true;
    }
    *why = "no inference worker is connected";
    return false;
}

static void on_wait_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    fg_placement_retry(arg);
}

static void thread_close(struct fg_backend_thread *base)
{
    struct fg_inference_thread *thread = (struct fg_inference_thread *)base;
    if (thread == NULL)
        return;
    struct fg_inference *backend = thread->backend;
    assert(thread->table == NULL || fg_request_table_count(thread->table) == 0);
    for (uint32_t i = 0; thread->links != NULL && i < backend->conf.worker_count; i++) {
        if (thread->links[i].state == FG_LINK_READY)
            fg_counter_sub(&backend->workers[i].connections, 1);
        fg_channel_link_close(&thread->links[i]);
    }
    if (thread->wait_timer != NULL)
        event_free(thread->wait_timer);
    if (thread->anchor != NULL) {
        thread->anchor->thread = NULL;
        fg_inference_anchor_release(thread->anchor);
    }
    fg_request_table_destroy(thread->table);
    free(thread->links);
    free(thread->chunk);
    free(thread);
}

static bool open_links(struct fg_inference_thread *thread)
{
    const struct fg_inference *backend = thread->backend;
    const struct fg_inference_conf *conf = &backend->conf;
    /* Two of the largest requests, each with all of its tokens. */
    size_t request_bytes =
        (conf->body_bytes_max < FG_CHANNEL_PAYLOAD_MAX ? (size_t)conf->body_bytes_max
                                                       : FG_CHANNEL_PAYLOAD_MAX) +
        (size_t)backend->limits.max_tokens_limit * 4 + 64 * 1024;
    for (uint32_t i = 0; i < conf->worker_count; i++) {
        struct fg_channel_link *link = &thread->links[i];
        link->worker_index = i;
        link->path = backend->worker_paths[i];
        link->owner = thread;
        link->events = &fg_placement_events;
        link->base = thread->env->base;
        link->out_bytes_max = 2 * request_bytes;
        link->turn_max_ns = conf->turn_max_ns / conf->worker_count;
        link->turns_cut = &thread->metrics->turns_cut;
        link->cancel_bytes_max = (size_t)conf->sequences_max * FG_CHANNEL_HEADER_BYTES;
        if (fg_channel_link_open(link) != FG_OK)
            return false;
    }
    return true;
}

static bool open_parts(struct fg_inference_thread *thread)
{
    struct fg_inference *backend = thread->backend;
    thread->chunk_bytes = CHUNK_BYTES + 12 * strlen(backend->model_name);
    thread->chunk = malloc(thread->chunk_bytes);
    thread->table = fg_request_table_create(backend->conf.sequences_max);
    thread->anchor = calloc(1, sizeof(*thread->anchor));
    thread->wait_timer = evtimer_new(thread->env->base, on_wait_timer, thread);
    thread->links = calloc(backend->conf.worker_count, sizeof(thread->links[0]));
    thread->metrics = fg_inference_metrics_add(&backend->metrics);
    if (thread->anchor == NULL)
        return false;
    *thread->anchor = (struct fg_inference_anchor){thread, 1};
    return thread->chunk != NULL && thread->table != NULL && thread->wait_timer != NULL &&
           thread->links != NULL && thread->metrics != NULL && open_links(thread);
}

static struct fg_backend_thread *
thread_open(struct fg_backend *base, const struct fg_backend_env *env, struct fg_error *error)
{
    struct fg_inference_thread *thread = calloc(1, sizeof(*thread));
    if (thread != NULL) {
        thread->base.backend = base;
        thread->backend = (struct fg_inference *)base;
        thread->env = env;
        thread->wait_timer_ns = UINT64_MAX;
        fg_list_init(&thread->waiting);
        if (open_parts(thread))
            return &thread->base;
        thread_close(&thread->base);
    }
    (void)fg_error_set(error, "no memory for the inference backend");
    return NULL;
}

static void destroy(struct fg_backend *base)
{
    struct fg_inference *backend = (struct fg_inference *)base;
    if (backend == NULL)
        return;
    for (uint32_t i = 0; backend->worker_paths != NULL && i < backend->conf.worker_count; i++)
        free(backend->worker_paths[i]);
    fg_inference_metrics_fini(&backend->metrics);
    free(backend->worker_paths);
    free(backend->workers);
    free(backend->model_name);
    free(backend->name);
    free(backend);
}

static void sample(struct fg_backend *base, uint64_t now_ns, struct fg_overload_sample *into)
{
    (void)now_ns;
    const struct fg_inference *backend = (const struct fg_inference *)base;
    struct fg_kv_gauges gauges;
    if (backend->arena == NULL)
        return;
    fg_kv_arena_gauges(backend->arena, &gauges);
    into->of[FG_OVERLOAD_KV_BLOCKS] =
        (struct fg_overload_use){gauges.blocks_used, gauges.blocks_total};
}

static const struct fg_backend_ops inference_ops = {
    .kind = "inference",
    .thread_open = thread_open,
    .thread_close = thread_close,
    .wants_body = wants_body,
    .start = start,
    .on_body = on_body,
    .on_writable = on_writable,
    .cancel = cancel,
    .is_ready = is_ready,
    .stats = fg_inference_stats,
    .sample = sample,
    .destroy = destroy,
};

/* The name that clients use: as configured, or the file's without folder and .gguf. */
static char *make_model_name(const struct fg_inference_conf *conf)
{
    if (conf->model_name != NULL && conf->model_name[0] != '\0')
        return strdup(conf->model_name);
    const char *path = conf->model == NULL ? "" : conf->model;
    const char *slash = strrchr(path, '/');
    char *name = strdup(slash == NULL ? path : slash + 1);
    size_t len = name == NULL ? 0 : strlen(name);
    if (len > 5 && strcmp(name + len - 5, ".gguf") == 0)
        name[len - 5] = '\0';
    return name;
}

static bool conf_is_good(const struct fg_inference_conf *conf,
                         const char *const *worker_socket_paths, struct fg_error *error)
{
    if (conf->worker_count == 0 || conf->sequences_max == 0 ||
        conf->sequences_max > UINT32_C(1) << 24 || conf->max_tokens_limit == 0 ||
        conf->max_tokens_limit > MAX_TOKENS_LIMIT_MAX || conf->max_tokens_default == 0) {
        (void)fg_error_set(error,
                           "inference: workers, sequences_max, max_tokens_default and "
                           "max_tokens_limit must be at least 1, and max_tokens_limit at "
                           "most %u",
                           MAX_TOKENS_LIMIT_MAX);
        return false;
    }
    for (uint32_t i = 0; i < conf->worker_count; i++) {
        if (strlen(worker_socket_paths[i]) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
            (void)fg_error_set(error,
                               "inference: the socket path %s is too long; expected at "
                               "most %zu bytes",
                               worker_socket_paths[i],
                               sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
            return false;
        }
    }
    return true;
}

static uint64_t worker_wait_ns(uint64_t worker_hang_ns)
{
    if (worker_hang_ns == 0 || worker_hang_ns > WORKER_WAIT_NS_MAX / 2)
        return WORKER_WAIT_NS_MAX;
    return 2 * worker_hang_ns;
}

static bool make_parts(struct fg_inference *backend, const char *name,
                       const char *const *worker_socket_paths)
{
    const struct fg_inference_conf *conf = &backend->conf;
    backend->name = strdup(name);
    backend->model_name = make_model_name(conf);
    backend->workers = calloc(conf->worker_count, sizeof(backend->workers[0]));
    backend->worker_paths = calloc(conf->worker_count, sizeof(backend->worker_paths[0]));
    if (backend->name == NULL || backend->model_name == NULL || backend->workers == NULL ||
        backend->worker_paths == NULL)
        return false;
    for (uint32_t i = 0; i < conf->worker_count; i++) {
        backend->worker_paths[i] = strdup(worker_socket_paths[i]);
        if (backend->worker_paths[i] == NULL)
            return false;
    }
    backend->base = (struct fg_backend){&inference_ops, backend->name};
    backend->limits = (struct fg_completion_limits){backend->model_name, conf->max_tokens_default,
                                                    conf->max_tokens_limit};
    struct fg_siphash_key *key = &backend->tenant_key;
    if (backend->arena != NULL)
        *key = fg_kv_arena_derive_key(backend->arena, "tenant");
    else if (getrandom(key, sizeof(*key), 0) != (ssize_t)sizeof(*key))
        return false;
    return getrandom(&backend->hash_seed, sizeof(backend->hash_seed), 0) ==
           (ssize_t)sizeof(backend->hash_seed);
}

struct fg_backend *fg_inference_create(const char *name, const struct fg_inference_conf *conf,
                                       struct fg_kv_arena *arena,
                                       const char *const *worker_socket_paths,
                                       struct fg_error *error)
{
    if (!conf_is_good(conf, worker_socket_paths, error))
        return NULL;
    struct fg_inference *backend = calloc(1, sizeof(*backend));
    if (backend != NULL) {
        backend->conf = *conf;
        backend->arena = arena;
        backend->created_s = fg_clock_wall_ns() / FG_S;
        backend->worker_wait_ns = worker_wait_ns(conf->worker_hang_ns);
        if (make_parts(backend, name, worker_socket_paths))
            return &backend->base;
        destroy(&backend->base);
    }
    (void)fg_error_set(error, "inference: no memory");
    return NULL;
}
