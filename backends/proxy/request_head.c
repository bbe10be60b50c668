/*
 * request_head.c: the fields of a request to a server, once for both protocols; HTTP/1.1 adds up
 * their size and writes them into one piece of the arena.
 */
#include "request_head.h"

#include "backends/grpc.h"
#include "base/cidr.h"
#include "base/clock.h"
#include "base/field_id.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/evp.h>

#define PSEUDO_FIELDS ((size_t)5)
#define OWN_FIELDS ((size_t)15)
#define FIELDS_ON_STACK ((size_t)48)
#define WEBSOCKET_KEY_BYTES ((size_t)24)    /* 16 bytes in base64 */
#define GRPC_TIMEOUT_MAX UINT64_C(99999999) /* eight digits */

struct writer {
    char *at;
    char *end;
};

static char *copy(char *to, struct fg_span span)
{
    if (span.len > 0)
        memcpy(to, span.data, span.len);
    return to + span.len;
}

static void put(struct writer *writer, struct fg_span span)
{
    assert(span.len <= (size_t)(writer->end - writer->at));
    writer->at = copy(writer->at, span);
}

static void put_field(struct writer *writer, struct fg_span name, struct fg_span value)
{
    assert(name.len + value.len + 4 <= (size_t)(writer->end - writer->at));
    char *at = copy(writer->at, name);
    memcpy(at, ": ", 2);
    at = copy(at + 2, value);
    memcpy(at, "\r\n", 2);
    writer->at = at + 2;
}

/* ---- the fields ---- */

struct field_list {
    struct fg_field *fields;
    size_t count;
    bool has_no_memory; /* for a value */
};

static void add(struct field_list *list, struct fg_span name, struct fg_span value)
{
    if (value.data == NULL && value.len == 0)
        list->has_no_memory = true;
    list->fields[list->count++] = (struct fg_field){name, value};
}

static void add_number(struct field_list *list, struct fg_arena *arena, struct fg_span name,
                       uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    add(list, name, fg_arena_try_copy(arena, fg_span_make(digits + at, sizeof(digits) - at)));
}

static const struct fg_span forwarded_names[] = {
    [FG_FORWARDED_FOR] = FG_SPAN_LITERAL("x-forwarded-for"),
    [FG_FORWARDED_PROTO] = FG_SPAN_LITERAL("x-forwarded-proto"),
    [FG_FORWARDED_HOST] = FG_SPAN_LITERAL("x-forwarded-host"),
    [FG_FORWARDED_ALL] = FG_SPAN_LITERAL("forwarded"),
    [FG_FORWARDED_VIA] = FG_SPAN_LITERAL("via"),
};

/* Framing and identity are written anew; the rest is about one hop, or answered by the gateway. */
static bool is_replaced(struct fg_span name, const struct fg_exchange *ex,
                        const struct fg_request_head_conf *conf, uint32_t forwarded)
{
    static const struct fg_span others[] = {
        FG_SPAN_LITERAL("proxy-authorization"),
        FG_SPAN_LITERAL("grpc-timeout"),
        FG_SPAN_LITERAL("x-request-timeout-ms"),
    };
    switch (fg_field_identify(name)) {
    case FG_FIELD_HOST:
    case FG_FIELD_CONTENT_LENGTH:
    case FG_FIELD_TRANSFER_ENCODING:
    case FG_FIELD_CONNECTION:
    case FG_FIELD_KEEP_ALIVE:
    case FG_FIELD_PROXY_CONNECTION:
    case FG_FIELD_TE:
    case FG_FIELD_UPGRADE:
    case FG_FIELD_EXPECT:
    case FG_FIELD_REQUEST_ID:
    case FG_FIELD_PROXY:
        return true;
    case FG_FIELD_TRAILER: /* there are servers that heed no others than it names */
        return !ex->has_body || ex->content_length >= 0;
    case FG_FIELD_HTTP2_SETTINGS:
    case FG_FIELD_COOKIE:
    case FG_FIELD_TRACEPARENT:
    case FG_FIELD_SERVER_TIMING:
        return false;
    case FG_FIELD_OTHER:
        break;
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (fg_span_equal(name, others[i]))
            return true;
    }
    for (size_t i = 0; i < sizeof(forwarded_names) / sizeof(forwarded_names[0]); i++) {
        if (fg_span_equal(name, forwarded_names[i]))
            return (forwarded & 1u << i) != 0;
    }
    /* RFC 8441 section 5: HTTP/2 has no use for it */
    return conf->is_tunnel && fg_span_equal(name, FG_SPAN("sec-websocket-key"));
}

