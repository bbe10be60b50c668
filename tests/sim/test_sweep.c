/*
 * test_sweep.c: what admission promises under a flood, over many seeds and very different backends:
 * 2 to 500 slots of 5 ms to half a second, even, exponential and log-normal, each kind of limit.
 * A run that fails prints its seed and its backend; FG_TEST_SEED=N runs every case with that seed.
 */
#include "flood_model.h"

#include "policy_test.h"

#define CRITICAL_SHARE 0.1
#define LOTTERY_RUNS 60
#define BACKENDS 36
#define EACH_PER_S 20 /* what an address that floods asks for at least */

static const unsigned loads[] = {2, 5, 10, 20};
static const uint32_t sizes[] = {2, 8, 64, 500};
static const uint64_t services[] = {5 * MS, 20 * MS, 500 * MS};
static const enum flood_service kinds[] = {FLOOD_EXPONENTIAL, FLOOD_LOGNORMAL, FLOOD_EVEN};
static const char *const kind_names[] = {"even", "exponential", "log-normal"};
static const char *const mode_names[] = {"fixed", "gradient2", "vegas", "aimd"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What one kind of limit has to keep. */
struct promise {
    enum fg_concurrency_mode mode;
    unsigned seeds;    /* for each load */
    double warm;       /* service times from a cold start until the limit is found */
    bool has_critical; /* nothing at the backend refuses critical ones by chance */
};

struct backend {
    uint32_t slots;
    uint64_t service_ns;
    enum flood_service kind;
};

struct sums {
    uint64_t critical;
    uint64_t critical_good;
    uint64_t admitted;
    uint64_t late;
    double useful_least;
    double useful_sum;
    unsigned runs;
};

/* Seed after seed through all 36 combinations. */
static struct backend backend_of(unsigned index)
{
    return (struct backend){.slots = sizes[index % COUNT(sizes)],
                            .service_ns = services[index / COUNT(sizes) % COUNT(services)],
                            .kind = kinds[index / COUNT(sizes) / COUNT(services) % COUNT(kinds)]};
}

/*
 * One request in a hundred takes more than six times the mean, and its slot with it; of half a
 * second some take longer than their client waits. What that leaves of two slots in one run is
 * chance: with a fixed limit of three it is down to 0.91, too.
 */
static bool is_a_lottery(const struct backend *backend)
{
    return backend->slots == 2 &&
           (backend->service_ns == 500 * MS || backend->kind == FLOOD_LOGNORMAL);
}

static struct flood_phase flood_of(const struct backend *backend, double load)
{
    double capacity = backend->slots * 1e9 / (double)backend->service_ns;
    uint64_t patience_ns = 20 * backend->service_ns;
    return (struct flood_phase){.slots = backend->slots,
                                .service_ns = backend->service_ns,
                                .kind = backend->kind,
                                .critical_per_s = CRITICAL_SHARE * capacity,
                                .normal_per_s = (load - CRITICAL_SHARE) * capacity,
                                .timeout_ns = patience_ns > S ? patience_ns : S};
}

static uint64_t times(const struct backend *backend, double count)
{
    uint64_t unit_ns = backend->service_ns > 20 * MS ? backend->service_ns : 20 * MS;
    return (uint64_t)(count * (double)unit_ns);
}

static struct flood_result run(const struct promise *promise, const struct backend *backend,
                               unsigned load, uint64_t seed)
{
    struct fg_gate_policy_config config = flood_cluster_config(promise->mode);
    struct flood_phase flood = flood_of(backend, load);
    bool is_large = backend->slots > 64;
    if (promise->mode == FG_CONCURRENCY_FIXED)
        config.limit.limit_initial = backend->slots + backend->slots / 4 + 1;
    if (promise->mode == FG_CONCURRENCY_AIMD)
        flood.pending_max = backend->slots; /* it learns from refusals only */
    struct flood_model *model = flood_create(&config, seed);
    flood.duration_ns = times(backend, promise->warm);
    (void)flood_run(model, &flood);
    flood.duration_ns = times(backend, is_large ? 40 : 400);
    struct flood_result result = flood_run(model, &flood);
    flood_destroy(model);
    return result;
}

static void add(struct sums *sums, const struct flood_result *result)
{
    sums->critical += result->critical;
    sums->critical_good += result->critical_good;
    sums->admitted += result->admitted;
    sums->late += result->late;
    sums->useful_sum += result->useful;
    sums->runs++;
    if (result->useful < sums->useful_least)
        sums->useful_least = result->useful;
}

/* The share of the slots' time that has to be spent on answers in time. */
static double least_of(const struct backend *backend)
{
    return is_a_lottery(backend) && backend->kind == FLOOD_LOGNORMAL ? 0.88 : 0.95;
}

static void sweep(const struct promise *promise, unsigned load)
{
    struct sums sums = {.useful_least = 1};
    uint64_t base = test_seed(load * 1000);
    for (unsigned i = 0; i < promise->seeds; i++) {
        struct backend backend = backend_of(i + load);
        struct flood_result result = run(promise, &backend, load, base + i);
        double least = least_of(&backend);
        if (!is_a_lottery(&backend))
            add(&sums, &result);
        if (result.useful < least)
            print_message("  seed %llu: %u slots of %llu ms, %s: %.4f of the peak\n",
                          (unsigned long long)(base + i), backend.slots,
                          (unsigned long long)(backend.service_ns / MS), kind_names[backend.kind],
                          result.useful);
        assert_true(result.useful >= least);
    }
    double critical = (double)sums.critical_good / (double)sums.critical;
    double in_time = 1 - (double)sums.late / (double)sums.admitted;
    double useful = sums.useful_sum / sums.runs;
    print_message("  %s at %ux: goodput %.4f, at least %.4f; critical %.5f; in time %.5f\n",
                  mode_names[promise->mode], load, useful, sums.useful_least, critical, in_time);
    assert_true(useful >= 0.97);
    assert_true(in_time >= 0.99);
    assert_true(!promise->has_critical || critical >= 0.999);
}

static void sweep_loads(const struct promise *promise)
{
    for (size_t i = 0; i < COUNT(loads); i++)
        sweep(promise, loads[i]);
}

/* From 4 slots, whatever there are. */
static void goodput_stays_with_gradient2(void **state)
{
    (void)state;
    sweep_loads(&(struct promise){
        .mode = FG_CONCURRENCY_GRADIENT2, .seeds = 20, .warm = 200, .has_critical = true});
}

static void goodput_stays_with_vegas(void **state)
{
    (void)state;
    sweep_loads(&(struct promise){
        .mode = FG_CONCURRENCY_VEGAS, .seeds = 10, .warm = 200, .has_critical = true});
}

static void goodput_stays_with_aimd(void **state)
{
    (void)state;
    sweep_loads(&(struct promise){.mode = FG_CONCURRENCY_AIMD, .seeds = 10, .warm = 200});
}

/* Who knows the slots and says so has nothing to find out. */
static void goodput_stays_with_a_fixed_limit(void **state)
{
    (void)state;
    sweep_loads(&(struct promise){
        .mode = FG_CONCURRENCY_FIXED, .seeds = 10, .warm = 20, .has_critical = true});
}

static double mean_useful(enum fg_concurrency_mode mode, const struct backend *backend)
{
    const struct promise promise = {.mode = mode, .warm = mode == FG_CONCURRENCY_FIXED ? 20 : 200};
    uint64_t base = test_seed(9000);
    double sum = 0;
    for (unsigned i = 0; i < LOTTERY_RUNS; i++)
        sum += run(&promise, backend, loads[i % COUNT(loads)], base + i).useful;
    return sum / LOTTERY_RUNS;
}

/* What is chance in one run is none in the mean: two slots, found, are worth two that are known. */
static void of_two_slots_no_more_is_lost_than_with_a_known_limit(void **state)
{
    (void)state;
    static const struct backend backends[] = {{2, 20 * MS, FLOOD_LOGNORMAL},
                                              {2, 500 * MS, FLOOD_LOGNORMAL},
                                              {2, 500 * MS, FLOOD_EXPONENTIAL}};
    for (size_t i = 0; i < COUNT(backends); i++) {
        double known = mean_useful(FG_CONCURRENCY_FIXED, &backends[i]);
        double gradient2 = mean_useful(FG_CONCURRENCY_GRADIENT2, &backends[i]);
        double vegas = mean_useful(FG_CONCURRENCY_VEGAS, &backends[i]);
        print_message("  %llu ms, %s: known %.4f, gradient2 %.4f, vegas %.4f\n",
                      (unsigned long long)(backends[i].service_ns / MS),
                      kind_names[backends[i].kind], known, gradient2, vegas);
        assert_true(gradient2 >= known - 0.01 && gradient2 >= 0.97);
        assert_true(vegas >= known - 0.01 && vegas >= 0.97);
    }
}

/* Of a tenth of what there is, while so many addresses ask for ten times all: the share served. */
static double people_served(const struct backend *backend, uint32_t flooders, uint64_t seed)
{
    struct fg_gate_policy_config config = flood_cluster_config(FG_CONCURRENCY_GRADIENT2);
    struct flood_phase flood = flood_of(backend, 1 - CRITICAL_SHARE);
    struct flood_model *model = flood_create(&config, seed);
    double rounds = backend->slots > 64 ? 40 : 200;
    flood.duration_ns = times(backend, rounds);
    (void)flood_run(model, &flood);
    flood.normal_per_s = flood.critical_per_s;
    flood.critical_per_s = 0;
    flood.flooders = flooders;
    flood.one_per_s = 100 * flood.normal_per_s;
    if (flood.one_per_s < EACH_PER_S * flooders)
        flood.one_per_s = EACH_PER_S * flooders;
    (void)flood_run(model, &flood); /* they are found out */
    struct flood_result result = flood_run(model, &flood);
    flood_destroy(model);
    return (double)result.of_others_good / (double)result.of_others;
}

/* Two slots are not shared out by anybody: who passes by while one is free has it. */
static void many_addresses_flood_nobody_but_themselves(void **state)
{
    (void)state;
    static const uint32_t flooders[] = {16, 64, 256};
    uint64_t base = test_seed(7000);
    double sum = 0;
    unsigned runs = 0;
    for (unsigned index = 0; index < BACKENDS; index++) {
        struct backend backend = backend_of(index);
        uint32_t count = flooders[index % COUNT(flooders)];
        if (backend.slots == 2)
            continue;
        double served = people_served(&backend, count, base + index);
        if (served < 0.9)
            print_message("  seed %llu: %u slots of %llu ms, %s: %.4f beside %u\n",
                          (unsigned long long)(base + index), backend.slots,
                          (unsigned long long)(backend.service_ns / MS), kind_names[backend.kind],
                          served, count);
        assert_true(served >= 0.85);
        sum += served;
        runs++;
    }
    print_message("  of people beside 16 to 256 addresses that flood %.4f are served\n",
                  sum / runs);
    assert_true(sum / runs >= 0.95);
}

/* The same floods without limit, queue and level: nearly everything is late. */
static void without_policies_each_of_them_collapses(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT(loads); i++) {
        struct fg_gate_policy_config config = flood_cluster_config(FG_CONCURRENCY_FIXED);
        struct backend backend = {.slots = 8, .service_ns = 20 * MS, .kind = kinds[i % 2]};
        struct flood_phase flood = flood_of(&backend, loads[i]);
        config.limit.limit_initial = UINT32_MAX;
        config.queue = (struct fg_queue_config){.capacity = UINT32_MAX};
        config.level.window_ns = 0;
        struct flood_model *model = flood_create(&config, test_seed(i + 1));
        flood.duration_ns = 5 * S;
        (void)flood_run(model, &flood);
        struct flood_result result = flood_run(model, &flood);
        flood_destroy(model);
        print_message("  at %ux: goodput %.4f of the peak, %llu late\n", loads[i], result.useful,
                      (unsigned long long)result.late);
        assert_true(result.useful < 0.1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goodput_stays_with_gradient2),
        cmocka_unit_test(goodput_stays_with_vegas),
        cmocka_unit_test(goodput_stays_with_aimd),
        cmocka_unit_test(goodput_stays_with_a_fixed_limit),
        cmocka_unit_test(of_two_slots_no_more_is_lost_than_with_a_known_limit),
        cmocka_unit_test(many_addresses_flood_nobody_but_themselves),
        cmocka_unit_test(without_policies_each_of_them_collapses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
