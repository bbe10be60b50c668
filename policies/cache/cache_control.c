/*
 * cache_control.c: the Cache-Control field, of requests and of responses, as a struct.
 * Job      read what is there, understand the standard directives, take doubt as "do not reuse".
 * Thread   any; pure functions.
 * Never    allocates or reads beyond `len`; nothing in the text can make it fail.
 * Source   RFC 9111 section 5.2 (directives), 1.2.2 (seconds), 4.2.1 (twice, or invalid: stale);
 *          RFC 5861 (stale-while-revalidate, stale-if-error); RFC 8246 (immutable); RFC 9213
 *          (targeted fields).
 */
#include "policies/cache/cache_control.h"

#include "policies/ascii.h"
#include "policies/structured_field.h"

#include <string.h>

enum directive_kind { DIRECTIVE_FLAG, DIRECTIVE_SECONDS };

struct directive {
    const char *name;
    size_t name_len;
    enum directive_kind kind;
    size_t offset; /* of the field in struct fg_cache_control */
};

#define FLAG(text, field)                                                                          \
    {                                                                                              \
        text, sizeof(text) - 1, DIRECTIVE_FLAG, offsetof(struct fg_cache_control, field)           \
    }
#define SECONDS(text, field)                                                                       \
    {                                                                                              \
        text, sizeof(text) - 1, DIRECTIVE_SECONDS, offsetof(struct fg_cache_control, field)        \
    }

static const struct directive directives[] = {
    FLAG("no-store", no_store),
    FLAG("no-cache", no_cache),
    FLAG("no-transform", no_transform),
    FLAG("only-if-cached", only_if_cached),
    FLAG("must-revalidate", must_revalidate),
    FLAG("proxy-revalidate", proxy_revalidate),
    FLAG("must-understand", must_understand),
    FLAG("public", is_public),
    FLAG("private", is_private),
    FLAG("immutable", is_immutable),
    SECONDS("max-age", max_age_s),
    SECONDS("s-maxage", s_maxage_s),
    SECONDS("max-stale", max_stale_s),
    SECONDS("min-fresh", min_fresh_s),
    SECONDS("stale-while-revalidate", stale_while_revalidate_s),
    SECONDS("stale-if-error", stale_if_error_s),
};

/* One directive as it stands in the text. */
struct found {
    const char *name;
    size_t name_len;
    const char *value; /* NULL without "=" */
    size_t value_len;
    bool is_spoilt; /* something other than a comma stands behind the value */
};