/* The values that came, then ours. */
static struct fg_span append_to_list(const struct fg_exchange *ex, struct fg_span name,
                                     struct fg_span own)
{
    size_t bytes = own.len;
    for (size_t i = 0; i < ex->field_count; i++) {
        if (fg_span_equal(ex->fields[i].name, name) && ex->fields[i].value.len > 0)
            bytes += ex->fields[i].value.len + 2;
    }
    if (bytes == own.len)
        return own;
    char *text = fg_arena_try_alloc(ex->arena, bytes);
    if (text == NULL)
        return (struct fg_span){NULL, 0};
    struct writer writer = {text, text + bytes};
    for (size_t i = 0; i < ex->field_count; i++) {
        if (!fg_span_equal(ex->fields[i].name, name) || ex->fields[i].value.len == 0)
            continue;
        put(&writer, ex->fields[i].value);
        put(&writer, FG_SPAN(", "));
    }
    put(&writer, own);
    return fg_span_make(text, bytes);
}

static uint64_t left_until(uint64_t deadline_ns, uint64_t now_ns)
{
    return deadline_ns > now_ns ? deadline_ns - now_ns : 0;
}

/* As exact as eight digits allow, and rounded down, but to nothing: the number is positive. */
static struct fg_span grpc_timeout(struct fg_arena *arena, uint64_t left_ns)
{
    static const struct {
        uint64_t ns;
        char letter;
    } units[] = {{1, 'n'}, {1000, 'u'}, {FG_MS, 'm'}, {FG_S, 'S'}};
    size_t i = 0;
    while (i + 1 < sizeof(units) / sizeof(units[0]) && left_ns / units[i].ns > GRPC_TIMEOUT_MAX)
        i++;
    uint64_t count = left_ns / units[i].ns;
    return fg_arena_try_printf(arena, "%" PRIu64 "%c", count > 0 ? count : 1, units[i].letter);
}

static void add_deadline(struct field_list *list, const struct fg_exchange *ex, uint64_t now_ns)
{
    uint64_t left_ns = left_until(ex->deadline_ns, now_ns);
    add_number(list, ex->arena, FG_SPAN("x-request-timeout-ms"), left_ns / FG_MS);
    if (!fg_grpc_is_call(ex) || ex->stream_deadline_ns == UINT64_MAX)
        return;
    if (ex->stream_deadline_ns != 0)
        left_ns = left_until(ex->stream_deadline_ns, now_ns);
    add(list, FG_SPAN("grpc-timeout"), grpc_timeout(ex->arena, left_ns));
}

/* RFC 7239 section 6: an IPv6 address stands in brackets and quotes. */
static void put_node(struct writer *writer, struct fg_span address)
{
    bool is_v6 = memchr(address.data, ':', address.len) != NULL;
    put(writer, is_v6 ? FG_SPAN("for=\"[") : FG_SPAN("for="));
    put(writer, address);
    put(writer, is_v6 ? FG_SPAN("]\"") : FG_SPAN(""));
}

/* The client, with the scheme that it spoke, and the hops behind it, as far as they are proven. */
static void put_hops(struct writer *writer, const struct fg_exchange *ex, struct fg_span hops)
{
    bool is_client = true;
    struct fg_ip ip;
    while (hops.data != NULL) {
        struct fg_span hop = fg_span_trim(fg_span_split(&hops, ','));
        if (!fg_ip_parse(hop, &ip))
            continue; /* a text of the configuration's own */
        put_node(writer, hop);
        if (is_client) {
            put(writer, FG_SPAN(";proto="));
            put(writer, ex->scheme);
        }
        put(writer, FG_SPAN(", "));
        is_client = false;
    }
}

/*
 * One element for each that x-forwarded-for names, then ours for `peer`: the gateway has put there
 * what trusted hops have said, in whichever field. A host with a port stands in quotes.
 */
static struct fg_span forwarded_elements(const struct fg_exchange *ex, struct fg_span peer)
{
    static const size_t node_more = sizeof("for=\"[]\", ") - 1;
    static const size_t own_more = sizeof(";host=\"\";proto=;proto=") - 1;
    struct fg_span hops = fg_exchange_field(ex, forwarded_names[FG_FORWARDED_FOR]);
    size_t bytes =
        hops.len + 2 * node_more + peer.len + own_more + ex->authority.len + 2 * ex->scheme.len;
    for (size_t i = 0; i < hops.len; i++)
        bytes += hops.data[i] == ',' ? node_more : 0;
    char *text = fg_arena_try_alloc(ex->arena, bytes);
    if (text == NULL)
        return (struct fg_span){NULL, 0};
    struct writer writer = {text, text + bytes};
    put_hops(&writer, ex, hops);
    put_node(&writer, peer);
    put(&writer, FG_SPAN(";host=\""));
    put(&writer, ex->authority);
    put(&writer, FG_SPAN("\";proto="));
    put(&writer, ex->scheme);
    return fg_span_make(text, (size_t)(writer.at - text));
}

