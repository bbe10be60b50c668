/*
 * supervisor.c: a poll loop over a signalfd and the gateway's ready pipe.
 * Thread   one. No libevent, no TLS, no client bytes here: what can fail is in the children.
 * Memory   the children inherit the configuration snapshot and the arena's mapping by fork.
 */
#include "supervisor.h"

#include "admin/change_board_shared.h"
#include "base/clock.h"
#include "base/log.h"
#include "inference/kv/kv_arena_shared.h"
#include "inference/worker/worker_model.h"
#include "net/ticket_memory_shared.h"
#include "orders/fulfil.h"
#include "orders/redis_embedded.h"
#include "pipeline/nonce_table_shared.h"
#include "supervisor/children.h"
#include "supervisor/credentials.h"
#include "supervisor/fixed_parts.h"
#include "supervisor/gateway_process.h"
#include "supervisor/kept_cache.h"
#include "supervisor/kept_lines.h"
#include "supervisor/reload_report.h"
#include "supervisor/sockets.h"
#include "supervisor/worker_watch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK_MS 200
#define SOON_MS 10
#define REDIS_READY_NS (10 * FG_S)
#define STOP_SLACK_NS (5 * FG_S) /* beyond a child's own drain time, before SIGKILL */

enum phase { PHASE_STARTING, PHASE_SERVING, PHASE_STOPPING_GATEWAY, PHASE_STOPPING_REST };

struct supervisor {
    const char *path;
    struct fg_config *config;
    struct fg_sockets sockets;
    struct fg_kv_arena *arena;
    int arena_fd;
    unsigned char ticket_seed[FG_TICKET_SEED_BYTES];
    struct fg_ticket_memory *tickets; /* of their secrets, over reloads */
    struct fg_kept_lines lines;       /* of waiting rooms without a file */
    struct fg_page_memory pages;      /* of the cache's pinned ones */
    bool keeps_pages;                 /* the gateway that is forked next does */
    struct fg_nonce_table *nonces; /* of signed requests, over reloads; NULL: none was signed yet */
    int signal_fd;
    int ready_fd; /* read end of the gateway's pipe; -1: told, or not started */
    enum phase phase;
    uint64_t phase_deadline_ns;
    bool is_reload_due; /* asked for while the one before was under way */
    struct fg_reload_report reports;
    struct fg_change_board *changes;
    bool has_failed; /* the gateway could not start: leave with its code */
    int exit_code;
    struct fg_child *children;
    size_t child_count;
    struct fg_child *gateway; /* among children */
    struct fg_worker_watch workers;
    struct fg_child *older; /* a gateway that drains after a reload; the last of children */
};

static void print_error(const struct fg_error *error, void *ctx)
{
    (void)ctx;
    char text[1024];
    fg_error_format(error, text, sizeof(text));
    fprintf(stderr, "%s\n", text);
}

static void print_start_error(const struct fg_error *error)
{
    fprintf(stderr, "floodgate: ");
    print_error(error, NULL);
}

/* `report` NULL: errors go to stderr alone. */
static struct fg_config *load(const char *path, struct fg_reload_report *report)
{
    struct fg_config *config = NULL;
    size_t error_count = 0;
    if (fg_config_load(&config, path, report == NULL ? print_error : fg_reload_report_error, report,
                       &error_count) != FG_OK)
        fprintf(stderr, "floodgate: %zu error%s in %s\n", error_count, error_count == 1 ? "" : "s",
                path);
    return config;
}

static unsigned thread_count_of(const struct fg_config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (config->limits.threads > 0)
        return config->limits.threads;
    return cores < 1 ? 1 : cores > 64 ? 64 : (unsigned)cores;
}

/* ---- what the children need ---- */

