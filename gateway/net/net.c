/*
 * net.c: all connections of one loop: made, limited, drained.
 * Thread   the loop's.
 * Memory   one object with the loop's scratch buffers; connections are heap objects of their own,
 *          at most connections_max / threads of them.
 */
#include "net/net_internal.h"

#include "base/clock.h"
#include "net/flood_ledger_shared.h"
#include "net/loop.h"
#include "net/shares.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define PULSE_US 100000
#define ADJUSTED_A_PULSE 512
#define LOOKED_AT_A_PULSE 1024 /* one that holds a tenth of all has some hundred of them */

static uint32_t share_of(uint32_t total, unsigned threads)
{
    return threads <= 1 ? total : total / threads + (total % threads != 0);
}

void fg_net_set_limits(struct fg_net *net, const struct fg_limits_conf *limits)
{
    const uint64_t a_minute = UINT64_C(60) * limits->h2_overhead_per_s;
    if (net->options.debts != NULL)
        fg_flood_ledger_set_law(net->options.debts, limits->h2_overhead_per_s,
                                a_minute + limits->h2_overhead_burst);
    net->options.limits = limits;
    net->env.limits = limits;
    net->connections_max = share_of(limits->connections_max, net->options.thread_count);
    fg_counter_set(&net->stats.open_max, net->connections_max);
    net->per_ip_max = share_of(limits->connections_per_ip_max, net->options.thread_count);
    fg_timeouts_set_limits(&net->env.timeouts, limits);
    fg_read_turn_init_for_clients(&net->read_turn, limits->read_turn_ns);
    net->last_readers.budget_ns = limits->read_turn_ns;
    fg_write_turn_init(&net->write_turn, limits->write_turn_ns);
    net->last_writers.budget_ns = limits->write_turn_ns;
    fg_loop_set_gather_pause(net->env.loop, limits->gather_pause_ns);
}

static int fd_mark_of(const struct fg_net_options *options)
{
    struct rlimit files;
    if (options->is_for_operators || getrlimit(RLIMIT_NOFILE, &files) != 0 ||
        files.rlim_cur > INT_MAX)
        return INT_MAX;
    rlim_t reserved = options->limits->descriptors_reserved;
    rlim_t half = files.rlim_cur / 2; /* however small the process's limit is, clients get that */
    return (int)(reserved < half ? files.rlim_cur - reserved : half);
}

/*
 * Some of those that have not heard yet: all at once would hold the loop up when it is worst. While
 * somebody holds more than his share, the walk goes on in circles.
 */
static void on_pulse(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_net *net = arg;
    uint64_t steps = fg_counter_get(&net->options.pressure->steps);
    if (steps != net->steps_seen) {
        net->steps_seen = steps;
        net->adjust_left = net->connection_count;
    }
    struct fg_address_share_picks picks = {0};
    fg_shares_note(net);
    bool is_looking = fg_shares_are_exceeded(net);
    size_t most = is_looking ? LOOKED_AT_A_PULSE : ADJUSTED_A_PULSE;
    size_t wanted = is_looking ? net->connection_count : net->adjust_left;
    for (size_t i = 0; i < most && i < wanted; i++) {
        struct fg_list *link = fg_list_pop_front(&net->connections);
        if (link == NULL)
            break;
        fg_list_push_back(&net->connections, link); /* who comes later knows already */
        struct fg_connection *connection = FG_CONTAINER_OF(link, struct fg_connection, link);
        if (net->adjust_left > 0) {
            net->adjust_left--;
            fg_connection_adjust(connection);
        }
        if (is_looking)
            fg_shares_look_at(connection, &picks);
    }
    fg_shares_close(net, &picks);
}

static bool start_pulse(struct fg_net *net)
{
    const struct timeval period = {.tv_usec = PULSE_US};
    if (net->options.pressure == NULL)
        return true;
    net->pulse = event_new(fg_loop_base(net->env.loop), -1, EV_PERSIST, on_pulse, net);
    return net->pulse != NULL && event_add(net->pulse, &period) == 0;
}

struct fg_net *fg_net_create(const struct fg_net_options *options)
{
    struct fg_net *net = calloc(1, sizeof(*net));
    if (net == NULL)
        return NULL;
    net->options = *options;
    net->fd_mark = fd_mark_of(options);
    fg_list_init(&net->listenings);
    fg_list_init(&net->connections);
    net->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fg_codec_env_init(&net->env, options->loop, options->limits, &net->stats) != FG_OK)
        goto free_net;
    fg_reads_init(net);
    fg_writes_init(net);
    net->env.pressure = options->pressure;
    net->env.timeouts.pressure = options->pressure;
    size_t share = share_of(options->limits->connections_max, options->thread_count);
    fg_shares_init(net);
    if (fg_ip_table_init(&net->ip_table, share, net->share.connections, net->env.random[0]) !=
        FG_OK)
        goto fini_env;
    if (fg_tls_env_init(&net->tls_env, &net->env.segments) != FG_OK)
        goto fini_table;
    if (fg_handshakes_init(&net->handshakes, net, options->handshake_turn_ns,
                           options->handshakes_waiting_max) != FG_OK)
        goto fini_tls;
    if (!start_pulse(net))
        goto fini_handshakes;
    fg_net_set_limits(net, options->limits);
    return net;
