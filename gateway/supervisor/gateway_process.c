/*
 * gateway_process.c: build everything in order, run, take it down in the reverse order.
 *
 *    helper pool -> backends -> pipeline -> loops (thread parts, nets) -> admin -> ready
 *
 * A loop is taken down on its own thread: drain its connections, stop, close its part.
 */
#include "gateway_process.h"

#include "admin/admin.h"
#include "base/clock.h"
#include "base/log.h"
#include "inference/api/inference_backend.h"
#include "net/flood_ledger_shared.h"
#include "net/listener.h"
#include "net/loop.h"
#include "orders/orders.h"
#include "pipeline/pipeline.h"
#include "proxy/proxy.h"
#include "static/static_files.h"
#include "supervisor/credentials.h"
#include "supervisor/ticket_share.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGES_PERIOD_NS (200 * FG_MS)
#define ENDS_PERIOD_NS (10 * FG_S)

struct gateway;

/* One thread with a loop on it. */
struct loop_thread {
    pthread_t thread;
    struct gateway *gateway;
    unsigned index;
    bool has_thread;
    struct fg_loop *loop;
    struct fg_net *net;
    struct fg_pipeline_thread *pipeline_thread;
    struct fg_ticket_share *ticket_share; /* of the first loop; NULL: not configured */
    struct fg_message drain_message;
    bool is_open; /* written before `opened` is posted */
    struct fg_error error;
};

struct gateway {
    const struct fg_gateway_options *options;
    struct fg_helper_pool *helper;
    struct fg_pipeline *pipeline;
    struct fg_admin *admin;
    struct fg_credentials *credentials;
    struct fg_flood_ledger *debts; /* of clients' addresses, for overhead of HTTP/2 */
    unsigned thread_count;
    struct loop_thread *threads;
    pthread_barrier_t phase;
    bool is_up; /* main's decision; read by the loops after the second phase */
    uint64_t drain_deadline_ns;
};

static void print_error(const struct fg_error *error)
{
    char text[1024];
    fg_error_format(error, text, sizeof(text));
    fprintf(stderr, "floodgate: %s\n", text);
}

/* ---- backends ---- */

static struct fg_backend *create_backend(const struct fg_gateway_options *options,
                                         const struct fg_backend_conf *conf, struct fg_error *error)
{
    const struct fg_config *config = options->config;
    switch (conf->kind) {
    case FG_BACKEND_STATIC:
        return fg_static_create(conf->name, &conf->files, error);
    case FG_BACKEND_CLUSTER:
        return fg_proxy_create(conf->name, &conf->cluster, options->sockets->thread_count, error);
    case FG_BACKEND_ORDERS:
        return fg_orders_create(conf->name, &config->orders, error);
    case FG_BACKEND_INFERENCE:
        return fg_inference_create(conf->name, &config->inference, options->arena,
                                   (const char *const *)options->sockets->worker_paths, error);
    }
    return NULL;
}

static bool create_pipeline(struct gateway *gateway, struct fg_error *error)
{
    const struct fg_config *config = gateway->options->config;
    struct fg_backend **backends = calloc(config->backend_count + 1, sizeof(*backends));
    size_t made = 0;
    while (backends != NULL && made < config->backend_count) {
        backends[made] = create_backend(gateway->options, &config->backends[made], error);
        if (backends[made] == NULL)
            break;
        made++;
    }
    if (backends != NULL && made == config->backend_count)
        gateway->pipeline =
            fg_pipeline_create(config, backends, gateway->helper, gateway->thread_count,
                               gateway->options->lines, error);
    else
        while (made-- > 0)
            backends[made]->ops->destroy(backends[made]);
    free(backends);
    const struct fg_page_memory *pages = gateway->options->pages;
    if (gateway->pipeline != NULL && gateway->options->nonces != NULL)
        fg_pipeline_share_nonces(gateway->pipeline, gateway->options->nonces);
    return gateway->pipeline != NULL &&
           (pages == NULL || fg_pipeline_keep_pages(gateway->pipeline, pages));
}

/* ---- a loop thread ---- */

/* The PROXY protocol has it; otherwise it need not be asked for at every connection. */
static bool tells_local_address(const struct fg_config *config)
{
    for (size_t i = 0; i < config->backend_count; i++) {
        const struct fg_backend_conf *conf = &config->backends[i];
        if (conf->kind == FG_BACKEND_CLUSTER && conf->cluster.proxy_version != FG_PROXY_OFF)
            return true;
    }
    return false;
}

/* One loop asks for all of them. */
static bool open_ticket_share(struct loop_thread *self)
{
    const struct fg_config *config = self->gateway->options->config;
    if (!config->tls.ticket_secret_shared || self->index != 0)
        return true;
    self->ticket_share = fg_ticket_share_create(&(struct fg_ticket_share_options){
        .loop = self->loop,
        .link = fg_pipeline_thread_link(self->pipeline_thread),
        .keys = fg_credentials_tickets(self->gateway->credentials),
        .prefix = config->shared_state.prefix,
        .seed = self->gateway->options->ticket_seed,
        .period_ns = config->tls.check_files_ns});
    return self->ticket_share != NULL;
}