static bool open_arena(struct supervisor *sv, struct fg_error *error)
{
    const struct fg_inference_conf *conf = &sv->config->inference;
    struct fg_kv_shape shape;
    if (!conf->enabled)
        return true;
    if (fg_inference_probe(conf, &shape, error) != FG_OK)
        return false;
    sv->arena_fd = memfd_create("floodgate-kv", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (sv->arena_fd == -1) {
        fg_error_set(error, "inference: memfd_create: %s", strerror(errno));
        return false;
    }
    return fg_kv_arena_create(&sv->arena, sv->arena_fd, conf, &shape, error) == FG_OK;
}

static bool make_children(struct supervisor *sv)
{
    const struct fg_config *config = sv->config;
    bool has_redis = config->has_orders && config->orders.redis.embedded;
    uint32_t fulfil_count = config->has_orders ? config->orders.fulfil_workers : 0;
    uint32_t worker_count = config->inference.enabled ? config->inference.worker_count : 0;
    sv->children = calloc(worker_count + fulfil_count + 3, sizeof(*sv->children));
    sv->changes = fg_change_board_create(config->admin.endpoint_changes_max);
    if (sv->children == NULL || sv->changes == NULL)
        return false;
    size_t count = 0;
    if (has_redis)
        sv->children[count++] = (struct fg_child){.role = FG_CHILD_REDIS};
    fg_reload_report_init(&sv->reports, worker_count);
    sv->workers = (struct fg_worker_watch){
        .workers = &sv->children[count],
        .worker_count = worker_count,
        .arena = sv->arena,
        .conf = &config->inference,
        .steps = calloc(worker_count + 1, sizeof(struct fg_step_watch)),
        .lives = calloc(worker_count + 1, sizeof(struct fg_life_watch)),
        .exchange_next = worker_count,
    };
    fg_worker_program_init(&sv->workers.program);
    for (uint32_t i = 0; i < worker_count; i++)
        sv->children[count++] = (struct fg_child){.role = FG_CHILD_WORKER, .index = i};
    for (uint32_t i = 0; i < fulfil_count; i++)
        sv->children[count++] = (struct fg_child){.role = FG_CHILD_FULFIL, .index = i};
    sv->gateway = &sv->children[count];
    sv->children[count++] = (struct fg_child){.role = FG_CHILD_GATEWAY};
    sv->older = &sv->children[count];
    sv->children[count++] = (struct fg_child){.role = FG_CHILD_GATEWAY, .index = 1};
    sv->child_count = count;
    return true;
}

static bool open_signals(struct supervisor *sv)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    sv->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return sv->signal_fd != -1;
}

/* ---- in a child ---- */

static int run_worker(struct supervisor *sv, const struct fg_child *child, pid_t parent)
{
    struct fg_worker_place place = {
        .config = sv->path,
        .index = child->index,
        .arena_fd = sv->arena_fd,
        .listen_fd = sv->sockets.workers[child->index],
        .parent_pid = parent,
    };
    if (fg_worker_watch_is_replaced(&sv->workers, child))
        fg_worker_program_exec(&sv->workers.program, &place);
    return fg_worker_program_run(sv->config, &place);
}

static int run_fulfil(struct supervisor *sv, const struct fg_child *child, pid_t parent)
{
    struct fg_fulfil_options options = {
        .conf = &sv->config->orders,
        .consumer_index = child->index,
        .parent_pid = parent,
    };
    return fg_fulfil_run(&options);
}

static int run_gateway(struct supervisor *sv, int ready_fd)
{
    struct fg_gateway_options options = {
        .config = sv->config,
        .sockets = &sv->sockets,
        .arena = sv->arena,
        .ready_fd = ready_fd,
        .reloads = sv->reports.board,
        .changes = sv->changes,
        .ticket_seed = sv->ticket_seed,
        .tickets = sv->tickets,
        .lines = sv->lines.by_route,
        .nonces = sv->nonces,
        .pages = sv->keeps_pages ? &sv->pages : NULL,
    };
    return fg_gateway_process_run(&options);
}

/* Everything of the supervisor's that this child has no use for. */
static void close_inherited(struct supervisor *sv, enum fg_child_role role)
{
    close(sv->signal_fd);
    if (sv->ready_fd != -1)
        close(sv->ready_fd);
    if (role == FG_CHILD_GATEWAY)
        return;
    fg_kept_lines_fini(&sv->lines);
    fg_kept_cache_fini(&sv->pages);
    fg_nonce_table_destroy(sv->nonces);
    sv->nonces = NULL;
    fg_ticket_memory_destroy(sv->tickets);
    sv->tickets = NULL;
    for (size_t i = 0; i < sv->sockets.listener_count * sv->sockets.thread_count; i++) {
        close(sv->sockets.listeners[i]);
        sv->sockets.listeners[i] = -1;
    }
    if (sv->sockets.admin != -1)
        close(sv->sockets.admin);
    sv->sockets.admin = -1;
}

