/*
 * connection.c: a client's connection: one read and one write a wake-up, TLS in between.
 * Job      what reads.c has read goes through TLS to the codec; at the end of the turn, or at once
 *          where nobody works for it, output.c sends what the codec has to say.
 * Thread   the loop's.
 * Never    calls the codec from inside a call of the codec's, frees itself within its own callback,
 *          or holds a buffer while it rests.
 * Memory   `held` at most one read's worth.
 *
 *    PREAMBLE --> HANDSHAKE or SNIFFING
 *    HANDSHAKE --> OPEN <-- SNIFFING          LINGERING --eof or time--> DEAD --> freed
 *        |           |--- said all it had ------^ |
 *        |-- was none: 400 --------------------/  |
 *        `-- fail -->`--- cut, closed ------------`--> DEAD
 */
#include "net/net_internal.h"

#include "base/log.h"
#include "net/flooders.h"
#include "net/loop.h"
#include "net/shares.h"
#include "net/tls_clients.h"

#include <assert.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_BYTES_MAX ((size_t)1048576)
#define FLOODER_LINGER_BYTES_MAX ((size_t)262144) /* 100 microseconds of a loop */
#define LINGER_ROOM 65536 /* for what nobody reads the kernel would keep megabytes */
#define MOVE(state) (1u << (state))

static const char h2_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define H2_PREFACE_LEN (sizeof(h2_preface) - 1)

static const uint8_t legal_moves[FG_CONNECTION_STATE_COUNT] = {
    [FG_CONNECTION_PREAMBLE] =
        MOVE(FG_CONNECTION_HANDSHAKE) | MOVE(FG_CONNECTION_SNIFFING) | MOVE(FG_CONNECTION_DEAD),
    [FG_CONNECTION_HANDSHAKE] =
        MOVE(FG_CONNECTION_OPEN) | MOVE(FG_CONNECTION_LINGERING) | MOVE(FG_CONNECTION_DEAD),
    [FG_CONNECTION_SNIFFING] = MOVE(FG_CONNECTION_OPEN) | MOVE(FG_CONNECTION_DEAD),
    [FG_CONNECTION_OPEN] = MOVE(FG_CONNECTION_LINGERING) | MOVE(FG_CONNECTION_DEAD),
    [FG_CONNECTION_LINGERING] = MOVE(FG_CONNECTION_DEAD),
    [FG_CONNECTION_DEAD] = 0,
};

void fg_connection_set_state(struct fg_connection *connection, enum fg_connection_state next)
{
    assert((legal_moves[connection->state] & MOVE(next)) != 0);
    struct fg_net *net = connection->net;
    if (connection->state == FG_CONNECTION_HANDSHAKE)
        net->handshakes_open--;
    if (next == FG_CONNECTION_HANDSHAKE)
        net->handshakes_open++;
    fg_counter_set(&net->stats.handshakes_open, net->handshakes_open);
    connection->state = next;
}

void fg_connection_schedule(struct fg_connection *connection)
{
    fg_loop_defer(connection->net->env.loop, &connection->work);
}

void fg_connection_set_reading(struct fg_connection *connection, bool is_wanted)
{
    if (connection->is_reading == is_wanted)
        return;
    int result =
        is_wanted ? event_add(&connection->read_event, NULL) : event_del(&connection->read_event);
    if (result == 0)
        connection->is_reading = is_wanted;
    else
        connection->has_broken = true;
}

/* What the codec asks of its transport; none of it calls back. */

static void transport_wake(struct fg_transport *transport)
{
    struct fg_connection *connection = fg_connection_of(transport);
    if (!connection->work.is_pending)
        fg_tls_prefetch_write(&connection->tls);
    connection->has_more_to_say = true;
    fg_connection_schedule(connection);
}

static void transport_resume_input(struct fg_transport *transport)
{
    struct fg_connection *connection = fg_connection_of(transport);
    if (connection->held.len == 0)
        return;
    connection->wants_resume = true;
    fg_connection_schedule(connection);
}

static void transport_arm(struct fg_transport *transport, enum fg_timeout_class class)
{
    struct fg_connection *connection = fg_connection_of(transport);
    connection->timeout_class = class;
    fg_timeout_arm(&transport->env->timeouts, &connection->timeout, class);
}

