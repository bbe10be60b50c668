/*
 * scenario.h: a described promotion: who comes when and asks for what, and how the backends behave.
 * Job      plain structs that the simulator and the traffic generator read; see conf/scenarios/.
 * Thread   written by the loader alone, then read-only.
 * Memory   everything belongs to the scenario and dies with it.
 *
 *    scenario --- crowds[]    kinds of users: arrivals over time, a journey of steps, patience
 *             `-- backends[]  as the configuration's: slots or tokens, service times, faults
 */
#ifndef FG_REHEARSE_SCENARIO_H
#define FG_REHEARSE_SCENARIO_H

#include "config/config.h"
#include "config/yaml_tree.h"
#include "policies/token_scan.h"

#define FG_SCENARIO_STEPS_MAX 64u
#define FG_SCENARIO_CROWDS_MAX 64u

/* One request of a journey. */
struct fg_scenario_step {
    const char *request; /* "POST /api/orders?from=app", {user} and {n} in the query filled in */
    const char *body;    /* with {user} and {n} filled in; NULL: none. Live traffic only */
    const struct fg_header_match *headers;
    size_t header_count;
    uint64_t think_ns;       /* mean pause before it, exponential; 0: at once */
    uint32_t share_permille; /* of those who come this far do it, the others go on */
    uint32_t times;          /* asked so often, with the pause before each */
    uint32_t prompt_tokens;
    uint32_t output_tokens;
    bool is_goal;     /* what the user came for */
    bool is_optional; /* who fails here goes on with the next step */
    /* resolved */
    enum fg_method method;
    bool is_idempotent; /* RFC 9110 section 9.2.2 */
    struct fg_span method_text;
    struct fg_span target; /* path and query, as written */
    struct fg_span path;
    struct fg_span query; /* data is NULL when there is none */
    const struct fg_route_conf *route;
    struct fg_token_scan scan; /* of the body as written, {user} and {n} in their short form */
    const struct fg_yaml_node *node;
};

/* The rate at a moment; between two points it changes evenly. */
struct fg_scenario_point {
    uint64_t at_ns;
    struct fg_rate_conf rate;
    double per_s; /* resolved: scaled to `users` */
    const struct fg_yaml_node *node;
};

/* What a user does whose request was refused, failed or took too long. */
struct fg_scenario_retry {
    uint32_t attempts; /* of one request, the first included */
    uint64_t delay_ns;
    uint64_t delay_max_ns;
    uint32_t growth_permille; /* of the delay at each further try; 1000: none */
    uint32_t jitter_permille; /* up to so much shorter */
    bool respects_retry_after;
};

struct fg_scenario_invites {
    bool is_on;
    uint32_t share_permille; /* of those who reached the goal invite */
    uint32_t each;
    uint32_t accepted_permille;
    uint64_t after_ns; /* mean time to the friend's arrival, exponential */
};

struct fg_scenario_crowd {
    const char *name;
    uint64_t users; /* 0: as many as the rates give */
    uint64_t users_max;
    struct fg_scenario_point *arrivals;
    size_t arrival_count;
    struct fg_scenario_step *steps;
    size_t step_count;
    uint64_t patience_ns;      /* an answer later than this is of no use: the client leaves */
    uint64_t line_patience_ns; /* longest time in a waiting room */
    uint32_t users_per_address;
    uint32_t resumes_permille; /* of their first handshakes */
    struct fg_scenario_retry retry;
    struct fg_scenario_invites invites;
    const struct fg_yaml_node *node;
};

enum fg_service_spread { FG_SERVICE_FIXED, FG_SERVICE_EXPONENTIAL, FG_SERVICE_LOGNORMAL };

