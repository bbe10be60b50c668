/*
 * shares.c: policies/address_share over the connections of one loop.
 * Thread   the loop's.
 * Never    closes a connection for which anybody works, or one that is in no table of addresses: a
 *          trusted proxy's.
 */
#include "net/shares.h"

#include "backends/pressure_shared.h"
#include "net/loop.h"
#include "policies/wide_math.h"

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
        return connection->waits_for_handshake
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
static void close_one(struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    bool is_idle;
    (void)waits_since(connection, &is_idle);
    connection->is_counted = false; /* its place is free for another of its address at once */
    fg_ip_table_remove(&net->ip_table, connection->ip_key);
    fg_pressure_acted(net->options.pressure, FG_OVERLOAD_ADDRESS_SHARE);
    fg_counter_add_owned(&net->stats.closed_share, 1);
    if (is_idle)
        connection->codec->ops->on_timeout(connection->codec, FG_TIMEOUT_IDLE);
    else
        fg_connection_cut(connection, FG_GONE_TIMEOUT);
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
