/*
 * pipeline.c: make the stages' shared objects once, and each loop's part of them.
 */
#include "cache_fetch.h"
#include "cache_unread.h"
#include "room_desk.h"
#include "session.h"
#include "upstream/gate_conf.h"

#include <event2/event.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/random.h>

#define HEADS_PERMILLE 50       /* of request memory */
#define SESSION_KEYS_MAX 100000 /* addresses remembered; about 6 MiB */

/* ---- what all loops share ---- */

static enum fg_status no_memory(struct fg_error *error)
{
    return fg_error_set(error, "not enough memory for the pipeline's tables");
}

static bool make_identity(struct fg_pipeline *pipeline)
{
    const struct fg_identity_conf *conf = &pipeline->config->identity;
    pipeline->api_keys = fg_api_keys_create(conf);
    if (conf->signing_key_count > 0)
        pipeline->own_nonces = fg_nonce_table_create(conf->nonces_max, fg_clock_wall_ns() / FG_S);
    pipeline->nonces = pipeline->own_nonces;
    return pipeline->api_keys != NULL && (pipeline->nonces != NULL || conf->signing_key_count == 0);
}

static bool make_rate_tables(struct fg_pipeline *pipeline)
{
    const struct fg_config *config = pipeline->config;
    pipeline->rate_tables = calloc(config->rate_limit_count + 1, sizeof(*pipeline->rate_tables));
    if (pipeline->rate_tables == NULL)
        return false;
    static const struct fg_limit_part by_ip = {.kind = FG_LIMIT_BY_IP};
    uint32_t sessions = config->identity.sessions_per_ip_max_per_minute;
    if (sessions > 0) {
        pipeline->session_limit_conf = (struct fg_rate_limit_conf){.name = "sessions_per_ip",
                                                                   .parts = &by_ip,
                                                                   .part_count = 1,
                                                                   .whose = "address",
                                                                   .ipv4_prefix = 32,
                                                                   .ipv6_prefix = 64,
                                                                   .rate = {sessions, 60 * FG_S},
                                                                   .burst = sessions,
                                                                   .keys_max = SESSION_KEYS_MAX};
        pipeline->session_limit = fg_rate_table_create(&pipeline->session_limit_conf);
        if (pipeline->session_limit == NULL)
            return false;
    }
    for (size_t i = 0; i < config->rate_limit_count; i++) {
        pipeline->rate_tables[i] = fg_rate_table_create(&config->rate_limits[i]);
        if (pipeline->rate_tables[i] == NULL)
            return false;
    }
    return true;
}

/* 32 bytes of the JWT secret's, the same on all gateways that share it. */
static bool derive(const struct fg_pipeline *pipeline, struct fg_span label, unsigned char out[32])
{
    struct fg_jwt_signer *signer = fg_jwt_signer_create(&pipeline->jwt_key);
    bool is_made = signer != NULL && fg_jwt_mac(signer, label, FG_SPAN(""), out);
    fg_jwt_signer_destroy(signer);
    return is_made;
}

static bool make_rooms(struct fg_pipeline *pipeline, const struct fg_room_memory *lines,
                       struct fg_error *error)
{
    const struct fg_config *config = pipeline->config;
    uint64_t now_ns = fg_clock_monotonic_ns();
    unsigned char secret[FG_ROOM_SECRET_BYTES];
    const struct fg_redis_script script = fg_room_script();
    unsigned script_index = UINT_MAX;
    pipeline->rooms = calloc(config->route_count + 1, sizeof(*pipeline->rooms));
    if (pipeline->rooms == NULL || !derive(pipeline, FG_SPAN("waiting room tickets|"), secret))
        return false;
    for (size_t i = 0; i < config->route_count; i++) {
        const struct fg_route_conf *route = &config->routes[i];
        if (!route->waiting_room.enabled)
            continue;
        pipeline->rooms[i] =
            fg_room_create(&route->waiting_room, route->name, lines == NULL ? NULL : &lines[i],
                           secret, now_ns, error);
        if (pipeline->rooms[i] == NULL)
            return false;
        if (!route->waiting_room.is_shared)
            continue;
        if (script_index == UINT_MAX)
            script_index = fg_shared_state_add_script(pipeline->shared_state, script.source,
                                                      script.source_len);
        if (!fg_room_share(pipeline->rooms[i], fg_shared_state_prefix(pipeline->shared_state),
                           script_index)) {
            fg_error_set(error, "waiting_room.shared: the route's name is too long for a key");
            return false;
        }
    }
    return true;
}

