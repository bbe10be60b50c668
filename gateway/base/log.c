/*
 * log.c: one line, one write.
 */
#include "log.h"

#include "clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 2048

static enum fg_log_level lowest = FG_LOG_INFO;

void fg_log_set_level(enum fg_log_level level)
{
    lowest = level;
}

bool fg_log_is_on(enum fg_log_level level)
{
    return level >= lowest;
}

static const char *level_name(enum fg_log_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    return names[level];
}

static int write_prefix(char *line, size_t bytes, enum fg_log_level level, const char *event)
{
    uint64_t wall_ns = fg_clock_wall_ns();
    time_t seconds = (time_t)(wall_ns / FG_S);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char stamp[32];
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    return snprintf(line, bytes, "%s.%03uZ %s event=%s", stamp, (unsigned)(wall_ns / FG_MS % 1000),
                    level_name(level), event);
}

static void FG_PRINTF(4, 0) write_line(enum fg_log_level level, const char *event,
                                       uint64_t suppressed, const char *fmt, va_list args)
{
    char line[LINE_BYTES];
    size_t at = (size_t)write_prefix(line, sizeof(line), level, event);
    line[at++] = ' ';
    int added = vsnprintf(line + at, sizeof(line) - at, fmt, args);
    if (added > 0)
        at += (size_t)added;
    if (suppressed > 0 && at < sizeof(line)) {
        added = snprintf(line + at, sizeof(line) - at, " suppressed=%llu",
                         (unsigned long long)suppressed);
        at += added > 0 ? (size_t)added : 0;
    }
    if (at > sizeof(line) - 1)
        at = sizeof(line) - 1;
    line[at++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, at);
    (void)ignored;
}

void fg_log(enum fg_log_level level, const char *event, const char *fmt, ...)
{
    if (!fg_log_is_on(level))
        return;
    va_list args;
    va_start(args, fmt);
    write_line(level, event, 0, fmt, args);
    va_end(args);
}

/*
 * Threads may interleave between the reads and the writes here: a line too many or too few passes,
 * which is harmless.
 */
void fg_log_limited(struct fg_log_limit *limit, uint32_t per_s, enum fg_log_level level,
                    const char *event, const char *fmt, ...)
{
    if (!fg_log_is_on(level))
        return;
    uint64_t second = fg_clock_monotonic_ns() / FG_S;
    uint64_t suppressed = 0;
    if (fg_counter_get(&limit->second) != second) {
        suppressed = fg_counter_get(&limit->suppressed);
        fg_counter_set(&limit->second, second);
        fg_counter_set(&limit->written, 0);
        fg_counter_set(&limit->suppressed, 0);
    }
    fg_counter_add(&limit->written, 1);
    if (fg_counter_get(&limit->written) > per_s) {
        fg_counter_add(&limit->suppressed, suppressed + 1);
        return;
    }
    va_list args;
    va_start(args, fmt);
    write_line(level, event, suppressed, fmt, args);
    va_end(args);
}

const char *fg_log_quote(char *out, size_t out_bytes, const char *text, size_t text_len)
{
    size_t at = 0;
    if (out_bytes < 3)
        return "";
    out[at++] = '"';
    for (size_t i = 0; i < text_len && at + 6 < out_bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            out[at++] = '\\';
            out[at++] = (char)c;
        } else if (c < 0x20 || c == 0x7f) {
            at += (size_t)snprintf(out + at, out_bytes - at, "\\x%02x", c);
        } else {
            out[at++] = (char)c;
        }
    }
    out[at++] = '"';
    out[at] = '\0';
    return out;
}

const char *fg_log_word(char *out, size_t out_bytes, const char *text, size_t text_len)
{
    bool is_word = text_len > 0 && text_len < out_bytes;
    for (size_t i = 0; i < text_len; i++)
        is_word = is_word && text[i] > ' ' && text[i] != '"' && text[i] != 0x7f;
    if (!is_word)
        return fg_log_quote(out, out_bytes, text, text_len);
    memcpy(out, text, text_len);
    out[text_len] = '\0';
    return out;
}