static bool open_loop(struct loop_thread *self)
{
    struct gateway *gateway = self->gateway;
    const struct fg_config *config = gateway->options->config;
    size_t chunks = config->limits.arena_bytes_max / gateway->thread_count / FG_ARENA_CHUNK_BYTES;
    fg_error_set(&self->error, "not enough memory or file descriptors for an event loop");
    self->loop = fg_loop_create(self->index, chunks);
    if (self->loop == NULL)
        return false;
    self->pipeline_thread = fg_pipeline_thread_open(gateway->pipeline, self->loop, &self->error);
    if (self->pipeline_thread == NULL || !open_ticket_share(self))
        return false;
    self->net = fg_net_create(&(struct fg_net_options){
        .loop = self->loop,
        .limits = &config->limits,
        .handshake_turn_ns = config->tls.handshake_turn_ns,
        .handshakes_waiting_max = config->tls.handshakes_waiting_max,
        .thread_count = gateway->thread_count,
        .tells_local_address = tells_local_address(config),
        .handler = &fg_pipeline_handler,
        .handler_ctx = self->pipeline_thread,
        .pressure = fg_overload_shared_pressure(fg_pipeline_overload(gateway->pipeline)),
        .debts = gateway->debts});
    if (self->net == NULL)
        return false;
    const struct fg_sockets *sockets = gateway->options->sockets;
    for (size_t i = 0; i < config->listener_count; i++) {
        int fd = sockets->listeners[i * gateway->thread_count + self->index];
        if (fg_net_listen(self->net, fd, &config->listeners[i],
                          fg_credentials_tls(gateway->credentials, i)) != FG_OK)
            return false;
    }
    return true;
}

/* All loop threads and main pass each of the phases together. */
static void meet(struct gateway *gateway)
{
    pthread_barrier_wait(&gateway->phase);
}

static void close_loop(struct loop_thread *self)
{
    if (self->loop != NULL)
        fg_mailbox_drain(fg_loop_mailbox(self->loop)); /* the helpers' last replies */
    if (self->net != NULL)
        fg_net_destroy(self->net);
    fg_ticket_share_destroy(self->ticket_share);
    fg_pipeline_thread_close(self->pipeline_thread);
    fg_loop_destroy(self->loop);
}

static void *run_loop_thread(void *arg)
{
    struct loop_thread *self = arg;
    self->is_open = open_loop(self);
    meet(self->gateway); /* main looks at is_open */
    meet(self->gateway); /* main has decided, and set up the admin */
    if (self->gateway->is_up)
        fg_loop_run(self->loop);
    meet(self->gateway); /* all loops are drained */
    meet(self->gateway); /* nobody else looks at us any more: the admin and the helpers are gone */
    close_loop(self);
    return NULL;
}

static void on_drained(void *ctx)
{
    struct loop_thread *self = ctx;
    fg_loop_stop(self->loop);
}

static void run_drain(struct fg_message *message)
{
    struct loop_thread *self = FG_CONTAINER_OF(message, struct loop_thread, drain_message);
    fg_net_drain(self->net, self->gateway->drain_deadline_ns, on_drained, self);
}

/* ---- the process ---- */

static bool start_loops(struct gateway *gateway, struct fg_error *error)
{
    gateway->debts = fg_flood_ledger_create(0, 0); /* each net sets its law from the limits */
    if (gateway->debts != NULL)
        gateway->threads = calloc(gateway->thread_count, sizeof(*gateway->threads));
    if (gateway->threads == NULL ||
        pthread_barrier_init(&gateway->phase, NULL, gateway->thread_count + 1) != 0) {
        fg_error_set(error, "not enough memory for %u event loops", gateway->thread_count);
        return false;
    }
    for (unsigned i = 0; i < gateway->thread_count; i++) {
        struct loop_thread *self = &gateway->threads[i];
        self->gateway = gateway;
        self->index = i;
        self->drain_message.run = run_drain;
        /* Without all of them the barrier would never open; a thread is not much to ask at start.
         */
        if (pthread_create(&self->thread, NULL, run_loop_thread, self) != 0)
            abort();
    }
    meet(gateway);
    for (unsigned i = 0; i < gateway->thread_count; i++) {
        if (!gateway->threads[i].is_open) {
            *error = gateway->threads[i].error;
            return false;
        }
    }
    return true;
}

static struct fg_admin *start_admin(struct gateway *gateway, struct fg_error *error)
{
    struct fg_net **nets = calloc(gateway->thread_count, sizeof(struct fg_net *));
    struct fg_loop **loops = calloc(gateway->thread_count, sizeof(struct fg_loop *));
    struct fg_admin *admin = NULL;
    for (unsigned i = 0; nets != NULL && loops != NULL && i < gateway->thread_count; i++) {
        nets[i] = gateway->threads[i].net;
        loops[i] = gateway->threads[i].loop;
    }
    if (nets != NULL && loops != NULL)
        admin = fg_admin_start(
            &(struct fg_admin_options){.config = gateway->options->config,
                                       .listen_fd = gateway->options->sockets->admin,
                                       .reloads = gateway->options->reloads,
                                       .changes = gateway->options->changes,
                                       .tls = fg_credentials_all_tls(gateway->credentials),
                                       .files = fg_credentials_counters(gateway->credentials),
                                       .pipeline = gateway->pipeline,
                                       .nets = nets,
                                       .loops = loops,
                                       .thread_count = gateway->thread_count,
                                       .started_ns = fg_clock_monotonic_ns()},
            error);
    free(nets);
    free(loops);
    return admin;
}