static bool is_token_byte(char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_directive(const struct found *found, const struct directive *directive)
{
    return directive->name_len == found->name_len &&
           fg_ascii_equal(found->name, directive->name, found->name_len);
}

/* The place behind the quoted string that starts at `at`, or `len` when it never ends. */
static size_t skip_quoted(const char *text, size_t len, size_t at)
{
    for (at++; at < len && text[at] != '"'; at++) {
        if (text[at] == '\\')
            at++;
    }
    return at < len ? at + 1 : len;
}

/* To the comma that ends this directive, past any quoted string. */
static size_t skip_to_comma(const char *text, size_t len, size_t at)
{
    while (at < len && text[at] != ',')
        at = text[at] == '"' ? skip_quoted(text, len, at) : at + 1;
    return at;
}

/* Reads the directive at `at`; returns where the next one may start. */
static size_t read_directive(const char *text, size_t len, size_t at, struct found *found)
{
    *found = (struct found){.name = text + at};
    while (at < len && is_token_byte(text[at]))
        at++;
    found->name_len = (size_t)(text + at - found->name);
    if (at >= len || text[at] != '=')
        return skip_to_comma(text, len, at);
    at++;
    size_t start = at;
    if (at < len && text[at] == '"') {
        at = skip_quoted(text, len, at);
        found->value = text + start + 1;
        bool is_ended = at - start >= 2 && text[at - 1] == '"';
        found->value_len = is_ended ? at - start - 2 : 0;
    } else {
        while (at < len && is_token_byte(text[at]))
            at++;
        found->value = text + start;
        found->value_len = at - start;
    }
    while (at < len && (text[at] == ' ' || text[at] == '\t'))
        at++;
    found->is_spoilt = at < len && text[at] != ',';
    return skip_to_comma(text, len, at);
}

/* Delta-seconds; too large is the maximum, anything but digits is 0. */
static uint32_t seconds_of(const struct found *found)
{
    uint64_t seconds = 0;
    if (found->is_spoilt)
        return 0;
    for (size_t i = 0; i < found->value_len; i++) {
        char c = found->value[i];
        if (c < '0' || c > '9')
            return 0;
        seconds = seconds * 10 + (uint64_t)(c - '0');
        if (seconds > FG_CACHE_CONTROL_SECONDS_MAX)
            seconds = FG_CACHE_CONTROL_SECONDS_MAX;
    }
    return (uint32_t)seconds;
}

static void apply(struct fg_cache_control *control, const struct directive *directive,
                  const struct found *found)
{
    void *field = (char *)control + directive->offset;
    if (directive->kind == DIRECTIVE_FLAG) {
        *(bool *)field = true;
        return;
    }
    uint32_t seconds = seconds_of(found);
    if (found->value == NULL && field == &control->max_stale_s)
        seconds = FG_CACHE_CONTROL_SECONDS_MAX;
    uint32_t *smallest = field;
    if (seconds < *smallest) /* FG_CACHE_CONTROL_ABSENT is the largest number */
        *smallest = seconds;
}

void fg_cache_control_init(struct fg_cache_control *control)
{
    *control = (struct fg_cache_control){
        .max_age_s = FG_CACHE_CONTROL_ABSENT,
        .s_maxage_s = FG_CACHE_CONTROL_ABSENT,
        .max_stale_s = FG_CACHE_CONTROL_ABSENT,
        .min_fresh_s = FG_CACHE_CONTROL_ABSENT,
        .stale_while_revalidate_s = FG_CACHE_CONTROL_ABSENT,
        .stale_if_error_s = FG_CACHE_CONTROL_ABSENT,
    };
}

void fg_cache_control_parse(struct fg_cache_control *control, const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        if (!is_token_byte(text[at])) { /* commas, blanks, and what is no directive */
            at = text[at] == '"' ? skip_quoted(text, len, at) : at + 1;
            continue;
        }
        struct found found;
        at = read_directive(text, len, at, &found);
        for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++) {
            if (is_directive(&found, &directives[i]))
                apply(control, &directives[i], &found);
        }
    }
}

static void apply_targeted(struct fg_cache_control *control, const struct directive *directive,
                           const struct fg_sf_member *member, enum fg_sf_type type)
{
    void *field = (char *)control + directive->offset;
    if (directive->kind == DIRECTIVE_FLAG) {
        bool has_list = field == &control->no_cache || field == &control->is_private;
        if (type == FG_SF_BOOLEAN)
            *(bool *)field = member->number == 1;
        else if (has_list && type == FG_SF_OTHER)
            *(bool *)field = true; /* of field names: the stricter reading, as above */
        return;
    }
    if (type != FG_SF_INTEGER || member->number < 0)
        return;
    *(uint32_t *)field = member->number > (int64_t)FG_CACHE_CONTROL_SECONDS_MAX
                             ? FG_CACHE_CONTROL_SECONDS_MAX
                             : (uint32_t)member->number;
}

bool fg_cache_control_parse_targeted(struct fg_cache_control *control, const char *text, size_t len)
{
    struct fg_sf_dictionary dictionary;
    struct fg_sf_member member;
    enum fg_sf_type type;
    bool has_member = false;
    fg_sf_dictionary_init(&dictionary, text, len);
    while ((type = fg_sf_dictionary_next(&dictionary, &member)) != FG_SF_END) {
        if (type == FG_SF_MALFORMED)
            return false;
        has_member = true;
        const struct found found = {.name = member.key, .name_len = member.key_len};
        for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++) {
            if (is_directive(&found, &directives[i]))
                apply_targeted(control, &directives[i], &member, type);
        }
    }
    return has_member;
}