static int run_child(struct supervisor *sv, const struct fg_child *child, int ready_write_fd,
                     pid_t parent)
{
    struct fg_error error = {.file = ""};
    close_inherited(sv, child->role);
    sv->signal_fd = -1;
    sv->ready_fd = -1;
    switch (child->role) {
    case FG_CHILD_REDIS:
        fg_redis_embedded_exec(&sv->config->orders, &error); /* returns only on failure */
        print_start_error(&error);
        return 2;
    case FG_CHILD_WORKER:
        return run_worker(sv, child, parent);
    case FG_CHILD_FULFIL:
        return run_fulfil(sv, child, parent);
    case FG_CHILD_GATEWAY:
        return run_gateway(sv, ready_write_fd);
    }
    return 1;
}

/* ---- starting and restarting ---- */

/* Gateways before and after a reload serve side by side for a while, and take each nonce once
 * between them. One that is to remember more begins anew. */
static void prepare_nonces(struct supervisor *sv)
{
    const struct fg_identity_conf *conf = &sv->config->identity;
    if (conf->signing_key_count == 0 ||
        (sv->nonces != NULL && fg_nonce_table_room(sv->nonces) >= conf->nonces_max))
        return;
    fg_nonce_table_destroy(sv->nonces);
    sv->nonces = fg_nonce_table_create(conf->nonces_max, fg_clock_wall_ns() / FG_S);
    if (sv->nonces == NULL)
        fg_log(FG_LOG_WARN, "nonces_not_kept", "reason=\"%s\"", strerror(errno));
}

/* True in the parent. In a child, runs it, sets exit_code, and returns false. */
static bool start_child(struct supervisor *sv, struct fg_child *child)
{
    int pipe_fds[2] = {-1, -1};
    pid_t parent = getpid();
    if (child == sv->gateway && pipe2(pipe_fds, O_CLOEXEC) == -1)
        pipe_fds[0] = pipe_fds[1] = -1;
    if (child->role == FG_CHILD_WORKER)
        fg_worker_watch_on_start(&sv->workers, child);
    if (child == sv->gateway) {
        fg_kept_lines_prepare(&sv->lines, sv->config);
        sv->keeps_pages = fg_kept_cache_prepare(&sv->pages, sv->config);
        prepare_nonces(sv);
    }
    pid_t pid = fg_child_fork(child, fg_clock_monotonic_ns());
    if (pid == 0) {
        if (pipe_fds[0] != -1)
            close(pipe_fds[0]);
        sv->exit_code = run_child(sv, child, pipe_fds[1], parent);
        return false;
    }
    if (pipe_fds[1] != -1)
        close(pipe_fds[1]);
    if (child == sv->gateway) {
        if (sv->ready_fd != -1)
            close(sv->ready_fd);
        sv->ready_fd = pipe_fds[0];
    }
    if (pid == -1) {
        fg_log(FG_LOG_ERROR, "fork_failed", "role=%s error=\"%s\"", fg_child_role_name(child->role),
               strerror(errno));
        child->state = FG_CHILD_WAITING;
        child->restart_at_ns = fg_clock_monotonic_ns() + FG_S;
    }
    return true;
}

static bool start_role(struct supervisor *sv, enum fg_child_role role)
{
    for (size_t i = 0; i < sv->child_count; i++) {
        struct fg_child *child = &sv->children[i];
        if (child->role == role && child != sv->older && !start_child(sv, child))
            return false;
    }
    return true;
}

static bool is_wanted(const struct supervisor *sv, const struct fg_child *child)
{
    if (child == sv->older || sv->phase == PHASE_STOPPING_REST)
        return false;
    return !(child->role == FG_CHILD_GATEWAY && sv->phase == PHASE_STOPPING_GATEWAY);
}

static bool restart_due(struct supervisor *sv, uint64_t now_ns)
{
    for (size_t i = 0; i < sv->child_count; i++) {
        struct fg_child *child = &sv->children[i];
        if (child->state == FG_CHILD_WAITING && child->restart_at_ns <= now_ns &&
            !start_child(sv, child))
            return false;
    }
    return true;
}

/* ---- stopping ---- */

static bool any_alive(const struct supervisor *sv, bool only_gateways)
{
    for (size_t i = 0; i < sv->child_count; i++) {
        if (sv->children[i].pid != 0 &&
            (!only_gateways || sv->children[i].role == FG_CHILD_GATEWAY))
            return true;
    }
    return false;
}

