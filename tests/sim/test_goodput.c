/*
 * test_goodput.c: at 2 to 20 times what the backend can do, useful work stays at its peak, the
 * critical requests get through, and who is let in is served in time; without the policies the
 * same flood leaves next to nothing.
 */
#include "sim_fixture.h"

/* An adaptive limit, no number that describes the backend. */
#define CONFIG(gate)                                                                               \
    "listeners: [{address: '127.0.0.1:8443', kind: plain}]\n"                                      \
    "clusters: {shop: {endpoints: ['127.0.0.1:3000']" gate "}}\n"                                  \
    "routes:\n"                                                                                    \
    "  - {name: order, match: {path: /order}, to: cluster:shop, priority: critical, timeout: "     \
    "1s}\n"                                                                                        \
    "  - {name: browse, match: {path: /browse}, to: cluster:shop, priority: normal, timeout: "     \
    "1s}\n"                                                                                        \
    "  - {name: feed, match: {path: /feed}, to: cluster:shop, priority: low, timeout: 1s}\n"

static const char with_policies[] = CONFIG("");
static const char without_policies[] =
    CONFIG(", max_connections: 100000, concurrency: {kind: fixed, limit: 100000}, queue: "
           "{requests_max: 100000, wait_max: 1h, target: off}, breaker: {enabled: false}");

/* 8 slots of 20 ms: 400/s. A tenth of the capacity is orders, the rest is beyond all bounds. */
#define SCENARIO                                                                                   \
    "duration: 40s\n"                                                                              \
    "seed: %u\n"                                                                                   \
    "backends: {shop: {slots: 8, service: 20ms, spread: exponential}}\n"                           \
    "crowds:\n"                                                                                    \
    "  buyers: {arrivals: [{rate: 40/s}], journey: [POST /order], patience: 1s, retry: 1}\n"       \
    "  guests: {arrivals: [{rate: %u/s}], journey: [GET /browse], patience: 1s, retry: 1}\n"       \
    "  robots: {arrivals: [{rate: %u/s}], journey: [GET /feed], patience: 1s, retry: 1}\n"

#define CAPACITY 400.0
#define SEEDS 5 /* for each load */

static void report(const struct sim *sim, double peak)
{
    const struct fg_tally_backend *shop = &sim->tally->backends[sim_backend(sim, "shop")];
    print_message("  goodput %.1f/s (peak %.1f), orders %.4f, wait p50 %.1f ms p99 %.1f ms\n",
                  sim_good_per_s(sim, NULL, 10 * FG_S, 40 * FG_S), peak,
                  sim_good_share(sim, "order"),
                  (double)fg_histogram_quantile(&shop->wait, 5000) / 1e6,
                  (double)fg_histogram_quantile(&shop->wait, 9900) / 1e6);
}

static double admitted_in_time(const struct sim *sim)
{
    uint64_t admitted = 0;
    uint64_t good = 0;
    for (size_t i = 0; i < sim->tally->route_count; i++) {
        admitted += sim->tally->routes[i].admitted;
        good += sim->tally->routes[i].admitted_good;
    }
    return (double)good / (double)admitted;
}

static void flood_once(unsigned factor, unsigned seed)
{
    char name[64];
    snprintf(name, sizeof(name), "%ux", factor);
    unsigned rest = (unsigned)CAPACITY * factor - 40;
    struct sim sim = sim_run(name, with_policies, 400, SCENARIO, seed, rest / 2, rest - rest / 2);
    report(&sim, CAPACITY);
    assert_true(sim_good_per_s(&sim, NULL, 10 * FG_S, 40 * FG_S) >= 0.95 * CAPACITY);
    assert_true(sim_good_share(&sim, "order") >= 0.999);
    assert_true(admitted_in_time(&sim) >= 0.99);
    sim_free(&sim);
}

/* In every run, not in the mean. */
static void flood(unsigned factor, unsigned seed)
{
    for (unsigned i = 0; i < SEEDS; i++)
        flood_once(factor, seed + i * 100);
}

static void goodput_stays_at_2_times_the_load(void **state)
{
    (void)state;
    flood(2, 1);
}

static void goodput_stays_at_5_times_the_load(void **state)
{
    (void)state;
    flood(5, 2);
}

static void goodput_stays_at_10_times_the_load(void **state)
{
    (void)state;
    flood(10, 3);
}

static void goodput_stays_at_20_times_the_load(void **state)
{
    (void)state;
    flood(20, 4);
}

static void without_policies_the_same_flood_leaves_nothing(void **state)
{
    (void)state;
    struct sim sim = sim_run("without policies, 5x", without_policies, 400, SCENARIO, 2, 980, 980);
    report(&sim, CAPACITY);
    assert_true(sim_good_per_s(&sim, NULL, 10 * FG_S, 40 * FG_S) < 0.1 * CAPACITY);
    assert_true(sim_good_share(&sim, "order") < 0.1);
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goodput_stays_at_2_times_the_load),
        cmocka_unit_test(goodput_stays_at_5_times_the_load),
        cmocka_unit_test(goodput_stays_at_10_times_the_load),
        cmocka_unit_test(goodput_stays_at_20_times_the_load),
        cmocka_unit_test(without_policies_the_same_flood_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