static bool make_gates(struct fg_pipeline *pipeline)
{
    const struct fg_config *config = pipeline->config;
    uint64_t now_ns = fg_clock_monotonic_ns();
    pipeline->gates = calloc(config->backend_count + 1, sizeof(*pipeline->gates));
    pipeline->route_gates = calloc(config->route_count + 1, sizeof(*pipeline->route_gates));
    if (pipeline->gates == NULL || pipeline->route_gates == NULL)
        return false;
    for (size_t i = 0; i < config->backend_count; i++) {
        struct fg_gate_policy_config gate = fg_gate_policy_config_of(&config->backends[i]);
        pipeline->gates[i] = fg_gate_create(&gate, now_ns);
        if (pipeline->gates[i] == NULL)
            return false;
    }
    for (size_t i = 0; i < config->route_count; i++) {
        if (!config->routes[i].has_concurrency)
            continue;
        struct fg_gate_policy_config gate = fg_gate_policy_config_of_route(&config->routes[i]);
        pipeline->route_gates[i] = fg_gate_create(&gate, now_ns);
        if (pipeline->route_gates[i] == NULL)
            return false;
    }
    return true;
}

static bool make_accounts(struct fg_pipeline *pipeline)
{
    size_t count = pipeline->config->backend_count * pipeline->thread_count;
    pipeline->accounts = calloc(count + 1, sizeof(*pipeline->accounts));
    return pipeline->accounts != NULL;
}

static bool make_metrics(struct fg_pipeline *pipeline)
{
    pipeline->metrics = calloc(pipeline->thread_count, sizeof(*pipeline->metrics));
    for (unsigned i = 0; i < pipeline->thread_count && pipeline->metrics != NULL; i++) {
        pipeline->metrics[i] = fg_thread_metrics_create(pipeline->config->route_count);
        if (pipeline->metrics[i] == NULL)
            return false;
    }
    return pipeline->metrics != NULL;
}

/* The configured number of requests is kept by all loops together. */
static bool make_recorders(struct fg_pipeline *pipeline)
{
    uint32_t all = pipeline->config->observability.recent_requests;
    pipeline->recorders = calloc(pipeline->thread_count, sizeof(struct fg_recorder *));
    if (pipeline->recorders == NULL)
        return false;
    for (unsigned i = 0; i < pipeline->thread_count && all > 0; i++) {
        pipeline->recorders[i] = fg_recorder_create(all / pipeline->thread_count + 1);
        if (pipeline->recorders[i] == NULL)
            return false;
    }
    return true;
}

/* Gateways that share the secret draw the same lots for the same users. */
static bool make_cohort_key(struct fg_pipeline *pipeline)
{
    unsigned char mac[32];
    if (!derive(pipeline, FG_SPAN("priority cohort|"), mac))
        return false;
    pipeline->cohort_key = fg_siphash_key_from_bytes(mac);
    return true;
}

struct fg_pipeline *fg_pipeline_create(const struct fg_config *config,
                                       struct fg_backend *const *backends,
                                       struct fg_helper_pool *helper, unsigned thread_count,
                                       const struct fg_room_memory *lines, struct fg_error *error)
{
    struct fg_pipeline *pipeline = calloc(1, sizeof(*pipeline));
    struct fg_backend **owned = calloc(config->backend_count + 1, sizeof(*owned));
    if (pipeline == NULL || owned == NULL) {
        for (size_t i = 0; i < config->backend_count; i++)
            backends[i]->ops->destroy(backends[i]);
        free(pipeline);
        free(owned);
        no_memory(error);
        return NULL;
    }
    for (size_t i = 0; i < config->backend_count; i++)
        owned[i] = backends[i];
    *pipeline = (struct fg_pipeline){
        .config = config, .backends = owned, .helper = helper, .thread_count = thread_count};
    for (size_t i = 0; i < config->route_count; i++)
        pipeline->has_cached_routes |= config->routes[i].cache;
    if (fg_jwt_key_load(&pipeline->jwt_key, &config->identity.jwt, error) != FG_OK)
        goto fail;
    pipeline->keys = fg_key_store_create(&config->identity, error);
    if (pipeline->keys == NULL)
        goto fail;
    no_memory(error); /* of whatever fails from here on */
    pipeline->token_debts = fg_jwt_debts_create(&config->identity);
    if (pipeline->token_debts == NULL || !make_cohort_key(pipeline))
        goto fail;
    if (config->shared_state.enabled) {
        pipeline->shared_state = fg_shared_state_create(&config->shared_state, thread_count, error);
        if (pipeline->shared_state == NULL)
            goto fail;
        pipeline->lease_script = fg_lease_client_add_script(pipeline->shared_state);
    }
    pipeline->router = fg_router_create(config);
    pipeline->overload = fg_overload_shared_create(config, &pipeline->cohort_key);
    pipeline->cache = fg_cache_store_create(&config->cache);
    pipeline->session =
        fg_session_create(&pipeline->jwt_key, config->orders.session_ttl_ns,
                          config->orders.body_bytes_max, config->orders.body_values_max);
    pipeline->room_desk = fg_room_desk_create();
    if (pipeline->router == NULL || pipeline->room_desk == NULL || pipeline->overload == NULL ||
        pipeline->cache == NULL || pipeline->session == NULL || !make_identity(pipeline) ||
        !make_rate_tables(pipeline) || !make_rooms(pipeline, lines, error) ||
        !make_gates(pipeline) || !make_accounts(pipeline) || !make_metrics(pipeline) ||
        !make_recorders(pipeline))
        goto fail;
    return pipeline;
fail:
    fg_pipeline_destroy(pipeline);
    return NULL;
}