static void stop_role(struct supervisor *sv, enum fg_child_role role)
{
    for (size_t i = 0; i < sv->child_count; i++) {
        if (sv->children[i].role == role)
            fg_child_stop(&sv->children[i]);
    }
}

static void begin_stop(struct supervisor *sv, uint64_t now_ns)
{
    if (sv->phase >= PHASE_STOPPING_GATEWAY)
        return;
    fg_log(FG_LOG_INFO, "stopping", "drain_ms=%llu",
           (unsigned long long)(sv->config->limits.drain_timeout_ns / FG_MS));
    sv->phase = PHASE_STOPPING_GATEWAY;
    sv->phase_deadline_ns = now_ns + sv->config->limits.drain_timeout_ns + STOP_SLACK_NS;
    stop_role(sv, FG_CHILD_GATEWAY);
}

/* Gateways first: they still need the rest. Redis last: fulfil still needs it. */
static void advance_stop(struct supervisor *sv, uint64_t now_ns)
{
    if (sv->phase == PHASE_STOPPING_GATEWAY && !any_alive(sv, true)) {
        sv->phase = PHASE_STOPPING_REST;
        sv->phase_deadline_ns = now_ns + STOP_SLACK_NS;
        stop_role(sv, FG_CHILD_WORKER);
        stop_role(sv, FG_CHILD_FULFIL);
    }
    if (sv->phase == PHASE_STOPPING_REST) {
        bool others = false;
        for (size_t i = 0; i < sv->child_count; i++)
            others = others || (sv->children[i].pid != 0 && sv->children[i].role != FG_CHILD_REDIS);
        if (!others)
            stop_role(sv, FG_CHILD_REDIS);
    }
    if (sv->phase >= PHASE_STOPPING_GATEWAY && now_ns > sv->phase_deadline_ns) {
        for (size_t i = 0; i < sv->child_count; i++) {
            if (sv->children[i].pid != 0 &&
                (sv->phase == PHASE_STOPPING_REST || sv->children[i].role == FG_CHILD_GATEWAY))
                fg_child_kill(&sv->children[i]);
        }
        sv->phase_deadline_ns = now_ns + STOP_SLACK_NS;
    }
}

/* ---- reload ---- */

/* What a reload cannot change: it says so, and all stays as it was. */
static bool is_changeable(struct supervisor *sv, const struct fg_config *config)
{
    char keys[512], why[640];
    if (!fg_fixed_parts_differ(sv->config, config, sv->sockets.thread_count,
                               thread_count_of(config), keys, sizeof(keys)))
        return true;
    snprintf(why, sizeof(why), "%s changed: such keys need a restart", keys);
    fg_reload_report_fail(&sv->reports, FG_RELOAD_CONFIG, why);
    fg_log(FG_LOG_ERROR, "reload_failed", "reason=\"%s\" kept=old", why);
    return false;
}

/* False in a child. */
static bool reload(struct supervisor *sv)
{
    if (sv->phase >= PHASE_STOPPING_GATEWAY)
        return true;
    if (sv->phase == PHASE_STARTING || sv->older->pid != 0) {
        if (!sv->is_reload_due)
            fg_log(FG_LOG_INFO, "reload_deferred", "reason=\"the one before is still under way\"");
        sv->is_reload_due = true;
        return true;
    }
    sv->is_reload_due = false;
    fg_reload_report_begin(&sv->reports, FG_RELOAD_CONFIG);
    struct fg_config *config = load(sv->path, &sv->reports);
    if (config == NULL) {
        fg_reload_report_fail(&sv->reports, FG_RELOAD_CONFIG, NULL);
        fg_log(FG_LOG_ERROR, "reload_failed", "reason=\"the configuration has errors\" kept=old");
        return true;
    }
    if (!is_changeable(sv, config)) {
        fg_config_destroy(config);
        return true;
    }
    fg_sockets_set_backlogs(&sv->sockets, config);
    fg_config_destroy(sv->config);
    sv->config = config;
    sv->workers.conf = &config->inference;
    fg_log_set_level(fg_config_log_level(config));
    struct fg_child old = *sv->gateway;
    old.index = sv->older->index;
    *sv->older = old;
    *sv->gateway = (struct fg_child){.role = FG_CHILD_GATEWAY};
    return start_child(sv, sv->gateway); /* the old one is stopped when this one is ready */
}

