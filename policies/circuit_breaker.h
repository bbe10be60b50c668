/*
 * circuit_breaker.h: stop calling what keeps failing or has become slow, then ask it again with a
 * trickle of probes, the most important callers first.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_CIRCUIT_BREAKER_H
#define FG_POLICIES_CIRCUIT_BREAKER_H

#include "policies/failure_row.h"
#include "policies/priority.h"

#include <stdbool.h>
#include <stdint.h>

#define FG_BREAKER_BUCKET_COUNT 10
#define FG_BREAKER_INSTANTS_LEAST 3

enum fg_breaker_state { FG_BREAKER_CLOSED, FG_BREAKER_OPEN, FG_BREAKER_HALF_OPEN };
enum fg_breaker_verdict {
    FG_BREAKER_PASS,
    FG_BREAKER_PROBE,
    FG_BREAKER_REFUSE,
    FG_BREAKER_WOULD_REFUSE, /* passes: only said by who keeps the breaker in shadow */
};
/* Why it opened last. */
enum fg_breaker_rule {
    FG_BREAKER_BY_NOTHING, /* it never has */
    FG_BREAKER_BY_ROW,
    FG_BREAKER_BY_ERRORS,
    FG_BREAKER_BY_LATENCY,
    FG_BREAKER_BY_PROBE, /* a probe failed or was slow */
};
/* ... and by which figures: failures in a row, per cent of the window, probes that succeeded. */
struct fg_breaker_cause {
    enum fg_breaker_rule rule;
    uint32_t value;
    uint32_t limit;
};
enum fg_breaker_outcome {
    FG_BREAKER_SUCCESS,
    FG_BREAKER_FAILURE,
    FG_BREAKER_CUT_SHORT, /* not answered in the time that its client gave it: a failure if slow */
    FG_BREAKER_CANCELLED,
};

struct fg_breaker_config {
    uint32_t consecutive_failures; /* opens after so many in a row, those of one instant being one
                                    * (failure_row.h); 0: not by this rule */
    uint32_t error_permille;   /* opens at this share of failures, 1-1000; 0: not by this rule */
    uint32_t min_requests;     /* ... once the window holds at least so many results, and the
                                * failures are of at least FG_BREAKER_INSTANTS_LEAST instants */
    uint32_t half_open_probes; /* probes at a time, and successes that close; at least 1 */
    uint64_t window_ns;        /* length of the rolling window; at least 10 */
    uint64_t open_ns;          /* first time open, at least 1; doubles at each relapse */
    uint64_t open_max_ns;      /* up to this; not below open_ns */
    uint64_t slow_ns;          /* a call that took so long is slow; 0: none is */
    uint32_t slow_permille;    /* opens at this share of slow calls; 0: not by this rule */
    uint64_t half_open_interval_ns; /* between two probes; 0: no trickle, first come first served */
};

struct fg_breaker_bucket {
    uint32_t successes;
    uint32_t failures;
    uint32_t slow;      /* of both */
    uint32_t failed_at; /* instants at which some failed (failure_row.h) */
    uint32_t slow_at;   /* ... ended that were slow */
};

struct fg_circuit_breaker {
    struct fg_breaker_config config;
    /* state */
    enum fg_breaker_state state;
    struct fg_failure_row row;
    struct fg_failure_row failed; /* instants, whatever succeeds meanwhile */
    struct fg_failure_row slow;
    uint32_t probes_in_flight;            /* every probe handed out and not yet recorded */
    uint32_t probe_successes;             /* since it became half-open */
    struct fg_breaker_cause cause;        /* of the last opening */
    uint64_t probe_due_ns;                /* valid while half-open */
    uint64_t asked_ns[FG_PRIORITY_COUNT]; /* when one of the class last asked while not closed */
    uint64_t open_until_ns;
    uint64_t open_now_ns;  /* how long this opening lasts, 0 before the first */
    uint64_t closed_at_ns; /* when it last closed */
    /* rolling window */
    struct fg_breaker_bucket buckets[FG_BREAKER_BUCKET_COUNT];
    uint64_t bucket_number; /* of the newest bucket: time / bucket length */
    /* counters */
    uint64_t opened_total;
    uint64_t refused_total;
    uint64_t probes_total;
};

/* Safe defaults: 5 in a row or 50 % of 20 in 10 s, however slow; open 1 s to 30 s; 3 probes, one
 * every 100 ms. */
struct fg_breaker_config fg_circuit_breaker_config_default(void);

void fg_circuit_breaker_init(struct fg_circuit_breaker *cb, const struct fg_breaker_config *config,
                             uint64_t now_ns);

/*
 * PASS and PROBE: make the call and then fg_circuit_breaker_record() it exactly once, telling
 * whether it was a probe. REFUSE: *retry_after_ns says when to ask again; otherwise it is 0.
 */
enum fg_breaker_verdict fg_circuit_breaker_try_pass(struct fg_circuit_breaker *cb,
                                                    enum fg_priority priority, uint64_t now_ns,
                                                    uint64_t *retry_after_ns);

/*
 * Would a call be refused whoever makes it, because the opening is not over? Then it counts as
 * refused. For those who would have to wait for a slot before they can ask.
 */
bool fg_circuit_breaker_is_shut(struct fg_circuit_breaker *cb, enum fg_priority priority,
                                uint64_t now_ns, uint64_t *retry_after_ns);

/*
 * A call that had passed and was recorded as CANCELLED, since its caller was slow to say it, is
 * said: what becomes of it tells of the backend now. Its caller records it once more; true: as a
 * probe. It is under way whatever happens, so it needs no place among those let through.
 */
bool fg_circuit_breaker_resume(struct fg_circuit_breaker *cb, uint64_t now_ns);

/*
 * `latency_ns` is how long the call took to answer or fail: it began so long ago. CANCELLED says
 * nothing, but frees a probe.
 */
void fg_circuit_breaker_record(struct fg_circuit_breaker *cb, uint64_t now_ns, bool was_probe,
                               enum fg_breaker_outcome outcome, uint64_t latency_ns);

/* What try_pass() would find now: an opening whose time is up reads as half-open. */
enum fg_breaker_state fg_circuit_breaker_state(const struct fg_circuit_breaker *cb,
                                               uint64_t now_ns);

/* 0 closed, 0.5 half-open, 1 open: for metrics. */
double fg_breaker_openness(enum fg_breaker_state state);

/* "closed", "open", "half_open"; "none", "error_ratio", ...: constant strings. */
const char *fg_breaker_state_name(enum fg_breaker_state state);
const char *fg_breaker_rule_name(enum fg_breaker_rule rule);

#endif