static void transport_disarm(struct fg_transport *transport)
{
    fg_timeout_cancel(&fg_connection_of(transport)->timeout);
}

static void transport_close(struct fg_transport *transport, enum fg_close_mode mode)
{
    struct fg_connection *connection = fg_connection_of(transport);
    if (!connection->is_closing || mode > connection->close_mode)
        connection->close_mode = mode;
    connection->is_closing = true;
    fg_connection_schedule(connection);
}

static uint64_t transport_stalled_since(const struct fg_transport *transport)
{
    const struct fg_connection *connection =
        (const struct fg_connection *)transport; /* its first member */
    return connection->is_blocked
               ? fg_timeout_armed_ns(&transport->env->timeouts, &connection->write_timeout,
                                     FG_TIMEOUT_WRITE)
               : 0;
}

static bool transport_is_spared(struct fg_transport *transport)
{
    return fg_shares_spare(fg_connection_of(transport));
}

static const struct fg_transport_ops transport_ops = {
    .wake = transport_wake,
    .resume_input = transport_resume_input,
    .arm = transport_arm,
    .disarm = transport_disarm,
    .close = transport_close,
    .stalled_since = transport_stalled_since,
    .is_spared = transport_is_spared,
};

/* Closes the socket; memory goes at the end of the turn. */
static void kill_connection(struct fg_connection *connection, bool is_reset)
{
    if (connection->state == FG_CONNECTION_DEAD)
        return;
    fg_connection_set_state(connection, FG_CONNECTION_DEAD);
    event_del(&connection->read_event);
    event_del(&connection->write_event);
    fg_timeout_cancel(&connection->timeout);
    fg_timeout_cancel(&connection->write_timeout);
    fg_timeout_cancel(&connection->rest);
    fg_handshakes_forget(&connection->net->handshakes, connection);
    fg_last_line_remove(&connection->net->last_readers, &connection->last_read);
    fg_last_line_remove(&connection->net->last_writers, &connection->last_write);
    if (is_reset) {
        const struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    close(connection->fd);
    connection->fd = -1;
    fg_connection_schedule(connection);
}

uint64_t fg_connection_address_hash(const struct fg_connection *connection)
{
    return fg_ip_key_hash(connection->ip_key, connection->net->ip_table.seed);
}

uint64_t fg_connection_owner(const struct fg_connection *connection)
{
    return connection->is_counted ? fg_connection_address_hash(connection) : 0;
}

static void cut_codec(struct fg_connection *connection, enum fg_gone_reason reason)
{
    struct fg_transport *transport = &connection->transport;
    if (connection->codec == NULL)
        return;
    connection->codec->ops->on_cut(connection->codec, reason);
    fg_flooders_note_spent(connection, transport->overhead_spent);
    transport->overhead_spent = 0;
}

static void cut(struct fg_connection *connection, enum fg_gone_reason reason, bool is_reset)
{
    if (connection->state == FG_CONNECTION_DEAD)
        return;
    cut_codec(connection, reason);
    kill_connection(connection, is_reset);
}

void fg_connection_cut(struct fg_connection *connection, enum fg_gone_reason reason)
{
    cut(connection, reason, true);
}

static void free_connection(struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    struct fg_ip_key key = connection->ip_key;
    bool is_counted = connection->is_counted;
    if (connection->codec != NULL)
        connection->codec->ops->destroy(connection->codec);
    fg_tls_close(&connection->tls);
    fg_byte_queue_clear(&connection->held, &net->env.segments);
    fg_byte_queue_clear(&connection->out, &net->env.segments);
    fg_list_remove(&connection->link);
    free(connection->client_user);
    free(connection);
    fg_net_forget_connection(net, is_counted ? &key : NULL);
}

/* Of what was said, in the kernel: the client's has not acknowledged it. */
static int unread_bytes(const struct fg_connection *connection)
{
    int unread = 0;
    return ioctl(connection->fd, SIOCOUTQ, &unread) == 0 ? unread : 0;
}

/* All is said. */
static void end_connection(struct fg_connection *connection)
{
    if (connection->close_mode == FG_CLOSE_FLUSH) {
        cut(connection, FG_GONE_CLIENT_CLOSED, false);
        return;
    }
    cut_codec(connection, FG_GONE_CLIENT_CLOSED);
    fg_connection_set_state(connection, FG_CONNECTION_LINGERING);
    shutdown(connection->fd, SHUT_WR);
    const int room = LINGER_ROOM;
    setsockopt(connection->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    fg_byte_queue_clear(&connection->held, &connection->net->env.segments);
    fg_connection_set_reading(connection, true);
    connection->unread_bytes = unread_bytes(connection);
    transport_arm(&connection->transport, FG_TIMEOUT_LINGER);
}

/* A client behind a slow link reads what was said, and says that it does. */
static bool goes_on_reading(struct fg_connection *connection)
{
    int before = connection->unread_bytes;
    connection->unread_bytes = unread_bytes(connection);
    return before - connection->unread_bytes >= (int)FG_WRITE_PROGRESS_BYTES;
}

void fg_connection_say_last(struct fg_connection *connection, const void *data, size_t len)
{
    if (!fg_byte_queue_append(&connection->out, &connection->net->env.segments, data, len))
        connection->has_broken = true;
    connection->is_closing = true;
    connection->close_mode = FG_CLOSE_LINGER;
    fg_connection_schedule(connection);
}

/* Input. */

static void feed(struct fg_connection *connection, const char *data, size_t len)
{
    struct fg_codec *codec = connection->codec;
    if (connection->is_closing && connection->close_mode == FG_CLOSE_RESET)
        return;
    size_t taken = 0;
    if (connection->held.len == 0)
        taken = codec->ops->input(codec, data, len);
    if (taken == len)
        return;
    if (!fg_byte_queue_append(&connection->held, &connection->net->env.segments, data + taken,
                              len - taken))
        connection->has_broken = true;
}

/* What the codec could not take yet: it says when it can, or it only gives way. */
static void note_held(struct fg_connection *connection)
{
    if (connection->held.len == 0 || connection->state != FG_CONNECTION_OPEN)
        return;
    if (fg_transport_gives_way(&connection->transport))
        fg_reads_cut(connection);
    else
        fg_connection_set_reading(connection, false);
}

static void feed_held(struct fg_connection *connection)
{
    struct fg_segment_pool *pool = &connection->net->env.segments;
    struct fg_codec *codec = connection->codec;
    connection->wants_resume = false;
    while (connection->held.len > 0 && connection->state == FG_CONNECTION_OPEN) {
        struct fg_span front = fg_byte_queue_front(&connection->held);
        size_t taken = codec->ops->input(codec, front.data, front.len);
        fg_byte_queue_drop(&connection->held, pool, taken);
        if (taken < front.len)
            break;
    }
    note_held(connection);
    if (connection->held.len > 0 || connection->state != FG_CONNECTION_OPEN)
        return;
    fg_connection_set_reading(connection, true);
    if (connection->is_end_held) {
        connection->is_end_held = false;
        connection->codec->ops->on_eof(codec, true);
    }
}

static bool open_codec(struct fg_connection *connection, bool is_h2)
{
    struct fg_transport *transport = &connection->transport;
    transport->overhead_owed = is_h2 ? fg_flooders_owed(connection) : 0;
    transport->is_shared = !connection->is_counted;
    connection->codec = is_h2 ? fg_h2_create(transport) : fg_h1_create(transport);
    if (connection->codec == NULL) {
        connection->has_broken = true;
        return false;
    }
    fg_connection_set_state(connection, FG_CONNECTION_OPEN);
    if (transport->env->is_draining)
        connection->codec->ops->drain(connection->codec);
    return true;
}

/* HTTP/2 in the clear, of an address that owes for floods: what is behind the preface waits. */
static bool must_wait(struct fg_connection *connection, const char *data, size_t len)
{
    struct fg_net *net = connection->net;
    if (!fg_flooders_admit(connection)) {
        cut(connection, FG_GONE_TIMEOUT, true);
        return true;
    }
    if (connection->handshake_due_ns == 0)
        return false;
    if (!fg_byte_queue_append(&connection->held, &net->env.segments, data, len))
        connection->has_broken = true;
    fg_connection_set_reading(connection, false);
    fg_handshakes_queue(&net->handshakes, connection, FG_HANDSHAKE_OWES);
    return true;
}

/* The bytes of the preface seen so far need not be kept: they are known. */
static void sniff(struct fg_connection *connection, const char *data, size_t len)
{
    size_t at = 0;
    while (at < len && connection->sniffed < H2_PREFACE_LEN &&
           data[at] == h2_preface[connection->sniffed]) {
        at++;
        connection->sniffed++;
    }
    bool is_h2 = connection->sniffed == H2_PREFACE_LEN;
    if (!is_h2 && at == len)
        return;
    if (is_h2 && connection->handshake_due_ns == 0 && must_wait(connection, data + at, len - at))
        return;
    if (!open_codec(connection, is_h2))
        return;
    if (connection->sniffed > 0)
        feed(connection, h2_preface, connection->sniffed);
    if (at < len)
        feed(connection, data + at, len - at);
}

static void on_end_of_input(struct fg_connection *connection, bool may_listen)
{
    connection->has_ended = true;
    if (connection->state != FG_CONNECTION_OPEN)
        cut(connection, FG_GONE_CLIENT_CLOSED, false);
    else if (may_listen && connection->held.len > 0)
        connection->is_end_held = true;
    else if (!connection->is_closing)
        connection->codec->ops->on_eof(connection->codec, may_listen);
}

/*
 * TLS has a word of its own for "I say no more" (RFC 8446 section 6.1): who ends the socket
 * as well, or instead of that, has left.
 */
void fg_connection_end_input(struct fg_connection *connection)
{
    fg_connection_set_reading(connection, false); /* it would stay readable */
    on_end_of_input(connection, !connection->transport.is_tls);
}

/*
 * Behind the client's last word there is nothing to read; what is sent nevertheless has a bound.
 * Behind our own, a client that is still sending may not have read it yet, and a reset would take
 * it away again: what is more waits in the socket until the client has stopped, or its time is up.
 * Of a flooder's little is read: to reset it would only let it come again at once.
 */
static void discard(struct fg_connection *connection, size_t len)
{
    bool has_flooded = connection->transport.has_flooded;
    connection->linger_bytes += len;
    if (connection->linger_bytes <= (has_flooded ? FLOODER_LINGER_BYTES_MAX : LINGER_BYTES_MAX))
        return;
    if (connection->state == FG_CONNECTION_LINGERING)
        fg_connection_set_reading(connection, false);
    else
        cut(connection, FG_GONE_PROTOCOL, false);
}

/* False: no memory for it. */
static bool note_client_user(struct fg_connection *connection)
{
    char user[FG_CLIENT_USER_BYTES_MAX + 1];
    const struct fg_tls_clients clients =
        fg_tls_clients_of(connection->listening->conf, connection->tls.rules);
    const size_t prefix_len = clients.user_prefix == NULL ? 0 : strlen(clients.user_prefix);
    assert(prefix_len < sizeof(user));
    if (!fg_tls_client_user(&connection->tls, clients.user, user + prefix_len,
                            sizeof(user) - prefix_len))
        return true;
    if (prefix_len > 0)
        memcpy(user, clients.user_prefix, prefix_len);
    connection->client_user = strdup(user);
    connection->transport.client_user = fg_span_from_string(connection->client_user);
    return connection->client_user != NULL;
}

static bool is_misdirected(const struct fg_client_link *link, struct fg_span authority)
{
    const struct fg_transport *transport = FG_CONTAINER_OF(link, struct fg_transport, link);
    const struct fg_connection *connection =
        FG_CONTAINER_OF(transport, struct fg_connection, transport);
    return fg_tls_context_is_misdirected(connection->listening->tls, connection->tls.rules,
                                         link->server_name, authority);
}

/* For servers that are told of the connection; the name is TLS's, which is closed last. */
static void note_tls(struct fg_connection *connection)
{
    struct fg_client_link *link = &connection->transport.link;
    link->tls_version = fg_tls_version(&connection->tls);
    link->server_name = fg_tls_server_name(&connection->tls);
    link->has_certificate = fg_tls_has_certificate(&connection->tls);
    link->is_misdirected = connection->listening->tls->minds_hosts ? is_misdirected : NULL;
}

/* The client sees an alert that is the same for many reasons, if it shows it at all. */
static void note_failure(struct fg_connection *connection)
{
    static struct fg_log_limit limit;
    struct fg_net_stats *stats = &connection->net->stats;
    const char *fault = fg_tls_certificate_fault(&connection->tls);
    fg_counter_add_owned(&stats->handshakes_failed, 1);
    if (fault == NULL)
        return;
    fg_counter_add_owned(&stats->client_certificates_refused, 1);
    fg_log_limited(&limit, 1, FG_LOG_WARN, "client_certificate_refused",
                   "listener=%s from=%s reason=\"%s\"", connection->listening->conf->name,
                   connection->addr_text, fault);
}

static bool advance_handshake(struct fg_connection *connection)
{
    struct fg_net_stats *stats = &connection->net->stats;
    struct fg_tls *tls = &connection->tls;
    switch (fg_tls_handshake(tls)) {
    case FG_TLS_OK:
        break;
    case FG_TLS_MORE:
        return false;
    case FG_TLS_EOF:
    case FG_TLS_FLOOD:
    case FG_TLS_FAILED:
        note_failure(connection);
        connection->is_closing = true; /* an alert may be on its way out */
        connection->close_mode = FG_CLOSE_FLUSH;
        connection->has_said_goodbye = true;
        fg_connection_schedule(connection);
        return false;
    }
    fg_counter_add_owned(&stats->handshakes_ok, 1);
    connection->transport.link.is_resumed = fg_tls_is_resumed(tls);
    if (connection->transport.link.is_resumed)
        fg_counter_add_owned(&stats->handshakes_resumed, 1);
    if (fg_tls_is_stapled(tls))
        fg_counter_add_owned(&stats->handshakes_stapled, 1);
    if (!note_client_user(connection)) {
        connection->has_broken = true;
        return false;
    }
    fg_tls_settle(tls);
    if (!fg_tls_has_own_records(tls))
        fg_counter_add_owned(&stats->tls_by_openssl, 1);
    note_tls(connection);
    fg_timeout_cancel(&connection->timeout);
    return open_codec(connection, fg_tls_is_h2(tls));
}

/*
 * The client has broken TLS. If it is to be told why, that is put out; nothing follows it, and what
 * it still sends is thrown away for a while, so that it can read that.
 */
static void fail_tls(struct fg_connection *connection)
{
    connection->has_failed = true;
    connection->has_ended = true;
    connection->has_said_goodbye = true;
    connection->is_closing = true;
    connection->close_mode = FG_CLOSE_LINGER;
    fg_byte_queue_clear(&connection->held, &connection->net->env.segments);
    fg_connection_schedule(connection);
}

void fg_connection_take_ciphertext(struct fg_connection *connection, const char *data, size_t len)
{
    struct fg_tls *tls = &connection->tls;
    tls->in = data;
    tls->in_len = len;
    if (connection->state == FG_CONNECTION_HANDSHAKE && !advance_handshake(connection)) {
        tls->in_len = 0;
        return;
    }
    while (connection->state == FG_CONNECTION_OPEN && !fg_tls_is_drained(tls)) {
        size_t got;
        enum fg_tls_result result = fg_tls_read(tls, connection->net->plain, &got);
        if (result == FG_TLS_OK) {
            feed(connection, connection->net->plain, got);
        } else if (result == FG_TLS_EOF) {
            on_end_of_input(connection, true);
            break;
        } else {
            if (result == FG_TLS_FLOOD) {
                fg_flooders_note_tls(connection);
                connection->has_broken = true;
            } else if (result == FG_TLS_FAILED) {
                fail_tls(connection);
            }
            break;
        }
    }
    tls->in_len = 0;
    fg_output_keep_awake(connection);
}

void fg_connection_take_bytes(struct fg_connection *connection, const char *data, size_t len)
{
    switch (connection->state) {
    case FG_CONNECTION_PREAMBLE:
        fg_preamble_take_header(connection, len);
        break;
    case FG_CONNECTION_HANDSHAKE:
        if (connection->has_said_hello)
            fg_connection_take_ciphertext(connection, data, len);
        else
            fg_preamble_take_hello(connection, len);
        break;
    case FG_CONNECTION_SNIFFING:
        sniff(connection, data, len);
        break;
    case FG_CONNECTION_OPEN:
        if (connection->has_ended)
            discard(connection, len);
        else if (connection->transport.is_tls)
            fg_connection_take_ciphertext(connection, data, len);
        else
            feed(connection, data, len);
        break;
    case FG_CONNECTION_LINGERING:
        discard(connection, len);
        break;
    case FG_CONNECTION_DEAD:
    case FG_CONNECTION_STATE_COUNT:
        break;
    }
    note_held(connection);
    if (connection->has_broken)
        fg_connection_schedule(connection);
}

void fg_connection_take_held(struct fg_connection *connection)
{
    feed_held(connection);
    if (connection->has_broken)
        fg_connection_schedule(connection);
}

static void on_work(struct fg_deferred *deferred)
{
    struct fg_connection *connection = FG_CONTAINER_OF(deferred, struct fg_connection, work);
    if (connection->state == FG_CONNECTION_DEAD) {
        free_connection(connection);
        return;
    }
    if (connection->wants_resume && connection->state == FG_CONNECTION_OPEN &&
        !fg_transport_gives_way(&connection->transport))
        feed_held(connection);
    bool is_reset = connection->is_closing && connection->close_mode == FG_CLOSE_RESET;
    if (connection->has_broken || is_reset) {
        cut(connection, FG_GONE_CLIENT_CLOSED, true);
        return;
    }
    if (connection->state != FG_CONNECTION_LINGERING)
        fg_writes_begin(connection);
}

void fg_connection_write(struct fg_connection *connection, size_t most)
{
    enum fg_said said = fg_output_flush(connection, most);
    fg_writes_note(connection, connection->net->out_len, said);
    if (connection->has_broken)
        cut(connection, FG_GONE_CLIENT_CLOSED, true);
    else if (said == FG_SAID_ALL && connection->is_closing &&
             (connection->has_said_goodbye || !connection->transport.is_tls))
        end_connection(connection);
}

/*
 * Where every request is answered, nothing that comes later in this turn could leave in the same
 * write: it is said at once, while streams and answers are still in the processor's caches, and the
 * next connection's requests find these streams free and as near. So is what ends: what that costs
 * is then part of the read that brought the end.
 */
void fg_connection_settle(struct fg_connection *connection)
{
    bool is_over = connection->is_closing && connection->close_mode == FG_CLOSE_RESET;
    if (!connection->work.is_pending || connection->state != FG_CONNECTION_OPEN ||
        (connection->codec->unanswered > 0 && !is_over))
        return;
    fg_loop_defer_cancel(connection->net->env.loop, &connection->work);
    on_work(&connection->work);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_connection *connection = arg;
    connection->is_blocked = false;
    fg_connection_schedule(connection);
}

static void on_timeout(struct fg_timeout *timeout)
{
    struct fg_connection *connection = FG_CONTAINER_OF(timeout, struct fg_connection, timeout);
    if (connection->state == FG_CONNECTION_OPEN) {
        connection->codec->ops->on_timeout(connection->codec, connection->timeout_class);
        return;
    }
    if (connection->state == FG_CONNECTION_HANDSHAKE) {
        fg_counter_add_owned(&connection->net->stats.handshakes_failed, 1);
        fg_counter_add_owned(&connection->net->stats.timeouts, 1);
    }
    if (connection->state == FG_CONNECTION_LINGERING && goes_on_reading(connection)) {
        transport_arm(&connection->transport, FG_TIMEOUT_LINGER);
        return;
    }
    kill_connection(connection, false);
}

static void on_write_timeout(struct fg_timeout *timeout)
{
    struct fg_connection *connection =
        FG_CONTAINER_OF(timeout, struct fg_connection, write_timeout);
    fg_counter_add_owned(&connection->net->stats.timeouts, 1);
    cut(connection, FG_GONE_TIMEOUT, true);
}

void fg_connection_adjust(struct fg_connection *connection)
{
    if (connection->state == FG_CONNECTION_OPEN && !connection->is_closing)
        connection->codec->ops->adjust(connection->codec);
}

void fg_connection_drain(struct fg_connection *connection)
{
    if (connection->state == FG_CONNECTION_OPEN)
        connection->codec->ops->drain(connection->codec);
    else if (connection->state == FG_CONNECTION_SNIFFING && connection->sniffed == 0)
        transport_arm(&connection->transport, FG_TIMEOUT_LINGER); /* its request is on its way */
}

void fg_connection_set_address(struct fg_connection *connection, const struct fg_ip *ip,
                               uint16_t port)
{
    size_t len = fg_ip_format(ip, connection->addr_text);
    connection->transport.client_addr = fg_span_make(connection->addr_text, len);
    connection->transport.link.client_port = port;
}

void fg_connection_begin(struct fg_connection *connection)
{
    bool is_tls = connection->transport.is_tls;
    fg_connection_set_state(connection, is_tls ? FG_CONNECTION_HANDSHAKE : FG_CONNECTION_SNIFFING);
    transport_arm(&connection->transport, is_tls ? FG_TIMEOUT_HANDSHAKE : FG_TIMEOUT_IDLE);
}

static bool set_up(struct fg_connection *connection, struct fg_listening *listening)
{
    struct fg_net *net = listening->net;
    struct event_base *base = fg_loop_base(net->env.loop);
    struct fg_transport *transport = &connection->transport;
    transport->ops = &transport_ops;
    transport->env = &net->env;
    transport->handler = listening->handler;
    transport->handler_ctx = listening->handler_ctx;
    transport->is_tls = listening->tls != NULL;
    transport->listener = listening->conf;
    connection->work.run = on_work;
    connection->timeout.on_due = on_timeout;
    connection->write_timeout.on_due = on_write_timeout;
    connection->rest.on_due = fg_output_on_rest;
    if (event_assign(&connection->read_event, base, connection->fd, EV_READ | EV_PERSIST,
                     fg_reads_on_readable, connection) != 0 ||
        event_assign(&connection->write_event, base, connection->fd, EV_WRITE, on_writable,
                     connection) != 0)
        return false;
    if (listening->tls != NULL && fg_tls_open(&connection->tls, listening->tls, &net->tls_env,
                                              fg_output_on_tls, connection) != FG_OK)
        return false;
    if (event_add(&connection->read_event, NULL) != 0) {
        fg_tls_close(&connection->tls);
        return false;
    }
    connection->is_reading = true;
    return true;
}

static void note_local_address(struct fg_connection *connection)
{
    if (!connection->net->options.tells_local_address)
        return;
    struct fg_client_link *link = &connection->transport.link;
    struct sockaddr_storage storage;
    struct sockaddr *address = (struct sockaddr *)&storage;
    socklen_t len = sizeof(storage);
    if (getsockname(connection->fd, address, &len) == 0 &&
        fg_ip_from_sockaddr(address, &link->local_ip))
        link->local_port = fg_ip_port_of(address);
}

void fg_connection_start(struct fg_listening *listening, int fd, const struct fg_origin *origin)
{
    struct fg_net *net = listening->net;
    struct fg_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        goto fail;
    connection->net = net;
    connection->listening = listening;
    connection->fd = fd;
    connection->ip_key = origin->key;
    connection->is_counted = origin->is_counted;
    fg_read_turn_greet(&net->read_turn, &connection->pace);
    fg_connection_set_address(connection, &origin->ip, origin->port);
    note_local_address(connection);
    fg_list_init(&connection->handshake_link);
    if (!set_up(connection, listening))
        goto fail;
    fg_list_push_back(&net->connections, &connection->link);
    if (origin->has_header)
        transport_arm(&connection->transport, FG_TIMEOUT_HANDSHAKE);
    else
        fg_connection_begin(connection);
    return;
fail:
    free(connection);
    close(fd);
    fg_net_forget_connection(net, origin->is_counted ? &origin->key : NULL);
}
