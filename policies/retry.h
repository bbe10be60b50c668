/*
 * retry.h: may a request that failed at a server be sent once more?
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_RETRY_H
#define FG_POLICIES_RETRY_H

#include <stdbool.h>
#include <stdint.h>

enum fg_retry_cause {
    FG_RETRY_CONNECT,    /* no connection could be made: nothing was sent */
    FG_RETRY_STALE,      /* a kept connection was dead before a byte of an answer */
    FG_RETRY_UNHANDLED,  /* it did not look at it, for a reason that is no fault (GOAWAY) */
    FG_RETRY_REFUSED,    /* nor here, but it could have (REFUSED_STREAM) */
    FG_RETRY_RESET,      /* the connection or stream broke before a byte of the answer */
    FG_RETRY_TIMEOUT,    /* the try took longer than it may */
    FG_RETRY_STATUS_502, /* the server's answer */
    FG_RETRY_STATUS_503,
    FG_RETRY_STATUS_504,
    FG_RETRY_CAUSE_COUNT,
};

struct fg_retry_conf {
    uint32_t connect_retries_max; /* further attempts while the server cannot have seen it */
    uint32_t retries_max;         /* further attempts after it may have been seen */
    uint32_t causes;              /* bits 1 << fg_retry_cause that count for retries_max */
    uint64_t backoff_ns;          /* longest pause before the first retry; 0: none */
    uint64_t backoff_max_ns;      /* and before any; 0: FG_RETRY_BACKOFF_TIMES as long */
};

#define FG_RETRY_BACKOFF_TIMES 10u

struct fg_retry_facts {
    enum fg_retry_cause cause;
    bool is_idempotent;   /* by its method (RFC 9110 section 9.2.2) */
    bool is_sent_any;     /* a byte of the request has left in this attempt */
    bool is_body_at_hand; /* all of the body so far can be sent again */
    bool is_answer_begun; /* the client has a part of the answer */
    bool is_pause_asked;  /* the server has said when to come again (Retry-After) */
    bool has_untried;     /* another server may be asked; counts where a pause is asked */
    uint32_t connect_retries;
    uint32_t retries;      /* so far */
    uint64_t pause_ns;     /* before this retry: fg_retry_pause_ns */
    uint64_t time_left_ns; /* until the request's deadline */
};

enum fg_retry_verdict {
    FG_RETRY_NO,
    FG_RETRY_YES,         /* the server has not seen it: at once, counts as a connect retry */
    FG_RETRY_WITH_BUDGET, /* when the retry budget allows: after the pause, counts as a retry */
};

enum fg_retry_verdict fg_retry_judge(const struct fg_retry_conf *conf,
                                     const struct fg_retry_facts *facts);

/* How long to wait before the retry that follows `retries` others, by the `lot` drawn for it. */
uint64_t fg_retry_pause_ns(const struct fg_retry_conf *conf, uint32_t retries, uint64_t lot);

/* The cause that a status is, or FG_RETRY_CAUSE_COUNT when it is none. */
enum fg_retry_cause fg_retry_cause_of_status(unsigned status);

#endif
