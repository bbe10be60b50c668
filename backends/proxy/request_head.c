/*
 * request_head.c: adds up the size first, then writes into one piece of the arena.
 */
#include "request_head.h"

#include "base/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define OWN_BYTES ((size_t)512) /* the constant parts, numbers and names of our own fields */

struct writer {
    char *at;
    char *end;
};

static void put(struct writer *writer, struct fg_span span)
{
    assert(span.len <= (size_t)(writer->end - writer->at));
    if (span.len > 0)
        memcpy(writer->at, span.data, span.len);
    writer->at += span.len;
}

static void put_field(struct writer *writer, struct fg_span name, struct fg_span value)
{
    put(writer, name);
    put(writer, FG_SPAN(": "));
    put(writer, value);
    put(writer, FG_SPAN("\r\n"));
}

static void put_number(struct writer *writer, struct fg_span name, uint64_t number)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%" PRIu64, number);
    put_field(writer, name, fg_span_make(text, (size_t)len));
}

/* Framing and identity are written anew; the rest is about one hop, or answered by the gateway. */
static bool is_replaced(struct fg_span name)
{
    static const struct fg_span names[] = {
        FG_SPAN_LITERAL("host"),
        FG_SPAN_LITERAL("content-length"),
        FG_SPAN_LITERAL("transfer-encoding"),
        FG_SPAN_LITERAL("connection"),
        FG_SPAN_LITERAL("keep-alive"),
        FG_SPAN_LITERAL("proxy-connection"),
        FG_SPAN_LITERAL("proxy-authorization"),
        FG_SPAN_LITERAL("te"),
        FG_SPAN_LITERAL("trailer"),
        FG_SPAN_LITERAL("upgrade"),
        FG_SPAN_LITERAL("expect"),
        FG_SPAN_LITERAL("x-forwarded-for"),
        FG_SPAN_LITERAL("x-forwarded-proto"),
        FG_SPAN_LITERAL("x-request-id"),
        FG_SPAN_LITERAL("x-request-timeout-ms"),
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (fg_span_equal(name, names[i]))
            return true;
    }
    return false;
}

static size_t size_of(const struct fg_exchange *ex, struct fg_span host)
{
    size_t bytes = OWN_BYTES + ex->method_text.len + ex->path.len + ex->query.len + host.len +
                   ex->client_addr.len + ex->peer_addr.len + ex->scheme.len + ex->request_id.len;
    for (size_t i = 0; i < ex->field_count; i++)
        bytes += ex->fields[i].name.len + ex->fields[i].value.len + 4;
    return bytes;
}

static void put_forwarded_for(struct writer *writer, const struct fg_exchange *ex)
{
    put(writer, FG_SPAN("x-forwarded-for: "));
    for (size_t i = 0; i < ex->field_count; i++) {
        if (!fg_span_equal(ex->fields[i].name, FG_SPAN("x-forwarded-for")) ||
            ex->fields[i].value.len == 0)
            continue;
        put(writer, ex->fields[i].value);
        put(writer, FG_SPAN(", "));
    }
    put(writer, ex->peer_addr.len > 0 ? ex->peer_addr : ex->client_addr);
    put(writer, FG_SPAN("\r\n"));
}

static void put_framing(struct writer *writer, const struct fg_exchange *ex, bool is_chunked)
{
    bool wants_body = ex->method == FG_METHOD_POST || ex->method == FG_METHOD_PUT ||
                      ex->method == FG_METHOD_PATCH;
    if (is_chunked)
        put_field(writer, FG_SPAN("transfer-encoding"), FG_SPAN("chunked"));
    else if (ex->has_body)
        put_number(writer, FG_SPAN("content-length"), (uint64_t)ex->content_length);
    else if (wants_body)
        put_field(writer, FG_SPAN("content-length"), FG_SPAN("0"));
}

