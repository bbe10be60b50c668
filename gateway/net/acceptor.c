/*
 * acceptor.c: accepts within the limits.
 * Job      a bounded number a turn; refuse by closing; survive running out of descriptors.
 * Thread   the loop's.
 * Cost     one call a connection: to ask for another one that is hardly ever there would be a
 *          second. Only while turn after turn brings some, more than one is taken at a time.
 */
#include "net/net_internal.h"

#include "base/log.h"
#include "net/loop.h"
#include "net/shares.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_A_TURN 16 /* they all want to be read in the next one */
#define ACCEPTS_GROWTH 4
#define PAUSE_US 100000

static void pause_accepting(struct fg_listening *listening)
{
    const struct timeval pause = {.tv_usec = PAUSE_US};
    event_del(&listening->accept_event);
    event_add(&listening->resume_event, &pause);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_listening *listening = arg;
    if (listening->is_accepting)
        event_add(&listening->accept_event, NULL);
}

/*
 * Descriptors have run out: the one kept in reserve lets us take a connection and close it, so that
 * this client at least knows, and then we rest a moment.
 */
static void shed_one(struct fg_listening *listening)
{
    static struct fg_log_limit limit;
    struct fg_net *net = listening->net;
    fg_log_limited(&limit, 1, FG_LOG_WARN, "descriptors_exhausted", "listener=%s",
                   listening->conf->name);
    fg_counter_add_owned(&net->stats.refused_limit, 1);
    if (net->reserve_fd != -1) {
        close(net->reserve_fd);
        int fd = accept4(listening->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd != -1)
            close(fd);
    }
    net->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pause_accepting(listening);
}

/* A proxy's connections are those of many clients: its own address says nothing about them. */
static void find_origin(const struct fg_listening *listening, const struct sockaddr *address,
                        struct fg_origin *origin)
{
    const struct fg_listener_conf *conf = listening->conf;
    *origin = (struct fg_origin){.key = fg_ip_key_of(address), .port = fg_ip_port_of(address)};
    bool has_ip = fg_ip_from_sockaddr(address, &origin->ip);
    origin->has_header =
        has_ip && fg_cidr_list_contains(conf->proxy_protocol_from, conf->proxy_protocol_from_count,
                                        &origin->ip);
    bool is_proxy = has_ip && fg_cidr_list_contains(conf->trusted_proxies,
                                                    conf->trusted_proxy_count, &origin->ip);
    origin->is_counted = !origin->has_header && !is_proxy;
}

static bool is_refused_for_overload(const struct fg_net *net, const struct fg_origin *origin)
{
    struct fg_pressure *pressure = net->options.pressure;
    char text[FG_IP_TEXT_MAX];
    if (!fg_pressure_asks(pressure, FG_OVERLOAD_REFUSE_CONNECTIONS))
        return false;
    size_t len = origin->is_counted ? fg_ip_format(&origin->ip, text) : 0;
    return fg_pressure_refuses(pressure, FG_OVERLOAD_REFUSE_CONNECTIONS, fg_span_make(text, len));
}

static bool is_refused(struct fg_net *net, const struct fg_origin *origin, int fd)
{
    if (is_refused_for_overload(net, origin)) {
        fg_counter_add_owned(&net->stats.refused_overload, 1);
        return true;
    }
    if (origin->is_counted && !fg_shares_admit(net, origin->key, fd))
        return true;
    if (net->connection_count >= net->connections_max ||
        (origin->is_counted &&
         !fg_ip_table_try_add(&net->ip_table, origin->key, net->per_ip_max))) {
        fg_counter_add_owned(&net->stats.refused_limit, 1);
        return true;
    }
    return false;
}

/* Descriptors are given out lowest first, so that a high number says how many are in use. */
static bool is_reserved(const struct fg_net *net, int fd)
{
    return fd >= net->fd_mark;
}

static void refuse_for_descriptors(struct fg_listening *listening, int fd)
{
    static struct fg_log_limit limit;
    fg_log_limited(&limit, 1, FG_LOG_WARN, "descriptors_short", "listener=%s",
                   listening->conf->name);
    fg_counter_add_owned(&listening->net->stats.refused_limit, 1);
    close(fd);
}

/* Into the place of one that was just closed. One in the reserve would stay there, and a low number
 * would not say any more that there is room. */
static int move_down(int fd)
{
    int lower = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (lower == -1)
        return fd;
    close(fd);
    return lower;
}

/* False: nothing more to accept now. */
static bool accept_one(struct fg_listening *listening)
{
    struct fg_net *net = listening->net;
    struct sockaddr_storage storage;
    struct sockaddr *address = (struct sockaddr *)&storage;
    socklen_t len = sizeof(storage);
    int fd = accept4(listening->fd, address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd == -1) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            shed_one(listening);
        return errno == ECONNABORTED || errno == EINTR;
    }
    fg_counter_add_owned(&net->stats.accepted, 1);
    bool has_made_room = fg_shares_make_room(net, fd);
    if (is_reserved(net, fd) && has_made_room)
        fd = move_down(fd);
    if (is_reserved(net, fd)) {
        refuse_for_descriptors(listening, fd);
        if (!has_made_room)
            pause_accepting(listening);
        return has_made_room;
    }
    struct fg_origin origin;
    find_origin(listening, address, &origin);
    if (is_refused(net, &origin, fd)) {
        close(fd);
        return true;
    }
    net->connection_count++;
    fg_counter_set(&net->stats.open, net->connection_count);
    fg_connection_start(listening, fd, &origin);
    return true;
}

/* How many to take in this turn: whoever is left makes the socket readable in the next one. */
static unsigned accepts_now(struct fg_listening *listening)
{
    uint64_t turn = fg_loop_turn(listening->net->env.loop);
    bool is_crowd = listening->accepts > 0 && turn - listening->accepted_turn == 1;
    unsigned more = is_crowd ? listening->accepts * ACCEPTS_GROWTH : 1;
    listening->accepted_turn = turn;
    return more < ACCEPTS_A_TURN ? more : ACCEPTS_A_TURN;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_listening *listening = arg;
    unsigned most = accepts_now(listening);
    unsigned accepted = 0;
    while (accepted < most && accept_one(listening))
        accepted++;
    listening->accepts = accepted == most ? most : 0;
}

void fg_listening_start(struct fg_listening *listening)
{
    struct event_base *base = fg_loop_base(listening->net->env.loop);
    event_assign(&listening->accept_event, base, listening->fd, EV_READ | EV_PERSIST, on_acceptable,
                 listening);
    event_assign(&listening->resume_event, base, -1, 0, on_resume, listening);
    listening->is_accepting = event_add(&listening->accept_event, NULL) == 0;
}

void fg_listening_stop(struct fg_listening *listening)
{
    if (!listening->is_accepting)
        return;
    listening->is_accepting = false;
    event_del(&listening->accept_event);
    event_del(&listening->resume_event);
}