/* What the request came by, and who passes it on; "1.1" is what we say for ourselves. */
static struct fg_span via_element(const struct fg_exchange *ex)
{
    static const struct fg_span elements[] = {
        [FG_SPOKEN_1_1] = FG_SPAN_LITERAL("1.1 floodgate"),
        [FG_SPOKEN_1_0] = FG_SPAN_LITERAL("1.0 floodgate"),
        [FG_SPOKEN_2] = FG_SPAN_LITERAL("2 floodgate"),
    };
    return elements[ex->protocol];
}

static void add_identity(struct field_list *list, const struct fg_exchange *ex, uint32_t forwarded)
{
    struct fg_span peer = ex->peer_addr.len > 0 ? ex->peer_addr : ex->client_addr;
    if ((forwarded & 1u << FG_FORWARDED_FOR) != 0 && ex->client_addr.len > 0)
        add(list, forwarded_names[FG_FORWARDED_FOR],
            append_to_list(ex, forwarded_names[FG_FORWARDED_FOR], peer));
    if ((forwarded & 1u << FG_FORWARDED_PROTO) != 0 && ex->scheme.len > 0)
        add(list, forwarded_names[FG_FORWARDED_PROTO], ex->scheme);
    if ((forwarded & 1u << FG_FORWARDED_HOST) != 0 && ex->authority.len > 0)
        add(list, forwarded_names[FG_FORWARDED_HOST], ex->authority);
    if ((forwarded & 1u << FG_FORWARDED_ALL) != 0 && peer.len > 0)
        add(list, forwarded_names[FG_FORWARDED_ALL],
            append_to_list(ex, forwarded_names[FG_FORWARDED_ALL], forwarded_elements(ex, peer)));
    if ((forwarded & 1u << FG_FORWARDED_VIA) != 0)
        add(list, forwarded_names[FG_FORWARDED_VIA],
            append_to_list(ex, forwarded_names[FG_FORWARDED_VIA], via_element(ex)));
    if (ex->request_id.len > 0)
        add(list, FG_SPAN("x-request-id"), ex->request_id);
}

/*
 * A client of HTTP/2 has no key to send (RFC 8441 section 5): any sixteen bytes will do. One of
 * HTTP/1.1 that sends none is the server's to refuse (RFC 6455 section 4.2.1).
 */
struct fg_span fg_request_websocket_key(const struct fg_exchange *ex, uint64_t now_ns)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[24];
    if (ex->upgrade.data == NULL || ex->protocol != FG_SPOKEN_2 ||
        fg_exchange_field(ex, FG_SPAN("sec-websocket-key")).data != NULL)
        return FG_SPAN("");
    uint64_t high = fg_span_hash(ex->request_id, now_ns);
    uint64_t low = fg_span_hash(ex->request_id, high);
    for (size_t i = 0; i < 11; i++) {
        text[i] = digits[high >> (6 * i) & 63];
        text[11 + i] = digits[low >> (6 * i) & 63];
    }
    text[21] = digits[(low & 3) << 4]; /* 16 bytes: the last digit carries two bits */
    text[22] = text[23] = '=';
    return fg_arena_try_copy(ex->arena, fg_span_make(text, sizeof(text)));
}

/* RFC 6455 section 4.2.2, item 5.4 */
struct fg_span fg_request_websocket_accept(struct fg_arena *arena, struct fg_span key)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[WEBSOCKET_KEY_BYTES + sizeof(guid) - 1];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned char accept[4 * EVP_MAX_MD_SIZE / 3 + 4];
    unsigned digest_len = 0;
    if (key.len != WEBSOCKET_KEY_BYTES)
        return FG_SPAN("");
    memcpy(text, key.data, key.len);
    memcpy(text + key.len, guid, sizeof(guid) - 1);
    if (EVP_Digest(text, sizeof(text), digest, &digest_len, EVP_sha1(), NULL) != 1)
        return (struct fg_span){NULL, 0};
    int len = EVP_EncodeBlock(accept, digest, (int)digest_len);
    return fg_arena_try_copy(arena, fg_span_make((const char *)accept, (size_t)len));
}

/* What the next hop is asked beyond an answer. */
static void add_hop(struct field_list *list, const struct fg_exchange *ex,
                    const struct fg_request_head_conf *conf)
{
    if (ex->upgrade.data != NULL && !conf->is_h2) {
        add(list, FG_SPAN("connection"), FG_SPAN("upgrade"));
        add(list, FG_SPAN("upgrade"), ex->upgrade);
        if (conf->websocket_key.len > 0)
            add(list, FG_SPAN("sec-websocket-key"), conf->websocket_key);
    } else if (ex->accepts_trailers) {
        add(list, FG_SPAN("te"), FG_SPAN("trailers"));
        if (!conf->is_h2)
            add(list, FG_SPAN("connection"), FG_SPAN("te"));
    }
}