/* The main thread has nothing else to do: it looks after files and pinned pages meanwhile. What
 * comes to its end is told of whether files are read anew or not. */
static void wait_for_stop(struct gateway *gateway)
{
    struct fg_pinned_pages *pages = fg_pipeline_pages(gateway->pipeline);
    const uint64_t files_ns = gateway->options->config->tls.check_files_ns;
    const uint64_t ends_ns = files_ns > 0 && files_ns < ENDS_PERIOD_NS ? files_ns : ENDS_PERIOD_NS;
    const uint64_t period_ns =
        pages != NULL && ends_ns > PAGES_PERIOD_NS ? PAGES_PERIOD_NS : ends_ns;
    const struct timespec period = {.tv_sec = (time_t)(period_ns / FG_S),
                                    .tv_nsec = (long)(period_ns % FG_S)};
    uint64_t checked_ns = fg_clock_monotonic_ns();
    uint64_t told_ns = checked_ns;
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    int signal_number;
    while ((signal_number = sigtimedwait(&stop, NULL, &period)) == -1) {
        uint64_t now_ns = fg_clock_monotonic_ns();
        if (errno != EAGAIN)
            continue;
        if (pages != NULL)
            fg_pinned_pages_keep(pages, now_ns);
        if (now_ns - told_ns >= ends_ns) {
            told_ns = now_ns;
            fg_credentials_tell_ends(gateway->credentials);
        }
        if (files_ns > 0 && now_ns - checked_ns >= files_ns) {
            checked_ns = now_ns;
            fg_credentials_check(gateway->credentials);
        }
    }
    fg_log(FG_LOG_INFO, "drain_started", "signal=%d", signal_number);
}

static void tell_ready(int ready_fd)
{
    if (ready_fd == -1)
        return;
    ssize_t written = write(ready_fd, "r", 1);
    (void)written;
    close(ready_fd);
}

static void take_down(struct gateway *gateway)
{
    if (gateway->threads != NULL) {
        for (unsigned i = 0; i < gateway->thread_count; i++)
            pthread_join(gateway->threads[i].thread, NULL);
        pthread_barrier_destroy(&gateway->phase);
    }
    fg_pipeline_destroy(gateway->pipeline);
    fg_credentials_destroy(gateway->credentials);
    fg_flood_ledger_destroy(gateway->debts);
    free(gateway->threads);
}

static void serve(struct gateway *gateway)
{
    const struct fg_config *config = gateway->options->config;
    fg_credentials_watch_pipeline(gateway->credentials, gateway->pipeline);
    tell_ready(gateway->options->ready_fd);
    wait_for_stop(gateway);
    fg_admin_set_draining(gateway->admin);
    gateway->drain_deadline_ns = fg_clock_monotonic_ns() + config->limits.drain_timeout_ns;
    for (unsigned i = 0; i < gateway->thread_count; i++)
        fg_mailbox_post(fg_loop_mailbox(gateway->threads[i].loop),
                        &gateway->threads[i].drain_message);
}

int fg_gateway_process_run(const struct fg_gateway_options *options)
{
    const struct fg_config *config = options->config;
    struct gateway gateway = {.options = options, .thread_count = options->sockets->thread_count};
    struct fg_error error = {.file = "", .line = 0};
    sigset_t all;
    /* Blocked in every thread; the main thread takes them with sigwait. */
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    signal(SIGPIPE, SIG_IGN);

    fg_error_set(&error, "not enough memory to start");
    gateway.helper =
        fg_helper_pool_create(config->limits.helper_threads, config->limits.helper_jobs_max);
    if (gateway.helper != NULL)
        gateway.credentials =
            fg_credentials_create(config, options->ticket_seed, options->tickets, &error);
    gateway.is_up = gateway.credentials != NULL && create_pipeline(&gateway, &error) &&
                    start_loops(&gateway, &error);
    if (gateway.is_up)
        gateway.admin = start_admin(&gateway, &error);
    gateway.is_up = gateway.is_up && gateway.admin != NULL;
    if (gateway.threads != NULL)
        meet(&gateway);
    if (gateway.is_up)
        serve(&gateway);
    else
        print_error(&error);
    if (gateway.threads != NULL)
        meet(&gateway);
    fg_admin_stop(gateway.admin);
    fg_helper_pool_destroy(gateway.helper);
    if (gateway.threads != NULL)
        meet(&gateway);
    take_down(&gateway);
    return gateway.is_up ? 0 : 2;
}
