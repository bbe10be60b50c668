/*
 * flood_model.c: arrivals, the gate, a backend of slots with a queue of its own.
 * Clients  wait for their answer however late it comes, or leave after their time: then the gate
 *          has its slot back, and the backend works on for nobody.
 * Memory   requests from chunks that are kept until the end; what is worked on is a binary heap by
 *          the time it is done.
 */
#include "flood_model.h"

#include "policy_test.h"

#include <math.h>

#define TIMEOUT_USUAL_NS S
#define CHUNK_REQUESTS 4096
#define SAMPLES_MAX 400000
#define LOGNORMAL_SIGMA 1.0
#define STEPS 5 /* requests that an order takes */
#define THE_ONE UINT64_C(0x123456789abcdef1)
#define CLOSED_MAX 4096

struct request {
    struct fg_gate_entry entry;
    struct request *next; /* free list, or the backend's queue */
    uint64_t arrived_ns;
    uint64_t sent_ns;
    uint64_t begun_ns;
    uint64_t done_ns;
    struct fg_deadline_node patience; /* while it is at the backend and its client may leave */
    bool is_waited_for;
    bool has_left;
    bool is_critical;
    bool is_of_one;
    bool is_closed; /* whoever asked asks again */
    uint8_t cohort;
};

struct chunk {
    struct chunk *next;
    struct request requests[CHUNK_REQUESTS];
};

struct flood_model {
    struct fg_gate_policy gate;
    uint64_t seed;
    uint64_t now_ns;
    uint64_t phase_began_ns;
    uint64_t timeout_ns;
    const struct flood_phase *phase;
    struct flood_result result;
    double useful_ns;
    double wait_sum_ns;
    uint64_t sent_count;
    struct chunk *chunks;
    struct request *free;
    struct request *queued; /* at the backend, first come */
    struct request *queued_last;
    uint32_t queued_count;
    struct request **working;
    uint32_t working_count;
    uint32_t working_capacity;
    struct fg_deadline_heap patience;
    uint64_t thinking[CLOSED_MAX]; /* until when, of those who ask again; a ring, soonest first */
    uint32_t thinking_first;
    uint32_t thinking_count;
    uint32_t closed_count;
    uint64_t *latencies;
    size_t latency_count;
    uint64_t *critical_latencies;
    size_t critical_latency_count;
    uint64_t ended_of[FG_PRIORITY_COHORT_COUNT]; /* normal ones of the users with this lot */
    uint64_t good_of[FG_PRIORITY_COHORT_COUNT];
};

static double uniform(struct flood_model *model)
{
    return (double)(test_random(&model->seed) >> 11) * 0x1p-53;
}

static uint64_t exponential_ns(struct flood_model *model, double mean_ns)
{
    return (uint64_t)(-log(1 - uniform(model)) * mean_ns) + 1;
}

static uint64_t service_ns(struct flood_model *model)
{
    double mean_ns = (double)model->phase->service_ns;
    if (model->phase->kind == FLOOD_EVEN)
        return model->phase->service_ns;
    if (model->phase->kind == FLOOD_EXPONENTIAL)
        return exponential_ns(model, mean_ns);
    double normal =
        sqrt(-2 * log(1 - uniform(model))) * cos(2 * 3.14159265358979323846 * uniform(model));
    return (uint64_t)(mean_ns *
                      exp(LOGNORMAL_SIGMA * normal - LOGNORMAL_SIGMA * LOGNORMAL_SIGMA / 2)) +
           1;
}

/* All think for as long. */
static void think(struct flood_model *model)
{
    uint32_t at = (model->thinking_first + model->thinking_count++) % CLOSED_MAX;
    model->thinking[at] = model->now_ns + model->phase->think_ns;
}

/* ---- memory ---- */

static void give_back(struct flood_model *model, struct request *request)
{
    if (request->is_closed)
        think(model);
    request->is_closed = false;
    request->next = model->free;
    model->free = request;
}

static struct request *take(struct flood_model *model)
{
    if (model->free == NULL) {
        struct chunk *chunk = calloc(1, sizeof(*chunk));
        assert_non_null(chunk);
        chunk->next = model->chunks;
        model->chunks = chunk;
        for (size_t i = 0; i < CHUNK_REQUESTS; i++)
            give_back(model, &chunk->requests[i]);
    }
    struct request *request = model->free;
    model->free = request->next;
    return request;
}

/* ---- the heap of what is worked on ---- */

