/*
 * preamble.c: the first bytes of a connection, before they are the codec's: a load balancer's PROXY
 * header, then the client's TLS hello.
 * Job      put either together from its parts; take the client's address from the header; let the
 *          hello wait for its turn, or say in the clear that there was none. Who is asked for a
 *          second hello (RFC 8446 section 4.1.4) waits with that one, too: it is the dear one.
 * Thread   the loop's.
 * Memory   parts wait in connection->held: 4 KiB of a header, 20 KiB of a hello and one read at
 *          most. They are joined in net->in, where what was just read lies already.
 */
#include "net/net_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/http_error.h"
#include "net/client_hello.h"
#include "net/flooders.h"
#include "net/proxy_header.h"
#include "net/shares.h"
#include "policies/cache/http_date.h"

#include <assert.h>
#include <stdio.h>

/* What was held before, and the `len` bytes in net->in behind it; the whole is there afterwards. */
static size_t join_held(struct fg_connection *connection, size_t len)
{
    struct fg_net *net = connection->net;
    size_t held = connection->held.len;
    if (held == 0)
        return len;
    if (len > sizeof(net->in) - held)
        len = sizeof(net->in) - held; /* no header and no hello is that long: it fails anyway */
    memmove(net->in + held, net->in, len);
    (void)fg_byte_queue_take(&connection->held, &net->env.segments, net->in, held);
    return held + len;
}

static void hold(struct fg_connection *connection, size_t len)
{
    struct fg_net *net = connection->net;
    if (!fg_byte_queue_append(&connection->held, &net->env.segments, net->in, len))
        connection->has_broken = true;
}

static void refuse_header(struct fg_connection *connection, const char *fault)
{
    static struct fg_log_limit limit;
    fg_counter_add_owned(&connection->net->stats.protocol_errors, 1);
    fg_log_limited(&limit, 1, FG_LOG_WARN, "proxy_header_bad", "listener=%s from=%s reason=\"%s\"",
                   connection->listening->conf->name, connection->addr_text, fault);
    fg_connection_cut(connection, FG_GONE_PROTOCOL);
}

/* The client is somebody else than who the acceptor saw; false: it has too many connections. */
static bool adopt_source(struct fg_connection *connection, const struct fg_proxy_header *header)
{
    struct fg_net *net = connection->net;
    struct fg_ip_key key = fg_ip_key_of_ip(&header->source);
    fg_connection_set_address(connection, &header->source, header->source_port);
    connection->transport.link.local_ip = header->destination;
    connection->transport.link.local_port = header->destination_port;
    if (!fg_shares_admit(net, key, connection->fd))
        return false;
    if (!fg_ip_table_try_add(&net->ip_table, key, net->per_ip_max)) {
        fg_counter_add_owned(&net->stats.refused_limit, 1);
        return false;
    }
    connection->ip_key = key;
    connection->is_counted = true;
    return true;
}

void fg_preamble_take_header(struct fg_connection *connection, size_t len)
{
    struct fg_net *net = connection->net;
    struct fg_proxy_header header;
    len = join_held(connection, len);
    switch (fg_proxy_header_parse(fg_span_make(net->in, len), &header)) {
    case FG_PROXY_HEADER_PARTIAL:
        hold(connection, len);
        return;
    case FG_PROXY_HEADER_BAD:
        refuse_header(connection, header.fault);
        return;
    case FG_PROXY_HEADER_OK:
        break;
    }
    if (header.has_source && !adopt_source(connection, &header)) {
        fg_connection_cut(connection, FG_GONE_PROTOCOL);
        return;
    }
    fg_connection_begin(connection);
    len -= header.len;
    if (len == 0)
        return;
    memmove(net->in, net->in + header.len, len);
    fg_connection_take_bytes(connection, net->in, len);
}

/* For overload, before any key is computed. Who forges a ticket gets past this (client_hello.h). */
static bool is_refused(struct fg_connection *connection, enum fg_client_hello hello)
{
    struct fg_net *net = connection->net;
    struct fg_pressure *pressure = net->options.pressure;
    struct fg_span address =
        connection->is_counted ? connection->transport.client_addr : fg_span_make(NULL, 0);
    if (hello != FG_CLIENT_HELLO_FULL ||
        !fg_pressure_refuses(pressure, FG_OVERLOAD_RESUME_ONLY, address))
        return false;
    fg_counter_add_owned(&net->stats.handshakes_refused, 1);
    return true;
}

/* net->in has the whole hello, or what is idle before a second one, and whatever came with it. */
static void pass_on(struct fg_connection *connection, size_t len, size_t hello_len)
{
    struct fg_net *net = connection->net;
    uint64_t started_ns = fg_clock_monotonic_ns();
    connection->has_said_hello = true;
    fg_connection_take_bytes(connection, net->in, hello_len);
    if (connection->state == FG_CONNECTION_HANDSHAKE && fg_tls_awaits_hello(&connection->tls))
        connection->has_said_hello = false;
    if (len > hello_len && !connection->is_closing) {
        memmove(net->in, net->in + hello_len, len - hello_len);
        fg_connection_take_bytes(connection, net->in, len - hello_len);
    }
    fg_handshakes_spend(&net->handshakes, fg_clock_monotonic_ns() - started_ns);
}

