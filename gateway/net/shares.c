/*
 * shares.c: policies/address_share over the connections of one loop, and who rests longest.
 * Thread   the loop's.
 * Never    closes a connection for which anybody works, or, for its address, one that is in no
 *          table of addresses: a trusted proxy's.
 */
#include "net/shares.h"

#include "backends/pressure_shared.h"
#include "net/loop.h"
#include "policies/wide_math.h"

#define LOOKS_MAX 8u    /* at those that may rest, for one newcomer */
#define PLACES_PARTS 4u /* the last of so many parts of all places is for newcomers */

void fg_shares_init(struct fg_net *net)
{
    const struct fg_net_options *options = &net->options;
    const struct fg_pressure *pressure = options->pressure;
    uint64_t most = options->limits->connections_max;
    net->share = (struct fg_address_share){.connections = UINT32_MAX};
    if (pressure == NULL)
        return;
    if (most > (uint64_t)net->fd_mark)
        most = (uint64_t)net->fd_mark;
    net->share = fg_address_share_make(most, pressure->address_permille, options->thread_count,
                                       pressure->address_grace_ns);
}

static bool is_asked(const struct fg_net *net)
{
    return fg_pressure_asks(net->options.pressure, FG_OVERLOAD_ADDRESS_SHARE);
}

static uint32_t held_by(const struct fg_connection *connection)
{
    return fg_ip_table_count(&connection->net->ip_table, connection->ip_key);
}

/* Will the next sample say that this loop's connections run out? */
static bool is_filling(const struct fg_net *net)
{
    const struct fg_pressure *pressure = net->options.pressure;
    return pressure != NULL && pressure->connections_mark > 0 &&
           net->connection_count >=
               fg_multiply_divide(net->connections_max, pressure->connections_mark, 1000);
}

/* The sampler looks ten times a second, and a flood takes all that there is in less. */
bool fg_shares_admit(struct fg_net *net, struct fg_ip_key key, int fd)
{
    fg_pressure_note_fd(net->options.pressure, fd);
    if ((!fg_pressure_is_short(net->options.pressure) && !is_filling(net)) ||
        fg_address_share_admits(&net->share, fg_ip_table_count(&net->ip_table, key)))
        return true;
    fg_pressure_acted(net->options.pressure, FG_OVERLOAD_ADDRESS_SHARE);
    fg_counter_add_owned(&net->stats.refused_share, 1);
    return false;
}

bool fg_shares_are_exceeded(const struct fg_net *net)
{
    return net->ip_table.excess > 0 && is_asked(net);
}

/* When it last made progress; 0: it is not its client that it waits for. */
static uint64_t waits_since(struct fg_connection *connection, bool *is_idle)
{
    const struct fg_timeouts *timeouts = &connection->net->env.timeouts;
    *is_idle = false;
    switch (connection->state) {
    case FG_CONNECTION_OPEN:
        if (connection->is_blocked)
            return fg_timeout_armed_ns(timeouts, &connection->write_timeout, FG_TIMEOUT_WRITE);
        return connection->codec->ops->waits_since(connection->codec, is_idle);
    case FG_CONNECTION_HANDSHAKE:
    case FG_CONNECTION_SNIFFING:
    case FG_CONNECTION_LINGERING:
        return connection->waits_for_handshake && connection->handshake_due_ns == 0
                   ? 0
                   : fg_timeout_armed_ns(timeouts, &connection->timeout, connection->timeout_class);
    case FG_CONNECTION_PREAMBLE:
    case FG_CONNECTION_DEAD:
    case FG_CONNECTION_STATE_COUNT:
        break;
    }
    return 0;
}

void fg_shares_look_at(struct fg_connection *connection, struct fg_address_share_picks *picks)
{
    const struct fg_net *net = connection->net;
    bool is_idle;
    if (!connection->is_counted || !fg_address_share_takes(&net->share, held_by(connection)))
        return;
    (void)fg_address_share_offer(&net->share, picks, fg_loop_now_ns(net->env.loop),
                                 held_by(connection), waits_since(connection, &is_idle),
                                 connection);
}

/* An idle one hears goodbye like one whose idle time is over; of the others nobody listens. */
static void end(struct fg_connection *connection, bool is_idle)
{
    if (is_idle)
        connection->codec->ops->on_timeout(connection->codec, FG_TIMEOUT_IDLE);
    else
        fg_connection_cut(connection, FG_GONE_TIMEOUT);
}

static void close_one(struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    bool is_idle;
    (void)waits_since(connection, &is_idle);
    connection->is_counted = false; /* its place is free for another of its address at once */
    fg_ip_table_remove(&net->ip_table, connection->ip_key);
    fg_pressure_acted(net->options.pressure, FG_OVERLOAD_ADDRESS_SHARE);
    fg_counter_add_owned(&net->stats.closed_share, 1);
    end(connection, is_idle);
}

void fg_shares_close(struct fg_net *net, struct fg_address_share_picks *picks)
{
    fg_address_share_sort(picks);
    for (size_t i = 0; i < picks->count; i++) {
        struct fg_connection *connection = picks->by_age[i].connection;
        if (fg_address_share_takes(&net->share, held_by(connection)))
            close_one(connection);
    }
}

static bool are_places_few(const struct fg_net *net, int fd)
{
    size_t room = net->connections_max / PLACES_PARTS;
    return net->connection_count >= net->connections_max - room ||
           fd >= net->fd_mark - net->fd_mark / (int)PLACES_PARTS;
}

/* True: somebody goes. The times of one class stand in the order in which they began. */
static bool end_oldest(struct fg_net *net, enum fg_timeout_class class)
{
    struct fg_timeouts *timeouts = &net->env.timeouts;
    const struct fg_list *waiting = &timeouts->lists[class];
    for (unsigned looks = 0; looks < LOOKS_MAX && !fg_list_is_empty(waiting); looks++) {
        struct fg_connection *connection =
            FG_CONTAINER_OF(waiting->next, struct fg_connection, timeout.link);
        uint64_t since_ns = fg_timeout_armed_ns(timeouts, &connection->timeout, class);
        uint64_t waited_ns = fg_subtract_floor(fg_loop_now_ns(net->env.loop), since_ns);
        bool is_idle;
        bool is_ours = waits_since(connection, &is_idle) == 0;
        bool is_open = connection->state == FG_CONNECTION_OPEN;
        if (waited_ns < net->env.limits->idle_spared_ns || (is_ours && !is_open))
            return false;
        fg_timeout_cancel(&connection->timeout);
        if (is_open && !is_idle)
            continue; /* it has a request by now, whose end arms it anew */
        fg_counter_add_owned(&net->stats.closed_idle, 1);
        end(connection, is_idle);
        return true;
    }
    return false;
}

bool fg_shares_make_room(struct fg_net *net, int fd)
{
    return net->env.limits->idle_spared_ns > 0 && are_places_few(net, fd) &&
           (end_oldest(net, FG_TIMEOUT_HANDSHAKE) || end_oldest(net, FG_TIMEOUT_IDLE));
}

void fg_shares_note(struct fg_net *net)
{
    if (is_asked(net))
        fg_address_share_note(&net->share, fg_loop_now_ns(net->env.loop), net->ip_table.excess,
                              net->connection_count);
}

bool fg_shares_spare(struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    fg_shares_note(net);
    return is_asked(net) &&
           fg_address_share_spares(&net->share, fg_loop_now_ns(net->env.loop), held_by(connection));
}
