/*
 * flood_model.h: a gate before a backend of some slots that works on everything it accepts, under
 * open-loop arrivals, in virtual time. The gate is the production object; the rest is a model.
 */
#ifndef FG_TEST_FLOOD_MODEL_H
#define FG_TEST_FLOOD_MODEL_H

#include "policies/gate_policy.h"

enum flood_service {
    FLOOD_EVEN,        /* each takes the mean */
    FLOOD_EXPONENTIAL, /* as uneven as chance */
    FLOOD_LOGNORMAL,   /* more uneven: most are quick, few are very slow (sigma 1) */
};

/* One stretch of time with constant conditions. */
struct flood_phase {
    uint64_t duration_ns;
    uint32_t slots;
    uint64_t service_ns; /* mean */
    enum flood_service kind;
    double normal_per_s; /* arrivals, Poisson */
    double critical_per_s;
    double one_per_s;     /* normal ones of one more client, whose lot is the best */
    uint32_t flooders;    /* 0: that one; else they are of so many clients, alike, with any lots */
    uint32_t people;      /* 0: all others ask once; else they are so many, and ask again */
    uint32_t closed;      /* besides, so many ask again whenever they have been told something, */
    uint64_t think_ns;    /* ... so long after it; above 0. From the first such phase on */
    uint64_t timeout_ns;  /* the client's; 0: a second */
    uint32_t pending_max; /* what waits at the backend at most, more is failed; 0: no bound */
    bool clients_leave;   /* after their time, while the backend goes on; else they stay */
};

struct flood_result {
    uint64_t offered;      /* normal ones that came in the phase */
    uint64_t admitted;     /* both kinds, that left the backend in the phase */
    uint64_t good;         /* answers within the client's timeout, of both kinds */
    uint64_t late;         /* answers that nobody waited for any more */
    uint64_t failed;       /* by the backend, its own queue being full */
    uint64_t refused;      /* by the gate */
    uint64_t refused_late; /* ... after more than 100 ms */
    uint64_t refused_longest_ns;
    uint64_t critical; /* those that came and have ended */
    uint64_t critical_good;
    uint64_t of_others; /* normal ones, not of who floods, that came and have ended */
    uint64_t of_others_good;
    double useful;   /* share of the slots' time spent on answers in time: 1 is all there is */
    double whole;    /* share of the normal good ones that went to users who get five in a row */
    uint64_t p99_ns; /* of the good ones, arrival to answer */
    uint64_t critical_p99_ns;
    uint64_t wait_mean_ns;       /* of those admitted, in our queue */
    uint64_t queue_delay_max_ns; /* longest wait of an admitted one */
    uint32_t in_flight_max;
    uint32_t limit; /* at the end */
};

struct flood_model;

struct flood_model *flood_create(const struct fg_gate_policy_config *config, uint64_t seed);
void flood_destroy(struct flood_model *model);

/* Go on for a phase; counts only what ends in it. */
struct flood_result flood_run(struct flood_model *model, const struct flood_phase *phase);

/* The gate, to look at between phases. */
const struct fg_gate_policy *flood_gate(const struct flood_model *model);

/* The gateway's defaults for an unknown HTTP cluster. */
struct fg_gate_policy_config flood_cluster_config(enum fg_concurrency_mode mode);

#endif
