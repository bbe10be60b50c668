/*
 * span.h: a run of bytes that somebody else owns, not NUL-terminated; the currency of all parsing.
 * Thread   any; plain values.
 */
#ifndef FG_BASE_SPAN_H
#define FG_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct fg_span {
    const char *data; /* may be NULL when len is 0 */
    size_t len;       /* bytes */
};

/* A span over a string literal, usable in static initialisers. */
#define FG_SPAN_LITERAL(text)                                                                      \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }
#define FG_SPAN(text) ((struct fg_span)FG_SPAN_LITERAL(text))
/* For printf("%.*s"): the length is cut to what int holds. */
#define FG_SPAN_ARGS(span) (int)((span).len > 65536 ? 65536 : (span).len), (span).data

static inline struct fg_span fg_span_make(const char *data, size_t len)
{
    return (struct fg_span){data, len};
}

/* NULL gives the empty span. */
static inline struct fg_span fg_span_from_string(const char *text)
{
    return (struct fg_span){text, text == NULL ? 0 : strlen(text)};
}

static inline bool fg_span_equal(struct fg_span a, struct fg_span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool fg_span_starts_with(struct fg_span span, struct fg_span prefix)
{
    return span.len >= prefix.len &&
           (prefix.len == 0 || memcmp(span.data, prefix.data, prefix.len) == 0);
}

/* ASCII case is ignored; other bytes compare as they are. */
bool fg_span_equal_nocase(struct fg_span a, struct fg_span b);

/* The span without spaces and tabs at both ends (OWS of RFC 9110 section 5.6.3). */
struct fg_span fg_span_trim(struct fg_span span);

/*
 * Cut `*rest` at the first `separator`: returns what stands before it and moves *rest behind it.
 * Without a separator the whole is returned and *rest becomes empty with data NULL, which ends a
 * `while (rest.data != NULL)` loop.
 */
struct fg_span fg_span_split(struct fg_span *rest, char separator);

/* Decimal digits only, no sign, no blanks, no overflow; false leaves *value alone. */
bool fg_span_parse_u64(struct fg_span span, uint64_t *value);

/* Where the first control byte (below 0x20, or 0x7f) stands; span.len when there is none. */
size_t fg_span_find_control(struct fg_span span);

/* A keyed 64-bit hash (FNV-1a, finished with a 64-bit mixer); not for hostile keys without a secret
 * seed. */
uint64_t fg_span_hash(struct fg_span span, uint64_t seed);

#endif
