/*
 * tally.h: what came of every request, in all and over time; filled by a simulation or by live
 * traffic, read by the reports and the tests.
 * Thread   one owner.
 * Memory   fixed at create: routes x (histogram + buckets) + backends x the same.
 */
#ifndef FG_REHEARSE_TALLY_H
#define FG_REHEARSE_TALLY_H

#include "base/histogram_shared.h"
#include "observe/metrics.h"
#include "policies/overload.h"
#include "rehearse/scenario.h"

enum fg_outcome {
    FG_OUTCOME_GOOD,    /* a useful answer while the client still waited */
    FG_OUTCOME_REFUSED, /* by the gateway, at once */
    FG_OUTCOME_FAILED,  /* by the backend: an error, or not reached */
    FG_OUTCOME_LATE,    /* the gateway's deadline passed */
    FG_OUTCOME_GAVE_UP, /* the client left first */
    FG_OUTCOME_IN_LINE, /* neither: a place in the waiting room, to ask again with */
};
#define FG_OUTCOME_COUNT 6

/* Reasons to refuse beside enum fg_refused: what a cluster and the listeners say by themselves. */
enum {
    FG_TALLY_CLUSTER_REQUESTS = FG_REFUSED_COUNT,
    FG_TALLY_CLUSTER_PENDING,
    FG_TALLY_ENDPOINTS_OPEN,
    FG_TALLY_CONNECTIONS,        /* limits.connections_max */
    FG_TALLY_HANDSHAKES_WAITING, /* tls.handshakes_waiting_max */
    FG_TALLY_HANDSHAKE_TIMEOUT,
};
#define FG_TALLY_REASON_COUNT (FG_REFUSED_COUNT + 6)

/* One route in one stretch of time. */
struct fg_tally_point {
    uint32_t offered;                    /* by the time it was due */
    uint32_t outcomes[FG_OUTCOME_COUNT]; /* by the time it ended */
};

struct fg_tally_route {
    uint64_t offered;
    uint64_t retries; /* of the offered */
    uint64_t outcomes[FG_OUTCOME_COUNT];
    uint64_t first_ns[FG_OUTCOME_COUNT]; /* valid when there was one */
    uint64_t refused[FG_TALLY_REASON_COUNT];
    uint64_t refused_first_ns[FG_TALLY_REASON_COUNT];   /* valid when there was one */
    uint64_t shed[FG_OVERLOAD_RESOURCE_COUNT];          /* of the refused: for which resource */
    uint64_t shed_first_ns[FG_OVERLOAD_RESOURCE_COUNT]; /* valid when there was one */
    uint64_t admitted;                                  /* handed to a backend */
    uint64_t admitted_good;
    struct fg_histogram latency; /* of good answers, from the time that was scheduled */
    struct fg_tally_point *points;
};

/* One backend in one stretch of time. */
struct fg_tally_load {
    uint64_t wait_max_ns; /* longest time in the queue of one who was let in */
    uint64_t wait_sum_ns;
    uint32_t let_in;
    uint32_t done;   /* useful answers */
    uint32_t wasted; /* worked out for clients that had gone */
    uint32_t queued; /* at the end of it */
    uint32_t in_flight;
    uint32_t limit;
    uint32_t breaker; /* enum fg_breaker_state */
    uint32_t pending; /* inside the backend, beyond its slots */
};

struct fg_tally_backend {
    uint64_t done;
    uint64_t wasted;
    uint64_t retried;         /* once more, by the gateway */
    uint64_t preempted;       /* sequences that lost their work to a full KV cache */
    struct fg_histogram wait; /* time in the gateway's queue */
    struct fg_tally_load *loads;
};

struct fg_tally_crowd {
    uint64_t arrived; /* invited ones too */
    uint64_t invited;
    uint64_t reached; /* the goal */
    uint64_t finished;
    uint64_t left;               /* went away without finishing */
    uint64_t in_line;            /* stood in a waiting room */
    struct fg_histogram line_ms; /* how long those stood there who were let in */
};

struct fg_tally {
    uint64_t duration_ns;
    uint64_t bucket_ns;
    size_t bucket_count;
    struct fg_tally_route *routes;
    size_t route_count;
    struct fg_tally_backend *backends;
    size_t backend_count;
    struct fg_tally_crowd *crowds;
    size_t crowd_count;
    uint64_t interrupted_ns; /* live traffic ended then, before its time; 0: it did not */
    uint64_t behind_max_ns;  /* worst delay of a live generator behind its own schedule */
    uint64_t events;
    uint64_t users_active; /* at the end */
    uint64_t users_active_max;
};

/* `bucket_count` stretches of equal length. NULL without memory. */
struct fg_tally *fg_tally_create(const struct fg_scenario *scenario, const struct fg_config *config,
                                 size_t bucket_count);
void fg_tally_destroy(struct fg_tally *tally);

/* The stretch that a moment falls in; what comes after the end counts into the last one. */
size_t fg_tally_bucket(const struct fg_tally *tally, uint64_t at_ns);

void fg_tally_offer(struct fg_tally *tally, size_t route, uint64_t due_ns, bool is_retry);

/* `latency_ns` counts for GOOD, `reason` (below FG_TALLY_REASON_COUNT) for REFUSED. */
void fg_tally_outcome(struct fg_tally *tally, size_t route, uint64_t now_ns,
                      enum fg_outcome outcome, unsigned reason, uint64_t latency_ns);

/* Why a request that is refused as FG_REFUSED_OVERLOAD is; only a simulation knows. */
void fg_tally_shed(struct fg_tally *tally, size_t route, uint64_t now_ns,
                   enum fg_overload_resource resource);

/* A hash over all of it: equal for equal runs. */
uint64_t fg_tally_digest(const struct fg_tally *tally);

/* Of a reason below FG_TALLY_REASON_COUNT: as errors' `code`, and in the words of the limits. */
const char *fg_tally_reason_name(unsigned reason);

/* "good", "refused", "failed", "late", "gave_up", "in_line". */
const char *fg_outcome_name(enum fg_outcome outcome);

#endif