static void push_working(struct flood_model *model, struct request *request)
{
    if (model->working_count == model->working_capacity) {
        model->working_capacity = model->working_capacity == 0 ? 64 : 2 * model->working_capacity;
        model->working = realloc(model->working, model->working_capacity * sizeof(request));
        assert_non_null(model->working);
    }
    uint32_t at = model->working_count++;
    while (at > 0 && model->working[(at - 1) / 2]->done_ns > request->done_ns) {
        model->working[at] = model->working[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    model->working[at] = request;
}

static struct request *pop_working(struct flood_model *model)
{
    struct request *first = model->working[0];
    struct request *last = model->working[--model->working_count];
    uint32_t at = 0;
    for (uint32_t child = 1; child < model->working_count; child = 2 * at + 1) {
        if (child + 1 < model->working_count &&
            model->working[child + 1]->done_ns < model->working[child]->done_ns)
            child++;
        if (model->working[child]->done_ns >= last->done_ns)
            break;
        model->working[at] = model->working[child];
        at = child;
    }
    model->working[at] = last;
    return first;
}

/* ---- the backend ---- */

static void count_ended(struct flood_model *model, const struct request *request)
{
    if (request->is_critical) {
        model->result.critical++;
        return;
    }
    model->ended_of[request->cohort]++;
    model->result.of_others += !request->is_of_one;
}

static void work(struct flood_model *model)
{
    while (model->queued != NULL && model->working_count < model->phase->slots) {
        struct request *request = model->queued;
        model->queued = request->next;
        model->queued_count--;
        request->begun_ns = model->now_ns;
        request->done_ns = model->now_ns + service_ns(model);
        push_working(model, request);
    }
}

static void take_turns(struct flood_model *model, struct fg_gate_turns *turns);

static void leave(struct flood_model *model, struct request *request,
                  enum fg_concurrency_outcome outcome)
{
    struct fg_gate_result result = {.latency_ns = model->now_ns - request->sent_ns,
                                    .limit = outcome,
                                    .breaker = FG_BREAKER_SUCCESS};
    struct fg_gate_turns turns = {NULL, NULL};
    count_ended(model, request);
    if (request->is_waited_for)
        fg_deadline_heap_remove(&model->patience, &request->patience);
    request->is_waited_for = false;
    fg_gate_policy_leave(&model->gate, model->now_ns, &result, &turns);
    take_turns(model, &turns);
}

static void send(struct flood_model *model, struct request *request)
{
    uint64_t wait_ns = model->now_ns - request->arrived_ns;
    model->wait_sum_ns += (double)wait_ns;
    model->sent_count++;
    if (wait_ns > model->result.queue_delay_max_ns)
        model->result.queue_delay_max_ns = wait_ns;
    if (model->gate.limit.in_flight > model->result.in_flight_max)
        model->result.in_flight_max = model->gate.limit.in_flight;
    request->sent_ns = model->now_ns;
    if (model->phase->pending_max > 0 && model->queued_count >= model->phase->pending_max) {
        model->result.failed++;
        leave(model, request, FG_CONCURRENCY_DROPPED);
        give_back(model, request);
        return;
    }
    request->next = NULL;
    request->is_waited_for = model->phase->clients_leave;
    if (request->is_waited_for)
        fg_deadline_heap_push(&model->patience, &request->patience,
                              request->arrived_ns + model->timeout_ns);
    if (model->queued == NULL)
        model->queued = request;
    else
        model->queued_last->next = request;
    model->queued_last = request;
    model->queued_count++;
    work(model);
}

static void refuse(struct flood_model *model, struct request *request)
{
    uint64_t waited_ns = model->now_ns - request->arrived_ns;
    model->result.refused++;
    model->result.refused_late += waited_ns > 100 * MS;
    if (waited_ns > model->result.refused_longest_ns)
        model->result.refused_longest_ns = waited_ns;
    count_ended(model, request);
    give_back(model, request);
}

static void take_turns(struct flood_model *model, struct fg_gate_turns *turns)
{
    for (struct fg_gate_entry *entry = turns->first; entry != NULL;) {
        struct fg_gate_entry *next = entry->next_turn;
        struct request *request = (struct request *)(void *)entry;
        if (entry->verdict == FG_GATE_ADMITTED)
            send(model, request);
        else
            refuse(model, request);
        entry = next;
    }
}

/* ---- events ---- */

/* Who somebody of so many is, hashed (splitmix64's last step). */
static uint64_t hash_of(uint64_t number)
{
    number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
    return number ^ number >> 31;
}

/* Whose it is: somebody's who floods, or one of many people's. */
static uint64_t owner_of(struct flood_model *model, bool is_of_one)
{
    const struct flood_phase *phase = model->phase;
    uint32_t count = is_of_one ? phase->flooders : phase->people;
    if (phase->one_per_s <= 0)
        return 0;
    if (count > 0)
        return hash_of(THE_ONE + 2 * test_below(&model->seed, count) + is_of_one);
    return is_of_one ? THE_ONE : test_random(&model->seed);
}

/* A client's lot is the same each time. */
static uint32_t cohort_of(struct flood_model *model, bool is_of_one, uint64_t owner)
{
    const struct flood_phase *phase = model->phase;
    if (is_of_one && phase->flooders == 0)
        return 0;
    if ((is_of_one ? phase->flooders : phase->people) > 0)
        return (uint32_t)(owner >> 56) % FG_PRIORITY_COHORT_COUNT;
    return (uint32_t)test_below(&model->seed, FG_PRIORITY_COHORT_COUNT);
}

static void arrive(struct flood_model *model, bool is_critical, bool is_of_one, bool is_closed)
{
    struct request *request = take(model);
    uint64_t owner = owner_of(model, is_of_one);
    uint32_t cohort = cohort_of(model, is_of_one, owner);
    *request = (struct request){.arrived_ns = model->now_ns,
                                .is_critical = is_critical,
                                .is_of_one = is_of_one,
                                .is_closed = is_closed,
                                .cohort = (uint8_t)cohort};
    if (!is_critical)
        model->result.offered++;
    struct fg_gate_turns turns = {NULL, NULL};
    struct fg_gate_place place;
    enum fg_priority priority = is_critical ? FG_PRIORITY_CRITICAL : FG_PRIORITY_NORMAL;
    enum fg_gate_verdict verdict = fg_gate_policy_enter(
        &model->gate, &request->entry,
        &(struct fg_gate_arrival){.compound = fg_priority_compound(priority, cohort),
                                  .owner = owner,
                                  .deadline_ns = model->now_ns + model->timeout_ns},
        model->now_ns, &turns, &place);
    take_turns(model, &turns);
    if (verdict == FG_GATE_ADMITTED)
        send(model, request);
    else if (verdict != FG_GATE_QUEUED)
        refuse(model, request);
}

static void arrive_by_chance(struct flood_model *model, double rate)
{
    const struct flood_phase *phase = model->phase;
    double which = uniform(model) * rate;
    bool is_critical = which < phase->critical_per_s;
    arrive(model, is_critical, !is_critical && which < phase->critical_per_s + phase->one_per_s,
           false);
}

static void ask_again(struct flood_model *model)
{
    model->thinking_first = (model->thinking_first + 1) % CLOSED_MAX;
    model->thinking_count--;
    arrive(model, false, false, true);
}

/* The part of its work that was done in this phase was useful. */
static void count_useful(struct flood_model *model, const struct request *request)
{
    uint64_t begun_ns = request->begun_ns;
    if (request->done_ns - request->arrived_ns > model->timeout_ns)
        return;
    if (begun_ns < model->phase_began_ns)
        begun_ns = model->phase_began_ns;
    uint64_t end_ns = request->done_ns < model->now_ns ? request->done_ns : model->now_ns;
    model->useful_ns += (double)(end_ns - begun_ns);
}

static void finish(struct flood_model *model)
{
    struct request *request = pop_working(model);
    uint64_t total_ns = model->now_ns - request->arrived_ns;
    model->result.admitted++;
    count_useful(model, request);
    if (total_ns > model->timeout_ns) {
        model->result.late++;
    } else {
        model->result.good++;
        if (model->latency_count < SAMPLES_MAX)
            model->latencies[model->latency_count++] = total_ns;
        if (request->is_critical) {
            model->result.critical_good++;
            if (model->critical_latency_count < SAMPLES_MAX)
                model->critical_latencies[model->critical_latency_count++] = total_ns;
        } else {
            model->good_of[request->cohort]++;
            model->result.of_others_good += !request->is_of_one;
        }
    }
    if (!request->has_left)
        leave(model, request, FG_CONCURRENCY_SUCCESS);
    give_back(model, request);
}

/* The client has waited long enough. */
static void lose_patience(struct flood_model *model)
{
    char *node = (char *)model->patience.root - offsetof(struct request, patience);
    struct request *request = (struct request *)(void *)node;
    request->has_left = true;
    leave(model, request, FG_CONCURRENCY_CUT_SHORT);
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

static void begin_phase(struct flood_model *model, const struct flood_phase *phase)
{
    model->phase = phase;
    model->phase_began_ns = model->now_ns;
    model->timeout_ns = phase->timeout_ns == 0 ? TIMEOUT_USUAL_NS : phase->timeout_ns;
    model->result = (struct flood_result){0};
    model->latency_count = 0;
    model->critical_latency_count = 0;
    model->useful_ns = 0;
    model->wait_sum_ns = 0;
    model->sent_count = 0;
    memset(model->ended_of, 0, sizeof(model->ended_of));
    memset(model->good_of, 0, sizeof(model->good_of));
    assert_true(phase->closed <= CLOSED_MAX);
    for (; model->closed_count < phase->closed; model->closed_count++)
        think(model);
    work(model);
}

/* Of all that was served, how much went to those who get STEPS answers in a row? */
static double share_of_whole(const struct flood_model *model)
{
    double good = 0, whole = 0;
    for (unsigned i = 0; i < FG_PRIORITY_COHORT_COUNT; i++) {
        double served = (double)model->good_of[i];
        if (model->ended_of[i] > 0)
            whole += served * pow(served / (double)model->ended_of[i], STEPS - 1);
        good += served;
    }
    return good > 0 ? whole / good : 0;
}

static void end_phase(struct flood_model *model)
{
    for (uint32_t i = 0; i < model->working_count; i++)
        count_useful(model, model->working[i]);
    struct flood_result *result = &model->result;
    result->useful = model->useful_ns / ((double)model->phase->duration_ns * model->phase->slots);
    result->p99_ns = p99(model->latencies, model->latency_count);
    result->critical_p99_ns = p99(model->critical_latencies, model->critical_latency_count);
    result->whole = share_of_whole(model);
    if (model->sent_count > 0)
        result->wait_mean_ns = (uint64_t)(model->wait_sum_ns / (double)model->sent_count);
    result->limit = fg_concurrency_limit_current(&model->gate.limit);
}

struct flood_result flood_run(struct flood_model *model, const struct flood_phase *phase)
{
    uint64_t ends_ns = model->now_ns + phase->duration_ns;
    double rate = phase->normal_per_s + phase->critical_per_s + phase->one_per_s;
    double mean_ns = rate > 0 ? 1e9 / rate : 1e18; /* never */
    uint64_t next_ns = model->now_ns + exponential_ns(model, mean_ns);
    begin_phase(model, phase);
    while (true) {
        uint64_t done_ns = model->working_count > 0 ? model->working[0]->done_ns : UINT64_MAX;
        uint64_t expiry_ns = fg_gate_policy_next_expiry_ns(&model->gate);
        uint64_t patience_ns =
            model->patience.root != NULL ? model->patience.root->deadline_ns : UINT64_MAX;
        uint64_t again_ns =
            model->thinking_count > 0 ? model->thinking[model->thinking_first] : UINT64_MAX;
        uint64_t at_ns = done_ns <= next_ns ? done_ns : next_ns;
        if (again_ns < at_ns)
            at_ns = again_ns;
        if (expiry_ns < at_ns)
            at_ns = expiry_ns;
        if (patience_ns < at_ns)
            at_ns = patience_ns;
        if (at_ns >= ends_ns)
            break;
        if (at_ns > model->now_ns)
            model->now_ns = at_ns;
        if (at_ns == expiry_ns) {
            struct fg_gate_turns turns = {NULL, NULL};
            fg_gate_policy_expire(&model->gate, model->now_ns, &turns);
            take_turns(model, &turns);
        } else if (at_ns == patience_ns) {
            lose_patience(model);
        } else if (at_ns == again_ns) {
            ask_again(model);
        } else if (at_ns == done_ns) {
            finish(model);
            work(model);
        } else {
            arrive_by_chance(model, rate);
            next_ns = model->now_ns + exponential_ns(model, mean_ns);
        }
    }
    model->now_ns = ends_ns;
    end_phase(model);
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
    fg_gate_policy_init(&model->gate, config, model->now_ns);
    return model;
}

void flood_destroy(struct flood_model *model)
{
    while (model->chunks != NULL) {
        struct chunk *next = model->chunks->next;
        free(model->chunks);
        model->chunks = next;
    }
    free(model->working);
    free(model->latencies);
    free(model->critical_latencies);
    free(model);
}

const struct fg_gate_policy *flood_gate(const struct flood_model *model)
{
    return &model->gate;
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