/* New processes for all workers, the same configuration. */
static void renew_workers(struct supervisor *sv)
{
    if (sv->phase >= PHASE_STOPPING_GATEWAY)
        return;
    fg_reload_report_begin(&sv->reports, FG_RELOAD_WORKERS);
    fg_worker_watch_exchange(&sv->workers);
}

/* ---- events ---- */

static void notify_systemd(const char *message)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || strlen(path) >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = '\0'; /* an abstract name */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return;
    ssize_t sent = sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
    (void)sent;
    close(fd);
}

/* They do nothing that the next one does not go on with. */
static void exchange_fulfil(struct supervisor *sv)
{
    for (size_t i = 0; i < sv->child_count; i++) {
        struct fg_child *child = &sv->children[i];
        if (child->role == FG_CHILD_FULFIL && child->state == FG_CHILD_RUNNING)
            fg_child_exchange(child);
    }
}

static void on_ready(struct supervisor *sv)
{
    char byte;
    ssize_t got = read(sv->ready_fd, &byte, 1);
    close(sv->ready_fd);
    sv->ready_fd = -1;
    if (got != 1)
        return; /* it died first; SIGCHLD tells */
    if (sv->phase == PHASE_STARTING)
        sv->phase = PHASE_SERVING;
    fg_log(FG_LOG_INFO, "ready", "config=%s threads=%u", sv->path, sv->sockets.thread_count);
    notify_systemd("READY=1\n");
    fg_kept_lines_settle(&sv->lines, sv->config);
    fg_kept_cache_settle(&sv->pages, sv->config);
    if (sv->older->pid != 0) {
        fg_child_stop(sv->older);
        fg_worker_watch_exchange(&sv->workers);
        exchange_fulfil(sv);
        fg_reload_report_generation(&sv->reports);
    }
}

static void on_child_exit(struct supervisor *sv, pid_t pid, int status, uint64_t now_ns)
{
    for (size_t i = 0; i < sv->child_count; i++) {
        struct fg_child *child = &sv->children[i];
        if (child->pid != pid)
            continue;
        bool refused_to_start = child == sv->gateway && sv->phase == PHASE_STARTING;
        fg_child_exited(child, status, is_wanted(sv, child) && !refused_to_start, now_ns);
        if (child->role == FG_CHILD_WORKER)
            fg_worker_watch_on_exit(&sv->workers, child, pid, now_ns);
        if (refused_to_start) {
            sv->has_failed = true;
            sv->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
            begin_stop(sv, now_ns);
        }
    }
}

/* Stopped, or going on: of interest in workers alone. */
static void on_child_change(struct supervisor *sv, pid_t pid, int status, uint64_t now_ns)
{
    for (size_t i = 0; i < sv->child_count; i++) {
        struct fg_child *child = &sv->children[i];
        if (child->pid == pid && child->role == FG_CHILD_WORKER)
            fg_worker_watch_on_change(&sv->workers, child, status, now_ns);
    }
}

static void reap(struct supervisor *sv, uint64_t now_ns)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0) {
        if (WIFEXITED(status) || WIFSIGNALED(status))
            on_child_exit(sv, pid, status, now_ns);
        else
            on_child_change(sv, pid, status, now_ns);
    }
}

