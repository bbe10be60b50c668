/*
 * status.h: how operating errors travel. Programmer errors are assert(), never a status.
 * Thread   any; plain values.
 */
#ifndef FG_BASE_STATUS_H
#define FG_BASE_STATUS_H

#include <stddef.h>

#define FG_MUST_USE __attribute__((warn_unused_result))
#define FG_PRINTF(fmt_index, first_index) __attribute__((format(printf, fmt_index, first_index)))

enum fg_status {
    FG_OK = 0,
    FG_ERR_SYSTEM,      /* a system call failed; errno says why */
    FG_ERR_NO_MEMORY,   /* an arena, slab or configured limit is used up */
    FG_ERR_LIMIT,       /* a configured limit other than memory was reached */
    FG_ERR_INVALID,     /* outside input is malformed */
    FG_ERR_UNSUPPORTED, /* well-formed, but not something we do */
    FG_ERR_NOT_FOUND,
    FG_ERR_CLOSED,  /* the peer has gone */
    FG_ERR_TIMEOUT, /* a deadline passed */
    FG_ERR_BUSY,    /* try again later */
    FG_ERR_CONFIG,  /* see the fg_error that came with it */
};

/* A constant lower-case name for logs and metrics, such as "no_memory". Any thread. */
const char *fg_status_name(enum fg_status status);

/*
 * One error of configuration or start-up, for a person. `line` and `column` count from 1; 0 means
 * that the place is not known (a missing file, a port in use).
 */
struct fg_error {
    char file[256];
    unsigned line;
    unsigned column;
    char message[512]; /* "what is wrong; what was expected" */
};

/* Sets only the message of `error` (which may be NULL); always returns FG_ERR_CONFIG. */
enum fg_status fg_error_set(struct fg_error *error, const char *fmt, ...) FG_PRINTF(2, 3);

/*
 * Write "FILE:LINE:COLUMN: message" (without the parts that are not known) to `text`; returns the
 * length that a large enough buffer would hold, as snprintf does.
 */
int fg_error_format(const struct fg_error *error, char *text, size_t text_bytes);

#endif
