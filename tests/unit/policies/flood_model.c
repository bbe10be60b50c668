/*
 * flood_model.c: arrivals, the gate, a backend of slots with a queue of its own without end.
 */
#include "flood_model.h"

#include "policy_test.h"

#include <math.h>

#define TIMEOUT_NS S
#define REQUESTS_MAX 20000 /* waiting or at the backend at one time */
#define SAMPLES_MAX 400000

struct request {
    struct fg_gate_entry entry;
    struct request *next; /* free list, or the backend's queue */
    uint64_t arrived_ns;
    uint64_t sent_ns;
    uint64_t done_ns;
    bool is_critical;
};

struct flood_model {
    struct fg_gate_policy gate;
    uint64_t seed;
    uint64_t now_ns;
    const struct flood_phase *phase;
    struct flood_result result;
    struct request *free;
    struct request *queued; /* at the backend, first come */
    struct request *queued_last;
    struct request *working[REQUESTS_MAX];
    uint32_t working_count;
    uint64_t *latencies;
    size_t latency_count;
    uint64_t *critical_latencies;
    size_t critical_latency_count;
    struct request requests[REQUESTS_MAX];
};

static double uniform(struct flood_model *model)
{
    return (double)(test_random(&model->seed) >> 11) * 0x1p-53;
}

static uint64_t exponential_ns(struct flood_model *model, double mean_ns)
{
    return (uint64_t)(-log(1 - uniform(model)) * mean_ns) + 1;
}

/* ---- the backend ---- */

static void work(struct flood_model *model)
{
    while (model->queued != NULL && model->working_count < model->phase->slots) {
        struct request *request = model->queued;
        model->queued = request->next;
        uint64_t service_ns = model->phase->kind == FLOOD_EVEN
                                  ? model->phase->service_ns
                                  : exponential_ns(model, (double)model->phase->service_ns);
        request->done_ns = model->now_ns + service_ns;
        model->working[model->working_count++] = request;
    }
}

static void send(struct flood_model *model, struct request *request)
{
    request->sent_ns = model->now_ns;
    request->next = NULL;
    if (model->queued == NULL)
        model->queued = request;
    else
        model->queued_last->next = request;
    model->queued_last = request;
    uint64_t wait_ns = model->now_ns - request->arrived_ns;
    if (wait_ns > model->result.queue_delay_max_ns)
        model->result.queue_delay_max_ns = wait_ns;
    if (model->gate.limit.in_flight > model->result.in_flight_max)
        model->result.in_flight_max = model->gate.limit.in_flight;
}

static void give_back(struct flood_model *model, struct request *request)
{
    request->next = model->free;
    model->free = request;
}

static void take_turns(struct flood_model *model, struct fg_gate_turns *turns)
{
    for (struct fg_gate_entry *entry = turns->first; entry != NULL;) {
        struct fg_gate_entry *next = entry->next_turn;
        struct request *request = (struct request *)(void *)entry;
        if (entry->verdict == FG_GATE_ADMITTED) {
            send(model, request);
        } else {
            model->result.refused++;
            give_back(model, request);
        }
        entry = next;
    }
}

/* ---- events ---- */

static void arrive(struct flood_model *model, bool is_critical)
{
    struct request *request = model->free;
    assert_non_null(request);
    model->free = request->next;
    *request = (struct request){.arrived_ns = model->now_ns, .is_critical = is_critical};
    if (is_critical)
        model->result.critical++;
    else
        model->result.offered++;
    struct fg_gate_turns turns = {NULL, NULL};
    struct fg_gate_place place;
    enum fg_priority priority = is_critical ? FG_PRIORITY_CRITICAL : FG_PRIORITY_NORMAL;
    uint32_t cohort = (uint32_t)test_below(&model->seed, FG_PRIORITY_COHORT_COUNT);
    enum fg_gate_verdict verdict =
        fg_gate_policy_enter(&model->gate, &request->entry, fg_priority_compound(priority, cohort),
                             model->now_ns, model->now_ns + TIMEOUT_NS, &turns, &place);
    take_turns(model, &turns);
    if (verdict == FG_GATE_ADMITTED) {
        send(model, request);
    } else if (verdict != FG_GATE_QUEUED) {
        model->result.refused++;
        give_back(model, request);
    }
}