void fg_pipeline_share_nonces(struct fg_pipeline *pipeline, struct fg_nonce_table *nonces)
{
    fg_nonce_table_destroy(pipeline->own_nonces);
    pipeline->own_nonces = NULL;
    pipeline->nonces = nonces;
}

bool fg_pipeline_keep_pages(struct fg_pipeline *pipeline, const struct fg_page_memory *memory)
{
    pipeline->pages = fg_pinned_pages_create(pipeline->cache, pipeline->config, memory);
    return pipeline->pages != NULL;
}

struct fg_pinned_pages *fg_pipeline_pages(const struct fg_pipeline *pipeline)
{
    return pipeline->pages;
}

void fg_pipeline_destroy(struct fg_pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    const struct fg_config *config = pipeline->config;
    for (size_t i = 0; i < config->backend_count; i++) {
        pipeline->backends[i]->ops->destroy(pipeline->backends[i]);
        if (pipeline->gates != NULL)
            fg_gate_destroy(pipeline->gates[i]);
    }
    for (size_t i = 0; i < config->rate_limit_count && pipeline->rate_tables != NULL; i++)
        fg_rate_table_destroy(pipeline->rate_tables[i]);
    for (size_t i = 0; i < config->route_count && pipeline->rooms != NULL; i++)
        fg_room_destroy(pipeline->rooms[i]);
    for (size_t i = 0; i < config->route_count && pipeline->route_gates != NULL; i++)
        fg_gate_destroy(pipeline->route_gates[i]);
    for (unsigned i = 0; i < pipeline->thread_count && pipeline->metrics != NULL; i++)
        fg_thread_metrics_destroy(pipeline->metrics[i]);
    for (unsigned i = 0; i < pipeline->thread_count && pipeline->recorders != NULL; i++)
        fg_recorder_destroy(pipeline->recorders[i]);
    free(pipeline->recorders);
    if (pipeline->session != NULL)
        pipeline->session->ops->destroy(pipeline->session);
    if (pipeline->room_desk != NULL)
        pipeline->room_desk->ops->destroy(pipeline->room_desk);
    fg_key_store_destroy(pipeline->keys);
    fg_flood_ledger_destroy(pipeline->token_debts);
    fg_api_keys_destroy(pipeline->api_keys);
    fg_nonce_table_destroy(pipeline->own_nonces);
    fg_shared_state_destroy(pipeline->shared_state);
    fg_rate_table_destroy(pipeline->session_limit);
    fg_pinned_pages_destroy(pipeline->pages);
    fg_cache_store_destroy(pipeline->cache);
    fg_overload_shared_destroy(pipeline->overload);
    fg_router_destroy(pipeline->router);
    free(pipeline->backends);
    free(pipeline->gates);
    free(pipeline->route_gates);
    free(pipeline->accounts);
    free(pipeline->rate_tables);
    free(pipeline->rooms);
    free(pipeline->metrics);
    free(pipeline);
}

/* ---- one loop's part ---- */

static void on_deadline_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    fg_flow_run_deadlines(arg);
}