/* False in a child. */
static bool on_signals(struct supervisor *sv, uint64_t now_ns)
{
    struct signalfd_siginfo info;
    while (read(sv->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            reap(sv, now_ns);
        else if (info.ssi_signo == SIGHUP && !reload(sv))
            return false;
        else if (info.ssi_signo == SIGUSR1)
            renew_workers(sv);
        else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            begin_stop(sv, now_ns);
    }
    return true;
}

/* How long to wait for what happens by itself; signals and news of a new gateway wake us. */
static int wait_of(const struct supervisor *sv, int workers_ms, uint64_t now_ns)
{
    int wait_ms = workers_ms;
    if (sv->phase != PHASE_SERVING || sv->older->pid != 0)
        wait_ms = wait_ms < TICK_MS ? wait_ms : TICK_MS;
    for (size_t i = 0; i < sv->child_count; i++) {
        const struct fg_child *child = &sv->children[i];
        if (child->state != FG_CHILD_WAITING)
            continue;
        int most_ms = child->restart_at_ns < now_ns + TICK_MS * FG_MS ? SOON_MS : TICK_MS;
        wait_ms = wait_ms < most_ms ? wait_ms : most_ms;
    }
    return wait_ms;
}

/* Runs until everything has stopped; returns early, with exit_code set, in a child. */
static void watch(struct supervisor *sv)
{
    int workers_ms = TICK_MS; /* until they want to be looked at */
    for (;;) {
        struct pollfd fds[2] = {{.fd = sv->signal_fd, .events = POLLIN},
                                {.fd = sv->ready_fd, .events = POLLIN}};
        poll(fds, 2, wait_of(sv, workers_ms, fg_clock_monotonic_ns()));
        uint64_t now_ns = fg_clock_monotonic_ns();
        if (sv->ready_fd != -1 && (fds[1].revents & (POLLIN | POLLHUP)) != 0)
            on_ready(sv);
        if (!on_signals(sv, now_ns) || !restart_due(sv, now_ns))
            return;
        bool is_free = sv->phase == PHASE_SERVING && sv->older->pid == 0;
        if (sv->is_reload_due && is_free && !reload(sv))
            return;
        workers_ms = fg_worker_watch_tick(&sv->workers, now_ns);
        fg_reload_report_exchange(&sv->reports, fg_worker_watch_exchanged(&sv->workers),
                                  fg_worker_watch_is_settled(&sv->workers));
        advance_stop(sv, now_ns);
        if (sv->phase == PHASE_STOPPING_REST && !any_alive(sv, false)) {
            fg_log(FG_LOG_INFO, "stopped", "code=%d", sv->exit_code);
            return;
        }
    }
}

/* ---- start ---- */

/* False in a child, or when it failed (exit_code says). */
static bool start_all(struct supervisor *sv)
{
    struct fg_error error = {.file = ""};
    const struct fg_config *config = sv->config;
    if (config->has_orders && config->orders.redis.embedded) {
        if (fg_redis_embedded_prepare(&config->orders, &error) != FG_OK) {
            print_start_error(&error);
            sv->exit_code = 2;
            return false;
        }
        if (!start_role(sv, FG_CHILD_REDIS))
            return false;
        if (fg_redis_wait_ready(&config->orders, REDIS_READY_NS, &error) != FG_OK) {
            print_start_error(&error);
            sv->has_failed = true;
            sv->exit_code = 2;
            begin_stop(sv, fg_clock_monotonic_ns());
            return true;
        }
    }
    return start_role(sv, FG_CHILD_WORKER) && start_role(sv, FG_CHILD_FULFIL) &&
           start_role(sv, FG_CHILD_GATEWAY);
}

static void fini(struct supervisor *sv, bool is_parent)
{
    if (sv->signal_fd != -1)
        close(sv->signal_fd);
    if (sv->ready_fd != -1)
        close(sv->ready_fd);
    fg_sockets_close(&sv->sockets, is_parent);
    fg_reload_report_fini(&sv->reports);
    fg_change_board_destroy(sv->changes);
    fg_kv_arena_detach(sv->arena);
    if (sv->arena_fd != -1)
        close(sv->arena_fd);
    free(sv->workers.steps);
    free(sv->workers.lives);
    free(sv->children);
    fg_kept_lines_fini(&sv->lines);
    fg_kept_cache_fini(&sv->pages);
    fg_nonce_table_destroy(sv->nonces);
    fg_ticket_memory_destroy(sv->tickets);
    fg_config_destroy(sv->config);
}

int fg_supervisor_run(const char *path)
{
    struct supervisor sv = {
        .path = path, .arena_fd = -1, .pages = FG_KEPT_CACHE_INIT, .signal_fd = -1, .ready_fd = -1};
    struct fg_error error = {.file = ""};
    pid_t self = getpid();
    sv.config = load(path, NULL);
    if (sv.config == NULL)
        return 2;
    fg_log_set_level(fg_config_log_level(sv.config));
    fg_error_set(&error, "not enough memory or file descriptors to start");
    sv.tickets = fg_ticket_memory_create();
    if (sv.tickets == NULL || !open_signals(&sv) ||
        getrandom(sv.ticket_seed, sizeof(sv.ticket_seed), 0) != sizeof(sv.ticket_seed) ||
        fg_sockets_open(&sv.sockets, sv.config, thread_count_of(sv.config), &error) != FG_OK ||
        !open_arena(&sv, &error) || !make_children(&sv)) {
        print_start_error(&error);
        sv.exit_code = 2;
    } else if (start_all(&sv)) {
        watch(&sv);
    }
    fini(&sv, getpid() == self);
    return sv.exit_code;
}