static void finish(struct flood_model *model, uint32_t index)
{
    struct request *request = model->working[index];
    model->working[index] = model->working[--model->working_count];
    uint64_t total_ns = model->now_ns - request->arrived_ns;
    if (total_ns > TIMEOUT_NS) {
        model->result.late++;
    } else if (request->is_critical) {
        model->result.good++;
        model->result.critical_good++;
        if (model->critical_latency_count < SAMPLES_MAX)
            model->critical_latencies[model->critical_latency_count++] = total_ns;
    } else {
        model->result.good++;
    }
    if (total_ns <= TIMEOUT_NS && model->latency_count < SAMPLES_MAX)
        model->latencies[model->latency_count++] = total_ns;
    struct fg_gate_result result = {.latency_ns = model->now_ns - request->sent_ns,
                                    .limit = FG_CONCURRENCY_SUCCESS,
                                    .breaker = FG_BREAKER_SUCCESS};
    struct fg_gate_turns turns = {NULL, NULL};
    fg_gate_policy_leave(&model->gate, model->now_ns, &result, &turns);
    give_back(model, request);
    take_turns(model, &turns);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t p99(uint64_t *values, size_t count)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof(*values), by_size);
    return values[count * 99 / 100];
}

static uint32_t first_done(const struct flood_model *model)
{
    uint32_t first = 0;
    for (uint32_t i = 1; i < model->working_count; i++) {
        if (model->working[i]->done_ns < model->working[first]->done_ns)
            first = i;
    }
    return first;
}

struct flood_result flood_run(struct flood_model *model, const struct flood_phase *phase)
{
    uint64_t ends_ns = model->now_ns + phase->duration_ns;
    double rate = phase->normal_per_s + phase->critical_per_s;
    double mean_ns = 1e9 / rate;
    uint64_t next_ns = model->now_ns + exponential_ns(model, mean_ns);
    model->phase = phase;
    model->result = (struct flood_result){0};
    model->latency_count = 0;
    model->critical_latency_count = 0;
    while (true) {
        work(model);
        uint32_t first = model->working_count > 0 ? first_done(model) : 0;
        bool is_done = model->working_count > 0 && model->working[first]->done_ns <= next_ns;
        uint64_t at_ns = is_done ? model->working[first]->done_ns : next_ns;
        if (at_ns >= ends_ns)
            break;
        if (at_ns > model->now_ns)
            model->now_ns = at_ns;
        if (is_done) {
            finish(model, first);
        } else {
            arrive(model, uniform(model) * rate < phase->critical_per_s);
            next_ns = model->now_ns + exponential_ns(model, mean_ns);
        }
    }
    model->now_ns = ends_ns;
    model->result.p99_ns = p99(model->latencies, model->latency_count);
    model->result.critical_p99_ns = p99(model->critical_latencies, model->critical_latency_count);
    model->result.limit = fg_concurrency_limit_current(&model->gate.limit);
    return model->result;
}

struct flood_model *flood_create(const struct fg_gate_policy_config *config, uint64_t seed)
{
    struct flood_model *model = calloc(1, sizeof(*model));
    assert_non_null(model);
    model->latencies = calloc(SAMPLES_MAX, sizeof(uint64_t));
    model->critical_latencies = calloc(SAMPLES_MAX, sizeof(uint64_t));
    assert_non_null(model->latencies);
    assert_non_null(model->critical_latencies);
    model->seed = seed;
    model->now_ns = S;
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        give_back(model, &model->requests[i]);
    fg_gate_policy_init(&model->gate, config, model->now_ns);
    return model;
}

void flood_destroy(struct flood_model *model)
{
    free(model->latencies);
    free(model->critical_latencies);
    free(model);
}

struct fg_gate_policy_config flood_cluster_config(enum fg_concurrency_mode mode)
{
    return (struct fg_gate_policy_config){
        .limit = fg_concurrency_limit_config_default(mode),
        .queue = {.capacity = 1024, .ageing_ns = S, .target_ns = 20 * MS, .interval_ns = 100 * MS},
        .level = fg_admission_level_config_default(),
        .wait_max_ns = 2 * S,
    };
}