static bool open_backends(struct fg_pipeline_thread *thread, struct fg_error *error)
{
    struct fg_pipeline *pipeline = thread->pipeline;
    fg_server_reads_init(&thread->server_reads, thread->loop,
                         pipeline->config->limits.read_turn_ns);
    thread->env = (struct fg_backend_env){
        .base = fg_loop_base(thread->loop),
        .mailbox = fg_loop_mailbox(thread->loop),
        .helper = pipeline->helper,
        .pressure = fg_overload_shared_pressure(pipeline->overload),
        .thread_index = fg_loop_index(thread->loop),
        .turn = fg_loop_turn_place(thread->loop),
        .reads = &thread->server_reads.base,
        .thread_count = pipeline->thread_count,
    };
    size_t count = pipeline->config->backend_count;
    thread->backends = calloc(count + 1, sizeof(struct fg_backend_thread *));
    thread->envs = calloc(count + 1, sizeof(*thread->envs));
    if (thread->backends == NULL || thread->envs == NULL)
        return false;
    thread->session = pipeline->session->ops->thread_open(pipeline->session, &thread->env, error);
    thread->room_desk =
        pipeline->room_desk->ops->thread_open(pipeline->room_desk, &thread->env, error);
    if (thread->session == NULL || thread->room_desk == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct fg_backend *backend = pipeline->backends[i];
        thread->envs[i] = thread->env;
        thread->envs[i].shed_at_ns = fg_gate_shed_at(pipeline->gates[i]);
        thread->envs[i].waiting = fg_gate_waiting(pipeline->gates[i]);
        thread->envs[i].slots = fg_gate_gauges(pipeline->gates[i], fg_clock_monotonic_ns()).limit;
        thread->backends[i] = backend->ops->thread_open(backend, &thread->envs[i], error);
        if (thread->backends[i] == NULL)
            return false;
        thread->backend_count++;
    }
    return true;
}

/*
 * Guarantees of the loop's request memory. Heads are read before it is known whose they are, and
 * who is refused for want of memory is told so: both have a part of their own.
 */
static void reserve_memory(struct fg_pipeline_thread *thread)
{
    const struct fg_config *config = thread->pipeline->config;
    struct fg_arena_pool *pool = fg_loop_arena_pool(thread->loop);
    thread->accounts =
        &thread->pipeline->accounts[config->backend_count * fg_loop_index(thread->loop)];
    fg_arena_pool_guarantee(pool, &pool->rest, fg_arena_pool_share(pool, HEADS_PERMILLE), false);
    for (size_t i = 0; i < config->backend_count; i++) {
        const struct fg_reserve_conf *reserve = &config->backends[i].reserve;
        fg_arena_pool_guarantee(pool, &thread->accounts[i],
                                fg_arena_pool_share(pool, reserve->memory_permille),
                                reserve->is_shadow);
    }
}

struct fg_pipeline_thread *fg_pipeline_thread_open(struct fg_pipeline *pipeline,
                                                   struct fg_loop *loop, struct fg_error *error)
{
    struct fg_pipeline_thread *thread = calloc(1, sizeof(*thread));
    if (thread == NULL) {
        no_memory(error);
        return NULL;
    }
    thread->pipeline = pipeline;
    thread->loop = loop;
    thread->metrics = pipeline->metrics[fg_loop_index(loop)];
    thread->recorder = pipeline->recorders[fg_loop_index(loop)];
    thread->deadline_armed_ns = UINT64_MAX;
    fg_cache_near_init(&thread->cache_near, pipeline->cache, loop);
    fg_list_init(&thread->fetches);
    fg_list_init(&thread->awaiting_bodies);
    thread->awaiting_chunks_max = fg_loop_arena_pool(loop)->chunks_max *
                                  pipeline->config->limits.awaiting_body_permille / 1000;
    thread->signer = fg_jwt_signer_create(&pipeline->jwt_key);
    if (thread->signer != NULL)
        thread->verifier =
            fg_jwt_verifier_create(&pipeline->config->identity, thread->signer, pipeline->keys,
                                   &pipeline->cohort_key, pipeline->token_debts);
    thread->deadline_timer = evtimer_new(fg_loop_base(loop), on_deadline_timer, thread);
    if (thread->verifier == NULL || thread->deadline_timer == NULL ||
        !fg_cache_unread_init(thread) ||
        getrandom(&thread->random, sizeof(thread->random), 0) != sizeof(thread->random)) {
        no_memory(error);
        goto fail;
    }
    reserve_memory(thread);
    if (!open_backends(thread, error))
        goto fail;
    if (pipeline->shared_state != NULL) {
        thread->shared_state = fg_shared_state_open(pipeline->shared_state, &thread->env);
        if (thread->shared_state != NULL)
            thread->leases = fg_lease_client_create(thread->shared_state, pipeline->lease_script,
                                                    pipeline->config->shared_state.prefix);
        if (thread->leases == NULL) {
            no_memory(error);
            goto fail;
        }
    }
    return thread;
fail:
    fg_pipeline_thread_close(thread);
    return NULL;
}