/*
 * Somebody typed the port without https: a word says so. Nothing else of what it sends is looked
 * at, and it costs less than the record that the hello would have been put into.
 */
static void answer_in_the_clear(struct fg_connection *connection, size_t len)
{
    struct fg_net *net = connection->net;
    char body[FG_HTTP_ERROR_BODY_MAX], answer[FG_HTTP_ERROR_BODY_MAX + 256];
    char date[FG_HTTP_DATE_BYTES];
    size_t body_len = fg_http_error_body(FG_HTTP_NO_TLS, FG_SPAN(""), 0, body);
    bool wants_head = len >= 5 && memcmp(net->in, "HEAD ", 5) == 0;
    fg_http_date_format((int64_t)(fg_clock_wall_ns() / FG_S), date);
    int answer_len =
        snprintf(answer, sizeof(answer),
                 "HTTP/1.1 400 Bad Request\r\ndate: %s\r\ncontent-type: application/json\r\n"
                 "content-length: %zu\r\nconnection: close\r\n\r\n%.*s",
                 date, body_len, wants_head ? 0 : (int)body_len, body);
    assert(answer_len > 0 && (size_t)answer_len < sizeof(answer));
    fg_counter_add_owned(&net->stats.handshakes_failed, 1);
    fg_connection_set_reading(connection, false);
    connection->has_said_goodbye = true; /* in TLS there is nothing to say */
    fg_connection_say_last(connection, answer, (size_t)answer_len);
}

/* What TLS would have to make room for, or cannot be. The client hears why. */
static void refuse_hello(struct fg_connection *connection, enum fg_tls_alert why)
{
    enum { ALERT = 21, FATAL = 2 };
    const unsigned char record[] = {ALERT, 3, 3, 0, 2, FATAL, (unsigned char)why};
    fg_counter_add_owned(&connection->net->stats.handshakes_failed, 1);
    fg_connection_set_reading(connection, false);
    connection->has_said_goodbye = true;
    fg_connection_say_last(connection, record, sizeof(record));
}

static enum fg_handshake_line line_of(const struct fg_connection *connection,
                                      enum fg_client_hello hello)
{
    if (connection->handshake_due_ns > 0)
        return FG_HANDSHAKE_OWES;
    return hello == FG_CLIENT_HELLO_RESUMES ? FG_HANDSHAKE_RESUMES : FG_HANDSHAKE_FULL;
}

static void take_whole_hello(struct fg_connection *connection, size_t len, size_t hello_len,
                             enum fg_client_hello hello)
{
    struct fg_net *net = connection->net;
    bool is_first = !fg_tls_awaits_hello(&connection->tls);
    if (is_refused(connection, hello) || (is_first && !fg_flooders_admit(connection))) {
        fg_connection_cut(connection, FG_GONE_TIMEOUT);
        return;
    }
    enum fg_handshake_line line = line_of(connection, hello);
    if (line != FG_HANDSHAKE_OWES && fg_handshakes_have_room(&net->handshakes)) {
        pass_on(connection, len, hello_len);
    } else {
        hold(connection, len);
        fg_connection_set_reading(connection, false);
        fg_handshakes_queue(&net->handshakes, connection, line);
    }
}

static enum fg_client_hello look(const struct fg_connection *connection, size_t len,
                                 size_t *hello_len)
{
    return fg_client_hello_look(fg_span_make(connection->net->in, len),
                                fg_tls_awaits_hello(&connection->tls), hello_len);
}

void fg_preamble_take_hello(struct fg_connection *connection, size_t len)
{
    size_t hello_len = 0;
    len = join_held(connection, len);
    enum fg_client_hello hello = look(connection, len, &hello_len);
    switch (hello) {
    case FG_CLIENT_HELLO_PARTIAL:
        hold(connection, len);
        break;
    case FG_CLIENT_HELLO_HTTP:
        answer_in_the_clear(connection, len);
        break;
    case FG_CLIENT_HELLO_NONE:
        refuse_hello(connection, FG_TLS_ALERT_UNEXPECTED_MESSAGE);
        break;
    case FG_CLIENT_HELLO_TOO_LONG:
        refuse_hello(connection, FG_TLS_ALERT_ILLEGAL_PARAMETER);
        break;
    case FG_CLIENT_HELLO_OVERFLOW:
        refuse_hello(connection, FG_TLS_ALERT_RECORD_OVERFLOW);
        break;
    case FG_CLIENT_HELLO_IDLE: /* OpenSSL throws it away, as much as there may be */
        pass_on(connection, len, hello_len);
        break;
    case FG_CLIENT_HELLO_FULL:
    case FG_CLIENT_HELLO_RESUMES:
        take_whole_hello(connection, len, hello_len, hello);
        break;
    }
}

void fg_connection_continue_handshake(struct fg_connection *connection)
{
    size_t len = join_held(connection, 0), hello_len = len;
    fg_connection_set_reading(connection, true);
    if (connection->state == FG_CONNECTION_SNIFFING) { /* what waited is in the clear */
        fg_connection_take_bytes(connection, connection->net->in, len);
        return;
    }
    (void)look(connection, len, &hello_len);
    pass_on(connection, len, hello_len);
}