/* A time in which the backend is not itself. */
struct fg_scenario_fault {
    uint64_t at_ns;
    uint64_t for_ns;
    uint32_t slots_permille; /* of its slots (or tokens a second) are left; more than 1000: grown */
    uint32_t slow_permille;  /* service takes so much of its usual time */
    uint32_t errors_permille;
    uint32_t endpoint_count; /* the first so many of a cluster's; 0: all */
    const struct fg_yaml_node *node;
};

/* Generates tokens in a batch that shares its speed and its KV cache. */
struct fg_scenario_tokens {
    bool is_on;
    uint64_t per_s;         /* decode, of the whole batch */
    uint64_t per_s_each;    /* ... of one sequence at most */
    uint64_t prefill_per_s; /* of one prompt */
    uint64_t kv;            /* tokens that fit */
    bool is_reserving;      /* room for prompt and output is kept before a sequence starts */
};

struct fg_scenario_backend {
    const char *name;
    uint32_t backend_index;  /* resolved: in the configuration */
    uint32_t endpoint_index; /* of a cluster, whose part this is; 0 for the whole */
    uint32_t slots;          /* worked on at a time; sequences in the batch */
    uint64_t service_ns;     /* mean, in a slot */
    enum fg_service_spread spread;
    uint32_t sigma_permille; /* of the logarithm, for lognormal */
    uint64_t latency_ns;     /* more time that holds no slot: network, disk */
    uint32_t errors_permille;
    uint32_t error_status;
    uint64_t pending_max;       /* accepted beyond the slots; more is refused with 503 */
    bool is_finishing_orphaned; /* works on for clients that have gone */
    struct fg_scenario_tokens tokens;
    struct fg_scenario_fault *faults;
    size_t fault_count;
    const struct fg_yaml_node *node;
};

/* The gateway process itself, for the overload stage. */
struct fg_scenario_gateway {
    uint32_t threads;
    uint64_t request_cpu_ns; /* of a request that goes to a backend */
    uint64_t refusal_cpu_ns; /* of one that is answered at once */
    uint64_t memory_bytes;   /* of the idle process */
    uint64_t request_bytes;  /* more for each request in it */
    uint64_t
        request_arena_bytes;   /* of limits.request_memory_total_max, of a request without body */
    bool shares_connections;   /* clients come over few, as behind a load balancer */
    uint64_t connection_bytes; /* more memory for each */
    uint64_t handshake_cpu_ns; /* a full one */
    uint64_t resumed_cpu_ns;
};

/* What must come of it; 0 asks for nothing. */
struct fg_scenario_expect {
    uint32_t good_permille[FG_PRIORITY_COUNT]; /* of the requests of each class */
    uint64_t recovery_ns; /* from the end of any flood until all is normal again */
};

struct fg_scenario {
    const char *file;
    const char *name;
    uint64_t duration_ns;
    uint64_t seed;
    const char *host; /* for routes that ask for one; NULL: none */
    struct fg_scenario_gateway gateway;
    struct fg_scenario_expect expect;
    struct fg_scenario_backend *backends; /* one for each backend of the configuration, by index */
    size_t backend_count;
    struct fg_scenario_crowd *crowds;
    size_t crowd_count;
};

/*
 * Read, check and resolve `path` against `config`, which must outlive the scenario. Errors are told
 * as by fg_config_load; *out is then NULL.
 */
enum fg_status fg_scenario_load(struct fg_scenario **out, const char *path,
                                const struct fg_config *config, fg_config_error_fn on_error,
                                void *ctx, size_t *error_count);

/* The same over text in memory, for tests and fuzzing; `name` stands for the file's name. */
enum fg_status fg_scenario_parse(struct fg_scenario **out, const char *name, struct fg_span text,
                                 const struct fg_config *config, fg_config_error_fn on_error,
                                 void *ctx, size_t *error_count);

void fg_scenario_destroy(struct fg_scenario *scenario);

/* Users that the arrivals of a crowd bring in all, invited ones aside. */
double fg_scenario_expected_users(const struct fg_scenario_crowd *crowd, uint64_t duration_ns);

#endif
