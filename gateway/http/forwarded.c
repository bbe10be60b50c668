/*
 * forwarded.c: see forwarded.h. Fields of one name are one list (RFC 9110 section 5.3), read from
 * its end. In the RFC's notation nothing inside a quoted string parts anything: a Host that a proxy
 * quotes is the client's and may hold `,for=` and `;for=`. Strings are found from the end as well,
 * so that a quote which the client has left open before the proxy's own element does not reach it.
 */
#include "http/forwarded.h"

enum step {
    STEP_ON,   /* a trusted hop: what it says comes next */
    STEP_DONE, /* the client, or the end of what is known */
};

bool fg_forwarded_is_path(struct fg_span name)
{
    return fg_span_equal(name, FG_SPAN("x-original-url")) ||
           fg_span_equal(name, FG_SPAN("x-rewrite-url"));
}

bool fg_forwarded_is_field(struct fg_span name)
{
    if (name.len < 9 || (name.data[0] != 'x' && name.data[0] != 'f'))
        return false; /* nearly all, and every request asks */
    return fg_span_starts_with(name, FG_SPAN("x-forwarded-")) ||
           fg_span_equal(name, FG_SPAN("forwarded")) || fg_span_equal(name, FG_SPAN("x-real-ip")) ||
           fg_forwarded_is_path(name);
}

/* Does a quoted string begin or end here? Not where an odd row of backslashes stands before it. */
static bool is_quote(struct fg_span text, size_t at)
{
    size_t before = at;
    while (text.data[at] == '"' && before > 0 && text.data[before - 1] == '\\')
        before--;
    return text.data[at] == '"' && (at - before) % 2 == 0;
}

/* Cuts off `*rest` what stands behind its last `separator`; `has_strings`: outside of them. */
static struct fg_span take_last(struct fg_span *rest, char separator, bool has_strings)
{
    size_t at = rest->len;
    bool is_inside = false;
    while (at > 0 && (is_inside || rest->data[at - 1] != separator)) {
        at--;
        is_inside ^= has_strings && is_quote(*rest, at);
    }
    struct fg_span last = {rest->data + at, rest->len - at};
    *rest = at == 0 ? (struct fg_span){NULL, 0} : fg_span_make(rest->data, at - 1);
    return fg_span_trim(last);
}

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80" */
static bool read_node(struct fg_span text, struct fg_ip *ip)
{
    if (text.len > 0 && text.data[0] == '[') {
        const char *end = memchr(text.data, ']', text.len);
        return end != NULL && (end + 1 == text.data + text.len || end[1] == ':') &&
               fg_ip_parse(fg_span_make(text.data + 1, (size_t)(end - text.data) - 1), ip);
    }
    const char *colon = memchr(text.data, ':', text.len);
    if (colon != NULL && memchr(text.data, '.', text.len) != NULL && colon > text.data &&
        memchr(text.data, '.', (size_t)(colon - text.data)) != NULL)
        text.len = (size_t)(colon - text.data);
    return fg_ip_parse(text, ip);
}

static struct fg_span scheme_of(struct fg_span text)
{
    if (fg_span_equal_nocase(text, FG_SPAN("https")))
        return FG_SPAN("https");
    if (fg_span_equal_nocase(text, FG_SPAN("http")))
        return FG_SPAN("http");
    return (struct fg_span){NULL, 0};
}

static enum step add_hop(const struct fg_listener_conf *conf, struct fg_forwarded *forwarded,
                         struct fg_span node)
{
    struct fg_ip ip;
    if (forwarded->hop_count == FG_FORWARDED_HOPS_MAX || !read_node(node, &ip))
        return STEP_DONE;
    forwarded->hops[forwarded->hop_count++] = ip;
    return fg_cidr_list_contains(conf->trusted_proxies, conf->trusted_proxy_count, &ip) ? STEP_ON
                                                                                        : STEP_DONE;
}

static struct fg_span unquote(struct fg_span text)
{
    if (text.len >= 2 && text.data[0] == '"' && text.data[text.len - 1] == '"')
        return fg_span_make(text.data + 1, text.len - 2);
    return text;
}

/* for=192.0.2.60;proto=https;by=203.0.113.43, each once (RFC 7239 section 4). */
static enum step read_element(const struct fg_listener_conf *conf, struct fg_forwarded *forwarded,
                              struct fg_span element)
{
    struct fg_span node = {NULL, 0};
    struct fg_span scheme = {NULL, 0};
    while (element.data != NULL) {
        struct fg_span value = take_last(&element, ';', true);
        struct fg_span name = fg_span_split(&value, '=');
        if (value.data == NULL)
            continue;
        if (fg_span_equal_nocase(name, FG_SPAN("for")) && node.data != NULL)
            return STEP_DONE;
        if (fg_span_equal_nocase(name, FG_SPAN("for")))
            node = unquote(value);
        else if (fg_span_equal_nocase(name, FG_SPAN("proto")))
            scheme = scheme_of(unquote(value));
    }
    if (node.data == NULL)
        return STEP_DONE;
    size_t before = forwarded->hop_count;
    enum step step = add_hop(conf, forwarded, node);
    if (forwarded->hop_count > before)
        forwarded->scheme = scheme; /* each element tells how its own hop was spoken to */
    return step;
}

void fg_forwarded_read(const struct fg_listener_conf *conf, const struct fg_field *fields,
                       size_t field_count, struct fg_forwarded *forwarded)
{
    bool is_x = conf->forwarded == FG_FORWARDED_X;
    struct fg_span wanted = is_x ? FG_SPAN("x-forwarded-for") : FG_SPAN("forwarded");
    enum step step = STEP_ON;
    forwarded->hop_count = 0;
    forwarded->scheme = (struct fg_span){NULL, 0};
    for (size_t i = field_count; i-- > 0 && step == STEP_ON;) {
        if (!fg_span_equal(fields[i].name, wanted))
            continue;
        struct fg_span rest = fields[i].value;
        while (rest.data != NULL && step == STEP_ON) {
            struct fg_span element = take_last(&rest, ',', !is_x);
            if (element.len > 0) /* RFC 9110 section 5.6.1: empty elements are ignored */
                step = is_x ? add_hop(conf, forwarded, element)
                            : read_element(conf, forwarded, element);
        }
    }
    for (size_t i = field_count; is_x && i-- > 0;) {
        if (!fg_span_equal(fields[i].name, FG_SPAN("x-forwarded-proto")))
            continue;
        struct fg_span rest = fields[i].value;
        if (rest.data != NULL)
            forwarded->scheme = scheme_of(take_last(&rest, ',', false));
        break;
    }
}
