/*
 * stop_match.c: held bytes and new text are searched together; the longest tail that begins a stop
 * string stays held.
 * Thread   the owner's.
 * Cost     text length x stops, each a memcmp that mostly ends at its first byte.
 */
#include "inference/scheduler/stop_match.h"

#include <assert.h>

bool fg_stop_match_init(struct fg_stop_match *match, const struct fg_span *stops, uint32_t count)
{
    match->count = 0;
    match->held_len = 0;
    if (count > FG_STOP_COUNT_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (stops[i].len == 0 || stops[i].len > FG_STOP_BYTES_MAX)
            return false;
        memcpy(match->stops[i], stops[i].data, stops[i].len);
        match->lens[i] = stops[i].len;
    }
    match->count = count;
    return true;
}

/* Where the shortest stop string that lies whole at text[at] ends; 0 when none does. */
static size_t stop_end_at(const struct fg_stop_match *match, const char *text, size_t len,
                          size_t at)
{
    size_t end = 0;
    for (uint32_t i = 0; i < match->count; i++) {
        size_t stop_end = at + match->lens[i];
        if (stop_end <= len && (end == 0 || stop_end < end) &&
            memcmp(text + at, match->stops[i], match->lens[i]) == 0)
            end = stop_end;
    }
    return end;
}

/* Whether text[at..len) is the beginning of some stop string. */
static bool stop_begins_at(const struct fg_stop_match *match, const char *text, size_t len,
                           size_t at)
{
    for (uint32_t i = 0; i < match->count; i++) {
        if (match->lens[i] > len - at && memcmp(text + at, match->stops[i], len - at) == 0)
            return true;
    }
    return false;
}

bool fg_stop_match_push(struct fg_stop_match *match, struct fg_span text, char *out,
                        size_t *out_len)
{
    memcpy(out, match->held, match->held_len);
    if (text.len > 0)
        memcpy(out + match->held_len, text.data, text.len);
    size_t len = match->held_len + text.len;
    match->held_len = 0;
    size_t hold_from = len;
    size_t stop_from = len;
    size_t first_end = len + 1;
    for (size_t at = 0; at < len && at < first_end; at++) {
        /* The first to be complete counts, however the text was cut into pieces. */
        size_t end = stop_end_at(match, out, len, at);
        if (end != 0 && end < first_end) {
            first_end = end;
            stop_from = at;
        }
        if (hold_from == len && stop_begins_at(match, out, len, at))
            hold_from = at;
    }
    if (first_end <= len) {
        *out_len = stop_from;
        return true;
    }
    match->held_len = len - hold_from;
    assert(match->held_len < FG_STOP_BYTES_MAX);
    memcpy(match->held, out + hold_from, match->held_len);
    *out_len = hold_from;
    return false;
}

size_t fg_stop_match_finish(struct fg_stop_match *match, char *out)
{
    size_t len = match->held_len;
    memcpy(out, match->held, len);
    match->held_len = 0;
    return len;
}