static void add_framing(struct field_list *list, const struct fg_exchange *ex,
                        const struct fg_request_head_conf *conf)
{
    bool wants_body = ex->method == FG_METHOD_POST || ex->method == FG_METHOD_PUT ||
                      ex->method == FG_METHOD_PATCH;
    if (ex->has_body && ex->content_length >= 0)
        add_number(list, ex->arena, FG_SPAN("content-length"), (uint64_t)ex->content_length);
    else if (ex->has_body && !conf->is_h2)
        add(list, FG_SPAN("transfer-encoding"), FG_SPAN("chunked"));
    else if (!ex->has_body && wants_body)
        add(list, FG_SPAN("content-length"), FG_SPAN("0"));
}

static struct fg_span target(const struct fg_exchange *ex)
{
    if (ex->query.data == NULL)
        return ex->path;
    size_t bytes = ex->path.len + 1 + ex->query.len;
    char *text = fg_arena_try_alloc(ex->arena, bytes);
    if (text == NULL)
        return (struct fg_span){NULL, 0};
    struct writer writer = {text, text + bytes};
    put(&writer, ex->path);
    put(&writer, FG_SPAN("?"));
    put(&writer, ex->query);
    return fg_span_make(text, bytes);
}

static size_t fields_most(const struct fg_exchange *ex)
{
    return ex->field_count + PSEUDO_FIELDS + OWN_FIELDS;
}

/* Into `fields`, which has room for fields_most. False: no memory for a value. */
static bool make_fields(const struct fg_exchange *ex, const struct fg_request_head_conf *conf,
                        uint64_t now_ns, struct fg_field *fields, size_t *count)
{
    uint32_t forwarded = conf->forwarded != 0 ? conf->forwarded : FG_FORWARDED_USUAL;
    struct field_list list = {.fields = fields};
    if (conf->is_h2) {
        add(&list, FG_SPAN(":method"), conf->is_tunnel ? FG_SPAN("CONNECT") : ex->method_text);
        if (conf->is_tunnel)
            add(&list, FG_SPAN(":protocol"), ex->upgrade);
        add(&list, FG_SPAN(":scheme"), conf->has_tls ? FG_SPAN("https") : FG_SPAN("http"));
        add(&list, FG_SPAN(":authority"), conf->host);
        add(&list, FG_SPAN(":path"), target(ex));
    } else {
        add(&list, FG_SPAN("host"), conf->host);
    }
    for (size_t i = 0; i < ex->field_count; i++) {
        if (!is_replaced(ex->fields[i].name, ex, conf, forwarded))
            list.fields[list.count++] = ex->fields[i];
    }
    add_identity(&list, ex, forwarded);
    add_deadline(&list, ex, now_ns);
    add_hop(&list, ex, conf);
    add_framing(&list, ex, conf);
    assert(list.count <= fields_most(ex));
    *count = list.count;
    return !list.has_no_memory;
}

const struct fg_field *fg_request_fields_make(const struct fg_exchange *ex,
                                              const struct fg_request_head_conf *conf,
                                              uint64_t now_ns, size_t *count)
{
    struct fg_field *fields = fg_arena_try_alloc(ex->arena, fields_most(ex) * sizeof(*fields));
    return fields != NULL && make_fields(ex, conf, now_ns, fields, count) ? fields : NULL;
}

/* ---- HTTP/1.1 ---- */

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

struct fg_span fg_request_head_make(const struct fg_exchange *ex,
                                    const struct fg_request_head_conf *conf, uint64_t now_ns)
{
    static const struct fg_span version = FG_SPAN_LITERAL(" HTTP/1.1\r\n");
    size_t count = 0;
    struct fg_field on_stack[FIELDS_ON_STACK]; /* warm, unlike the arena */
    struct fg_field *fields = on_stack;
    if (fields_most(ex) > FIELDS_ON_STACK)
        fields = fg_arena_try_alloc(ex->arena, fields_most(ex) * sizeof(*fields));
    if (fields == NULL || !make_fields(ex, conf, now_ns, fields, &count))
        return (struct fg_span){NULL, 0};
    size_t bytes = ex->method_text.len + 1 + ex->path.len + 1 + ex->query.len + version.len + 2;
    for (size_t i = 0; i < count; i++)
        bytes += fields[i].name.len + fields[i].value.len + 4;
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
    put(&writer, version);
    for (size_t i = 0; i < count; i++)
        put_field(&writer, fields[i].name, fields[i].value);
    put(&writer, FG_SPAN("\r\n"));
    return fg_span_make(text, (size_t)(writer.at - text));
}
