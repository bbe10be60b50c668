/*
 * fields.c: authorities byte by byte, methods by text.
 */
#include "http/fields.h"

#include <arpa/inet.h>

#define AUTHORITY_MAX ((size_t)261)

bool fg_field_is_hop_by_hop(enum fg_field_id id)
{
    switch (id) {
    case FG_FIELD_TRANSFER_ENCODING:
    case FG_FIELD_CONNECTION:
    case FG_FIELD_KEEP_ALIVE:
    case FG_FIELD_PROXY_CONNECTION:
    case FG_FIELD_TE:
    case FG_FIELD_UPGRADE:
    case FG_FIELD_HTTP2_SETTINGS:
        return true;
    case FG_FIELD_OTHER:
    case FG_FIELD_HOST:
    case FG_FIELD_CONTENT_LENGTH:
    case FG_FIELD_EXPECT:
    case FG_FIELD_COOKIE:
    case FG_FIELD_REQUEST_ID:
    case FG_FIELD_TRACEPARENT:
    case FG_FIELD_SERVER_TIMING:
    case FG_FIELD_TRAILER:
    case FG_FIELD_PROXY:
        break;
    }
    return false;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Of digits, and they may be missing (RFC 3986 section 3.2.3). */
static bool is_port(struct fg_span text)
{
    uint64_t port;
    if (text.len == 0)
        return true;
    return text.len <= 5 && fg_span_parse_u64(text, &port) && port > 0 && port <= 65535;
}

/* An IPv6 address without a zone (RFC 3986 section 3.2.2); nobody speaks an IPvFuture. */
static bool is_ip_literal(struct fg_span host)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (host.len >= sizeof(text) || memchr(host.data, '\0', host.len) != NULL)
        return false;
    memcpy(text, host.data, host.len);
    text[host.len] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

static bool is_reg_name(struct fg_span host)
{
    for (size_t i = 0; i < host.len; i++) {
        char c = host.data[i];
        if (!is_alnum(c) && c != '-' && c != '.' && c != '_' && c != '~')
            return false;
    }
    return host.len > 0 && host.data[0] != '.';
}

bool fg_authority_is_valid(struct fg_span authority)
{
    if (authority.len == 0 || authority.len > AUTHORITY_MAX)
        return false;
    if (authority.data[0] == '[') {
        const char *end = memchr(authority.data, ']', authority.len);
        if (end == NULL)
            return false;
        struct fg_span host = {authority.data + 1, (size_t)(end - authority.data) - 1};
        struct fg_span rest = {end + 1, authority.len - host.len - 2};
        return is_ip_literal(host) &&
               (rest.len == 0 ||
                (rest.data[0] == ':' && is_port(fg_span_make(rest.data + 1, rest.len - 1))));
    }
    struct fg_span rest = authority;
    struct fg_span host = fg_span_split(&rest, ':');
    return is_reg_name(host) && (rest.data == NULL || is_port(rest));
}

struct fg_span fg_authority_host(struct fg_span authority)
{
    struct fg_span rest = authority;
    const char *end = authority.len > 0 && authority.data[0] == '['
                          ? memchr(authority.data, ']', authority.len)
                          : NULL;
    if (end != NULL)
        return fg_span_make(authority.data, (size_t)(end - authority.data) + 1);
    return fg_span_split(&rest, ':');
}

static const struct fg_span method_names[] = {
    [FG_METHOD_GET] = FG_SPAN_LITERAL("GET"),
    [FG_METHOD_HEAD] = FG_SPAN_LITERAL("HEAD"),
    [FG_METHOD_POST] = FG_SPAN_LITERAL("POST"),
    [FG_METHOD_PUT] = FG_SPAN_LITERAL("PUT"),
    [FG_METHOD_DELETE] = FG_SPAN_LITERAL("DELETE"),
    [FG_METHOD_CONNECT] = FG_SPAN_LITERAL("CONNECT"),
    [FG_METHOD_OPTIONS] = FG_SPAN_LITERAL("OPTIONS"),
    [FG_METHOD_TRACE] = FG_SPAN_LITERAL("TRACE"),
    [FG_METHOD_PATCH] = FG_SPAN_LITERAL("PATCH"),
};

enum fg_method fg_method_of(struct fg_span text)
{
    for (int i = 0; i < (int)FG_METHOD_OTHER; i++) {
        if (fg_span_equal(text, method_names[i]))
            return (enum fg_method)i;
    }
    return FG_METHOD_OTHER;
}

bool fg_method_may_pass(struct fg_span text)
{
    if (text.len > FG_METHOD_BYTES_MAX || fg_span_equal(text, FG_SPAN("PRI")))
        return false;
    for (int i = 0; i < (int)FG_METHOD_OTHER; i++) {
        if (fg_span_equal_nocase(text, method_names[i]))
            return false;
    }
    return true;
}