fini_handshakes:
    if (net->pulse != NULL)
        event_free(net->pulse);
    fg_handshakes_fini(&net->handshakes);
fini_tls:
    fg_tls_env_fini(&net->tls_env);
fini_table:
    fg_ip_table_fini(&net->ip_table);
fini_env:
    fg_codec_env_fini(&net->env);
free_net:
    if (net->reserve_fd != -1)
        close(net->reserve_fd);
    free(net);
    return NULL;
}

void fg_net_destroy(struct fg_net *net)
{
    if (net == NULL)
        return;
    assert(net->connection_count == 0);
    fg_net_stop_accepting(net);
    struct fg_list *link;
    while ((link = fg_list_pop_front(&net->listenings)) != NULL)
        free(FG_CONTAINER_OF(link, struct fg_listening, link));
    if (net->drain_event != NULL)
        event_free(net->drain_event);
    if (net->pulse != NULL)
        event_free(net->pulse);
    fg_handshakes_fini(&net->handshakes);
    fg_last_line_fini(&net->last_readers);
    fg_last_line_fini(&net->last_writers);
    fg_tls_env_fini(&net->tls_env);
    fg_ip_table_fini(&net->ip_table);
    fg_codec_env_fini(&net->env);
    if (net->reserve_fd != -1)
        close(net->reserve_fd);
    free(net);
}

/*
 * The kernel's buffer of a connection grows to megabytes, whether they are read or not, and is no
 * part of what we count. Inherited by what is accepted. A socket that knows no such thing (one of a
 * test) does without.
 */
static void bound_unsent(int fd, uint64_t bytes)
{
    const int most = bytes > INT_MAX ? INT_MAX : (int)bytes;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof(most));
}

enum fg_status fg_net_listen(struct fg_net *net, int fd, const struct fg_listener_conf *conf,
                             struct fg_tls_context *tls)
{
    assert((conf->kind == FG_LISTENER_TLS) == (tls != NULL));
    struct fg_listening *listening = calloc(1, sizeof(*listening));
    if (listening == NULL)
        return FG_ERR_NO_MEMORY;
    listening->net = net;
    listening->fd = fd;
    listening->conf = conf;
    listening->tls = tls;
    listening->handler = net->options.handler;
    listening->handler_ctx = net->options.handler_ctx;
    if (conf->kind == FG_LISTENER_REDIRECT) {
        listening->handler = &fg_redirect_handler;
        listening->handler_ctx = listening;
    }
    bound_unsent(fd, net->env.limits->kernel_unsent_max);
    fg_listening_start(listening);
    if (!listening->is_accepting) {
        free(listening);
        return FG_ERR_SYSTEM;
    }
    fg_list_push_back(&net->listenings, &listening->link);
    return FG_OK;
}

void fg_net_stop_accepting(struct fg_net *net)
{
    FG_LIST_EACH_SAFE(it, after, &net->listenings)
    fg_listening_stop(FG_CONTAINER_OF(it, struct fg_listening, link));
}

static void check_drained(struct fg_net *net)
{
    if (!net->env.is_draining || net->has_drained || net->connection_count > 0)
        return;
    net->has_drained = true;
    if (net->drain_event != NULL)
        event_del(net->drain_event);
    if (net->on_drained != NULL)
        net->on_drained(net->drained_ctx);
}

void fg_net_forget_connection(struct fg_net *net, const struct fg_ip_key *key)
{
    assert(net->connection_count > 0);
    net->connection_count--;
    fg_counter_set(&net->stats.open, net->connection_count);
    if (key != NULL)
        fg_ip_table_remove(&net->ip_table, *key);
    check_drained(net);
}

static void cut_all(struct fg_net *net)
{
    FG_LIST_EACH_SAFE(it, after, &net->connections)
    fg_connection_cut(FG_CONTAINER_OF(it, struct fg_connection, link), FG_GONE_DRAIN);
}

static void on_drain_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    cut_all(arg);
}

void fg_net_drain(struct fg_net *net, uint64_t deadline_ns, void (*on_drained)(void *ctx),
                  void *ctx)
{
    net->on_drained = on_drained;
    net->drained_ctx = ctx;
    net->env.is_draining = true;
    fg_net_stop_accepting(net);
    FG_LIST_EACH_SAFE(it, after, &net->connections)
    fg_connection_drain(FG_CONTAINER_OF(it, struct fg_connection, link));
    if (net->connection_count > 0) {
        uint64_t now_ns = fg_loop_now_ns(net->env.loop);
        uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        const struct timeval left = {.tv_sec = (time_t)(left_ns / FG_S),
                                     .tv_usec = (suseconds_t)(left_ns % FG_S / FG_US)};
        if (net->drain_event == NULL)
            net->drain_event =
                event_new(fg_loop_base(net->env.loop), -1, 0, on_drain_deadline, net);
        if (net->drain_event == NULL || event_add(net->drain_event, &left) != 0)
            cut_all(net);
    }
    check_drained(net);
}

const struct fg_net_stats *fg_net_stats(const struct fg_net *net)
{
    return &net->stats;
}
