/*
 * log.h: events with fields, one line each, to standard error.
 *    2026-11-23T22:10:01.123Z warn event=worker_exited worker=1 signal=9
 * Job      format and write a line with one write(2), so that lines of threads do not mix.
 * Thread   any. The level is set once at start-up.
 * Never    a key, a token or a body. A line that a client can cause goes through fg_log_limited.
 */
#ifndef FG_BASE_LOG_H
#define FG_BASE_LOG_H

#include "counters_shared.h"
#include "status.h"

#include <stdbool.h>
#include <stdint.h>

enum fg_log_level { FG_LOG_DEBUG, FG_LOG_INFO, FG_LOG_WARN, FG_LOG_ERROR };

/* Lines below `level` are dropped. Before other threads start. */
void fg_log_set_level(enum fg_log_level level);
bool fg_log_is_on(enum fg_log_level level);

/*
 * `event` is a constant snake_case name; `fmt` makes the fields, "key=value key=value". Values that
 * may hold blanks are the caller's to quote with fg_log_quote().
 */
void fg_log(enum fg_log_level level, const char *event, const char *fmt, ...) FG_PRINTF(3, 4);

/* For lines that outsiders cause: at most `per_s` lines a second from this call site, the rest are
 * counted and reported with the next line that passes. One static object per call site. */
struct fg_log_limit {
    struct fg_counter second;
    struct fg_counter written;
    struct fg_counter suppressed;
};
void fg_log_limited(struct fg_log_limit *limit, uint32_t per_s, enum fg_log_level level,
                    const char *event, const char *fmt, ...) FG_PRINTF(5, 6);

/* `text` in double quotes with control characters, quotes and backslashes escaped, cut to fit. */
const char *fg_log_quote(char *out, size_t out_bytes, const char *text, size_t text_len);
/* The same where it is no single word; else as it is, cut to fit. */
const char *fg_log_word(char *out, size_t out_bytes, const char *text, size_t text_len);

#endif
