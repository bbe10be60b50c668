/*
 * output.c: what a connection says: the codec's words, sealed and sent with one system call.
 * Job      pull what the codec has to say into the loop's scratch buffer, seal it where it lies,
 *          and send it; what the socket does not take waits, and goes first next time.
 * Thread   the loop's.
 * Never    calls the codec from inside a call of the codec's: writes.c says when.
 * Memory   `out` at most one write's worth.
 */
#include "net/net_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define LARGEST_UNIT ((size_t)4096) /* what a codec keeps back, to have it whole in one record */

/* What the socket took at once; nothing where it is broken. */
static size_t send_some(struct fg_connection *connection, const char *data, size_t len)
{
    struct fg_net *net = connection->net;
    ssize_t sent = send(connection->fd, data, len, MSG_NOSIGNAL);
    fg_counter_add_owned(&net->stats.writes, 1);
    if (sent == -1) {
        connection->has_broken = errno != EAGAIN && errno != EINTR;
        return 0;
    }
    fg_counter_add_owned(&net->stats.bytes_written, (uint64_t)sent);
    connection->taken_bytes += (size_t)sent;
    return (size_t)sent;
}

static void wait_until_writable(struct fg_connection *connection)
{
    if (event_add(&connection->write_event, NULL) != 0) {
        connection->has_broken = true;
        return;
    }
    connection->is_blocked = true;
    if (connection->write_timeout.due_ns != 0 && connection->taken_bytes < FG_WRITE_PROGRESS_BYTES)
        return;
    connection->taken_bytes = 0;
    fg_timeout_arm(&connection->net->env.timeouts, &connection->write_timeout, FG_TIMEOUT_WRITE);
}

/* One system call; what the socket does not take waits in `out`. False: it took less than all. */
static bool send_or_keep(struct fg_connection *connection, const char *data, size_t len)
{
    struct fg_segment_pool *segments = &connection->net->env.segments;
    size_t sent = send_some(connection, data, len);
    if (connection->has_broken || sent == len)
        return !connection->has_broken;
    /* `out` may hold more, from before: this goes in front of it, so put that behind again. */
    struct fg_byte_queue rest = connection->out;
    connection->out = (struct fg_byte_queue){0};
    if (!fg_byte_queue_append(&connection->out, segments, data + sent, len - sent)) {
        fg_byte_queue_clear(&rest, segments);
        connection->has_broken = true;
        return false;
    }
    fg_byte_queue_join(&connection->out, &rest);
    wait_until_writable(connection);
    return false;
}

bool fg_output_on_tls(void *ctx, const void *data, size_t len)
{
    struct fg_connection *connection = ctx;
    struct fg_net *net = connection->net;
    if (connection->sole_bytes > 0 && len >= connection->sole_bytes && net->out_len == 0) {
        connection->sole_bytes = 0;
        (void)send_or_keep(connection, data, len);
        return !connection->has_broken;
    }
    if (connection->is_flushing && len <= FG_NET_OUT_BYTES - net->out_len) {
        memcpy(net->out + net->out_len, data, len);
        net->out_len += len;
        return true;
    }
    assert(!connection->is_flushing);
    if (!fg_byte_queue_append(&connection->out, &net->env.segments, data, len)) {
        connection->has_broken = true;
        return false;
    }
    fg_connection_schedule(connection);
    return true;
}

/*
 * By OpenSSL. A codec that leaves so much room has no more to say: one record is all of this flush.
 * A record of TLS's own before it, or several for the one, are gathered as ever; so is what goes
 * with a goodbye.
 */
static bool write_record(struct fg_connection *connection, size_t len)
{
    bool is_sole = len <= FG_NET_PLAIN_BYTES - LARGEST_UNIT && !connection->is_closing;
    connection->sole_bytes = is_sole ? len : 0;
    bool is_written = fg_tls_write(&connection->tls, connection->net->plain, len);
    connection->sole_bytes = 0;
    return is_written;
}

