/*
 * known_lines.h: the lines of the latest head that a cluster's servers sent to this loop.
 * Job      heads of one cluster are alike, line by line: a line that was checked and taken apart
 *          before, and comes again in its place, is not looked at again.
 * Thread   the owning event loop.
 * Memory   fixed: FG_KNOWN_LINES of FG_KNOWN_LINE_BYTES, as they came and as they are passed on.
 * Never    more than a guess: a line is the same byte by byte, or it is not known.
 */
#ifndef FG_PROXY_KNOWN_LINES_H
#define FG_PROXY_KNOWN_LINES_H

#include "base/field_id.h"

#define FG_KNOWN_LINES ((size_t)24)
#define FG_KNOWN_LINE_BYTES ((size_t)94)

/* Where in its line a field lies; the name stands at the begin. */
struct fg_line_parts {
    uint16_t name_len;
    uint16_t value_at;
    uint16_t value_len;
    uint16_t id; /* enum fg_field_id */
};

struct fg_known_line {
    size_t len; /* CRLF included; 0: none */
    struct fg_line_parts parts;
    char raw[FG_KNOWN_LINE_BYTES];
    char made[FG_KNOWN_LINE_BYTES]; /* its name in lower case */
};

struct fg_known_lines {
    struct fg_known_line lines[FG_KNOWN_LINES];
};

/* How long the line is with which `input` begins, if it is the one known at `index`: it is at `to`
 * then, which has as much room as `input` is long. 0: it is another one. */
static inline size_t fg_known_lines_take(const struct fg_known_lines *known, size_t index,
                                         struct fg_span input, char *to,
                                         struct fg_line_parts *parts)
{
    if (index >= FG_KNOWN_LINES)
        return 0;
    const struct fg_known_line *line = &known->lines[index];
    size_t len = line->len;
    if (len == 0 || len > input.len || memcmp(line->raw, input.data, len) != 0)
        return 0;
    memcpy(to, line->made, len);
    *parts = line->parts;
    return len;
}

static inline void fg_known_lines_put(struct fg_known_lines *known, size_t index,
                                      struct fg_span raw, const char *made,
                                      const struct fg_line_parts *parts)
{
    if (index >= FG_KNOWN_LINES || raw.len > FG_KNOWN_LINE_BYTES)
        return;
    struct fg_known_line *line = &known->lines[index];
    memcpy(line->raw, raw.data, raw.len);
    memcpy(line->made, made, raw.len);
    line->len = raw.len;
    line->parts = *parts;
}

#endif