struct fg_redis_link *fg_pipeline_thread_link(const struct fg_pipeline_thread *thread)
{
    return thread->shared_state;
}

void fg_pipeline_thread_close(struct fg_pipeline_thread *thread)
{
    if (thread == NULL)
        return;
    fg_cache_fetch_cancel_all(thread);
    for (size_t i = 0; i < thread->backend_count; i++)
        thread->backends[i]->backend->ops->thread_close(thread->backends[i]);
    fg_lease_client_destroy(thread->leases);
    fg_shared_state_close(thread->shared_state);
    if (thread->session != NULL)
        thread->session->backend->ops->thread_close(thread->session);
    if (thread->room_desk != NULL)
        thread->room_desk->backend->ops->thread_close(thread->room_desk);
    fg_server_reads_fini(&thread->server_reads);
    if (thread->deadline_timer != NULL)
        event_free(thread->deadline_timer);
    fg_jwt_verifier_destroy(thread->verifier);
    fg_jwt_signer_destroy(thread->signer);
    fg_gate_tickets_fini(&thread->gate_tickets);
    fg_cache_unread_fini(thread);
    fg_cache_near_fini(&thread->cache_near);
    fg_cache_readers_fini(&thread->cache_readers);
    free(thread->backends);
    free(thread->envs);
    free(thread);
}

/* ---- for the admin server ---- */

const struct fg_config *fg_pipeline_config(const struct fg_pipeline *pipeline)
{
    return pipeline->config;
}

struct fg_backend *fg_pipeline_backend(const struct fg_pipeline *pipeline, size_t index)
{
    return pipeline->backends[index];
}

struct fg_gate *fg_pipeline_gate(const struct fg_pipeline *pipeline, size_t index)
{
    return pipeline->gates[index];
}

struct fg_gate *fg_pipeline_route_gate(const struct fg_pipeline *pipeline, size_t route_index)
{
    return pipeline->route_gates[route_index];
}

struct fg_memory_share fg_pipeline_memory(const struct fg_pipeline *pipeline, size_t index)
{
    struct fg_memory_share share = {0};
    size_t stride = pipeline->config->backend_count;
    for (unsigned t = 0; t < pipeline->thread_count; t++) {
        const struct fg_arena_account *account = &pipeline->accounts[stride * t + index];
        share.used_bytes += fg_counter_get(&account->used_now) * FG_ARENA_CHUNK_BYTES;
        share.reserved_bytes += account->wished * FG_ARENA_CHUNK_BYTES;
        share.refused += fg_counter_get(&account->refused);
    }
    return share;
}

struct fg_rate_table *fg_pipeline_rate_table(const struct fg_pipeline *pipeline, size_t index)
{
    return pipeline->rate_tables[index];
}

struct fg_shared_state *fg_pipeline_shared_state(const struct fg_pipeline *pipeline)
{
    return pipeline->shared_state;
}

struct fg_cache_store *fg_pipeline_cache(const struct fg_pipeline *pipeline)
{
    return pipeline->cache;
}

struct fg_overload_shared *fg_pipeline_overload(const struct fg_pipeline *pipeline)
{
    return pipeline->overload;
}

struct fg_room *fg_pipeline_room(const struct fg_pipeline *pipeline, size_t route_index)
{
    return pipeline->rooms[route_index];
}

const struct fg_thread_metrics *fg_pipeline_metrics(const struct fg_pipeline *pipeline,
                                                    unsigned index)
{
    return pipeline->metrics[index];
}

struct fg_recorder *fg_pipeline_recorder(const struct fg_pipeline *pipeline, unsigned index)
{
    return pipeline->recorders[index];
}

unsigned fg_pipeline_thread_count(const struct fg_pipeline *pipeline)
{
    return pipeline->thread_count;
}

enum fg_status fg_pipeline_reload_keys(struct fg_pipeline *pipeline, struct fg_error *error)
{
    return fg_key_store_reload(pipeline->keys, error);
}