/* How what the codec says becomes what the client is sent. */
enum sealing { IN_THE_CLEAR, IN_PLACE, BY_OPENSSL };

static enum sealing sealing_of(const struct fg_connection *connection)
{
    if (!connection->transport.is_tls)
        return IN_THE_CLEAR;
    return fg_tls_has_own_records(&connection->tls) ? IN_PLACE : BY_OPENSSL;
}

/* Pulls from the codec until there is as much as is wanted, or the scratch buffer is full; false
 * when the codec has no more. */
static bool fill(struct fg_connection *connection, size_t most)
{
    struct fg_net *net = connection->net;
    struct fg_codec *codec = connection->codec;
    enum sealing sealing = sealing_of(connection);
    if (codec == NULL || connection->state != FG_CONNECTION_OPEN || connection->has_failed)
        return false;
    while (net->out_len < most && FG_NET_OUT_BYTES - net->out_len >= FG_NET_OUT_SPARE) {
        char *at = net->out + net->out_len;
        char *to = sealing == IN_PLACE ? at + FG_TLS_HEAD_BYTES : at;
        size_t len =
            codec->ops->produce(codec, sealing == BY_OPENSSL ? net->plain : to, FG_NET_PLAIN_BYTES);
        if (len == 0)
            return false;
        if (sealing == BY_OPENSSL) {
            connection->has_broken |= !write_record(connection, len);
        } else if (sealing == IN_PLACE) {
            len = fg_tls_seal(&connection->tls, at, len);
            connection->has_broken |= len == 0;
        }
        if (sealing != BY_OPENSSL)
            net->out_len += len;
        if (connection->has_broken)
            return false;
        if (connection->is_blocked)
            return true;
    }
    return true;
}

/* One write: what the socket did not take before, or else what the codec has to say. */
static enum fg_said say_once(struct fg_connection *connection, size_t most)
{
    struct fg_net *net = connection->net;
    net->out_len = 0;
    if (connection->out.len > 0)
        net->out_len = fg_byte_queue_take(&connection->out, &net->env.segments, net->out,
                                          FG_NET_OUT_BYTES - FG_NET_OUT_SPARE);
    bool has_more = connection->out.len > 0 || fill(connection, most);
    if (!has_more && connection->is_closing && !connection->has_said_goodbye &&
        connection->transport.is_tls && !connection->has_broken) {
        connection->has_said_goodbye = true;
        fg_tls_shutdown(&connection->tls);
    }
    if (connection->has_broken || connection->is_blocked ||
        (net->out_len > 0 && !send_or_keep(connection, net->out, net->out_len)))
        return FG_SAID_LESS;
    if (connection->codec != NULL && connection->out.len == 0)
        connection->codec->ops->flushed(connection->codec);
    return has_more ? FG_SAID_SOME : FG_SAID_ALL;
}

void fg_output_keep_awake(struct fg_connection *connection)
{
    if (connection->rest.due_ns == 0 && fg_tls_is_awake(&connection->tls))
        fg_timeout_arm(&connection->net->env.timeouts, &connection->rest, FG_TIMEOUT_REST);
}

void fg_output_on_rest(struct fg_timeout *timeout)
{
    struct fg_connection *connection = FG_CONTAINER_OF(timeout, struct fg_connection, rest);
    if (fg_tls_rest(&connection->tls))
        fg_counter_add_owned(&connection->net->stats.tls_rests, 1);
    else
        fg_output_keep_awake(connection);
}

enum fg_said fg_output_flush(struct fg_connection *connection, size_t most)
{
    connection->is_flushing = true;
    enum fg_said said = say_once(connection, most);
    connection->is_flushing = false;
    fg_output_keep_awake(connection);
    if (said != FG_SAID_LESS)
        fg_timeout_cancel(&connection->write_timeout);
    return said;
}
