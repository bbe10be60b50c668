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
};

/* One stretch of time with constant conditions. */
struct flood_phase {
    uint64_t duration_ns;
    uint32_t slots;
    uint64_t service_ns; /* mean */
    enum flood_service kind;
    uint32_t normal_per_s; /* arrivals, Poisson */
    uint32_t critical_per_s;
};

struct flood_result {
    uint64_t offered;  /* normal ones that came in the phase */
    uint64_t good;     /* answers within the client's timeout, of both kinds */
    uint64_t late;     /* answers that nobody waited for any more */
    uint64_t refused;  /* by the gate */
    uint64_t critical; /* that came */
    uint64_t critical_good;
    uint64_t p99_ns; /* of the good ones, arrival to answer */
    uint64_t critical_p99_ns;
    uint64_t queue_delay_max_ns; /* longest wait of an admitted one */
    uint32_t in_flight_max;
    uint32_t limit; /* at the end */
};

struct flood_model;

struct flood_model *flood_create(const struct fg_gate_policy_config *config, uint64_t seed);
void flood_destroy(struct flood_model *model);

/* Go on for a phase; counts only what comes and ends in it. */
struct flood_result flood_run(struct flood_model *model, const struct flood_phase *phase);

/* The gateway's defaults for an unknown HTTP cluster. */
struct fg_gate_policy_config flood_cluster_config(enum fg_concurrency_mode mode);

#endif
