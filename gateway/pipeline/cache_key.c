/*
 * cache_key.c: keys from requests and references.
 */
#include "cache_key.h"

#include "http/target.h"
#include "policies/cache/vary.h"

static bool is_https(const struct fg_exchange *ex)
{
    return ex->scheme.len == 5;
}

static bool ends_with(struct fg_span text, struct fg_span end)
{
    return text.len > end.len && memcmp(text.data + text.len - end.len, end.data, end.len) == 0;
}

/* An empty port is the default one, too (RFC 9110 section 4.2.3). */
static struct fg_span without_default_port(const struct fg_exchange *ex, struct fg_span authority)
{
    const struct fg_span none = FG_SPAN_LITERAL(":");
    struct fg_span port = is_https(ex) ? FG_SPAN(":443") : FG_SPAN(":80");
    if (ends_with(authority, port))
        authority.len -= port.len;
    else if (ends_with(authority, none))
        authority.len -= none.len;
    return authority;
}

static char *put(char *at, struct fg_span span)
{
    if (span.len > 0)
        memcpy(at, span.data, span.len);
    return at + span.len;
}

static struct fg_span join(const struct fg_exchange *ex, struct fg_span path, struct fg_span query)
{
    struct fg_span authority = without_default_port(ex, ex->authority);
    struct fg_span told = fg_exchange_field(ex, FG_SPAN("x-forwarded-host"));
    size_t len = 1 + authority.len + 1 + path.len + (query.data == NULL ? 0 : 1 + query.len) +
                 (told.data == NULL ? 0 : 1 + told.len);
    char *text = fg_arena_try_alloc(ex->arena, len);
    if (text == NULL)
        return (struct fg_span){NULL, 0};
    char *at = text;
    *at++ = is_https(ex) ? 's' : 'h';
    at = put(at, authority);
    if (told.data != NULL) {
        *at++ = '!'; /* in no authority, and a field has no line feed */
        at = put(at, told);
    }
    *at++ = '\n';
    at = put(at, path);
    if (query.data != NULL) {
        *at++ = '?';
        (void)put(at, query);
    }
    return fg_span_make(text, len);
}

struct fg_span fg_cache_key_make(const struct fg_exchange *ex, struct fg_span path)
{
    return join(ex, path, ex->query);
}

/* What stands before the first of `marks`; *rest begins with it, or is empty. */
static struct fg_span cut_at(struct fg_span text, const char *marks, struct fg_span *rest)
{
    size_t len = 0;
    while (len < text.len && strchr(marks, text.data[len]) == NULL)
        len++;
    *rest = fg_span_make(text.data + len, text.len - len);
    return fg_span_make(text.data, len);
}

static bool is_own_authority(const struct fg_exchange *ex, struct fg_span authority)
{
    return fg_span_equal_nocase(without_default_port(ex, authority),
                                without_default_port(ex, ex->authority));
}

/* Begins with "scheme:", as nothing relative does (RFC 3986 section 4.2). */
static bool has_scheme(struct fg_span reference)
{
    struct fg_span rest;
    (void)cut_at(reference, ":/?", &rest);
    return rest.len > 0 && rest.data[0] == ':';
}

/* A path, perhaps with a query, at `ex`'s origin: RFC 3986 section 5.2.2, but for its dots. */
static struct fg_span resolve(const struct fg_exchange *ex, struct fg_span base,
                              struct fg_span reference)
{
    const struct fg_span none = {NULL, 0};
    struct fg_span scheme = is_https(ex) ? FG_SPAN("https:") : FG_SPAN("http:");
    if (reference.len > scheme.len &&
        fg_span_equal_nocase(fg_span_make(reference.data, scheme.len), scheme)) {
        reference = fg_span_make(reference.data + scheme.len, reference.len - scheme.len);
        if (reference.data[0] != '/')
            return none; /* "https:path" is of no origin at all */
    }
    if (has_scheme(reference))
        return none;
    if (reference.len >= 2 && memcmp(reference.data, "//", 2) == 0) {
        struct fg_span authority =
            cut_at(fg_span_make(reference.data + 2, reference.len - 2), "/?", &reference);
        if (!is_own_authority(ex, authority))
            return none;
        base = FG_SPAN("/");
    }
    if (reference.len > 0 && reference.data[0] == '/')
        return reference;
    if (reference.len == 0 || reference.data[0] != '?') {
        while (base.len > 1 && base.data[base.len - 1] != '/')
            base.len--;
    }
    return fg_arena_try_printf(ex->arena, "%.*s%.*s", FG_SPAN_ARGS(base), FG_SPAN_ARGS(reference));
}

struct fg_span fg_cache_key_of_reference(const struct fg_exchange *ex, struct fg_span base,
                                         struct fg_span reference)
{
    struct fg_target target;
    struct fg_span hash = reference;
    struct fg_span raw = resolve(ex, base, fg_span_split(&hash, '#'));
    if (raw.data == NULL || fg_target_parse(raw, FG_METHOD_GET, 0, ex->arena, &target) != FG_OK)
        return (struct fg_span){NULL, 0};
    return join(ex, target.path, target.query);
}

struct fg_span fg_cache_key_path(struct fg_span key)
{
    (void)fg_span_split(&key, '\n');
    return key;
}

/*
 * Every line of one field as the one that they mean (RFC 9110 section 5.3), in one form; SIZE_MAX
 * when it does not fit. One that is there and empty is not one that is absent.
 */
static size_t put_values(const struct fg_exchange *ex, struct fg_span name, char *to, size_t room)
{
    size_t at = 0;
    for (size_t i = 0; i < ex->field_count; i++) {
        struct fg_span value = ex->fields[i].value;
        if (!fg_span_equal_nocase(ex->fields[i].name, name))
            continue;
        if (value.len + 2 > room - at)
            return SIZE_MAX;
        char *end = put(to + at, at == 0 ? FG_SPAN(":") : FG_SPAN(", "));
        at = (size_t)(put(end, value) - to);
    }
    return at == 0 ? 0 : 1 + fg_vary_normalise(name.data, name.len, to + 1, at - 1, to + 1);
}

size_t fg_cache_key_selects(const struct fg_exchange *ex, struct fg_span vary,
                            char selects[FG_CACHE_SELECTS_MAX])
{
    size_t len = 0, at = 0, name_len;
    const char *name;
    while (fg_vary_next(vary.data, vary.len, &at, &name, &name_len)) {
        struct fg_span field = fg_span_make(name, name_len);
        if (fg_span_equal_nocase(field, FG_SPAN("accept-encoding")))
            continue;
        if (name_len + 2 > FG_CACHE_SELECTS_MAX - len)
            return SIZE_MAX;
        memcpy(selects + len, name, name_len);
        len += name_len;
        size_t used = put_values(ex, field, selects + len, FG_CACHE_SELECTS_MAX - len - 1);
        if (used == SIZE_MAX)
            return SIZE_MAX;
        len += used;
        selects[len++] = '\n';
    }
    return len;
}