/* A client of HTTP/2 has no key to send (RFC 8441 section 5): any sixteen bytes will do. */
static void put_websocket_key(struct writer *writer, const struct fg_exchange *ex, uint64_t now_ns)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[24];
    uint64_t high = fg_span_hash(ex->request_id, now_ns);
    uint64_t low = fg_span_hash(ex->request_id, high);
    for (size_t i = 0; i < 11; i++) {
        text[i] = digits[high >> (6 * i) & 63];
        text[11 + i] = digits[low >> (6 * i) & 63];
    }
    text[21] = digits[(low & 3) << 4]; /* 16 bytes: the last digit carries two bits */
    text[22] = text[23] = '=';
    put_field(writer, FG_SPAN("sec-websocket-key"), fg_span_make(text, sizeof(text)));
}

/* What the next hop is asked beyond an answer. */
static void put_hop(struct writer *writer, const struct fg_exchange *ex, uint64_t now_ns)
{
    if (ex->upgrade.data != NULL) {
        put_field(writer, FG_SPAN("connection"), FG_SPAN("upgrade"));
        put_field(writer, FG_SPAN("upgrade"), ex->upgrade);
        if (fg_exchange_field(ex, FG_SPAN("sec-websocket-key")).data == NULL)
            put_websocket_key(writer, ex, now_ns);
    } else if (ex->accepts_trailers) {
        put_field(writer, FG_SPAN("te"), FG_SPAN("trailers"));
        put_field(writer, FG_SPAN("connection"), FG_SPAN("te"));
    }
}

struct fg_span fg_request_last_chunk_make(const struct fg_exchange *ex)
{
    size_t bytes = 5;
    for (size_t i = 0; i < ex->trailer_count; i++)
        bytes += ex->trailers[i].name.len + ex->trailers[i].value.len + 4;
    char *text = fg_arena_try_alloc(ex->arena, bytes);
    if (text == NULL)
        return (struct fg_span){NULL, 0};
    struct writer writer = {text, text + bytes};
    put(&writer, FG_SPAN("0\r\n"));
    for (size_t i = 0; i < ex->trailer_count; i++)
        put_field(&writer, ex->trailers[i].name, ex->trailers[i].value);
    put(&writer, FG_SPAN("\r\n"));
    return fg_span_make(text, (size_t)(writer.at - text));
}

struct fg_span fg_request_head_make(const struct fg_exchange *ex, struct fg_span host,
                                    bool is_chunked, uint64_t now_ns)
{
    size_t bytes = size_of(ex, host);
    char *text = fg_arena_try_alloc(ex->arena, bytes);
    if (text == NULL)
        return (struct fg_span){NULL, 0};
    struct writer writer = {text, text + bytes};
    put(&writer, ex->method_text);
    put(&writer, FG_SPAN(" "));
    put(&writer, ex->path);
    if (ex->query.data != NULL) {
        put(&writer, FG_SPAN("?"));
        put(&writer, ex->query);
    }
    put(&writer, FG_SPAN(" HTTP/1.1\r\n"));
    put_field(&writer, FG_SPAN("host"), host);
    for (size_t i = 0; i < ex->field_count; i++) {
        if (!is_replaced(ex->fields[i].name))
            put_field(&writer, ex->fields[i].name, ex->fields[i].value);
    }
    if (ex->client_addr.len > 0)
        put_forwarded_for(&writer, ex);
    if (ex->scheme.len > 0)
        put_field(&writer, FG_SPAN("x-forwarded-proto"), ex->scheme);
    if (ex->request_id.len > 0)
        put_field(&writer, FG_SPAN("x-request-id"), ex->request_id);
    uint64_t left_ns = ex->deadline_ns > now_ns ? ex->deadline_ns - now_ns : 0;
    put_number(&writer, FG_SPAN("x-request-timeout-ms"), left_ns / FG_MS);
    put_hop(&writer, ex, now_ns);
    put_framing(&writer, ex, is_chunked);
    put(&writer, FG_SPAN("\r\n"));
    return fg_span_make(text, (size_t)(writer.at - text));
}
