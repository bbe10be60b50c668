/*
 * test_pace.c: a waiting room without a number (admit: auto) before backends of which it knows
 * nothing: it finds what they can do, keeps the wait in the line, and follows when they change.
 */
#include "sim_fixture.h"

#define ROUTES                                                                                     \
    "routes: [{name: sale, match: {path: /sale}, to: cluster:shop, timeout: 5s,\n"                 \
    "  waiting_room: {admit: auto, waiting_max: 1000000}}]\n"
#define HEAD "listeners: [{address: '127.0.0.1:8443', kind: plain}]\n"

static const char adaptive[] = HEAD "clusters: {shop: {endpoints: ['127.0.0.1:3000']}}\n" ROUTES;
static const char fixed[] =
    HEAD "clusters: {shop: {endpoints: ['127.0.0.1:3000'], concurrency: "
         "{kind: fixed, limit: 8}, queue: {target: 200ms, interval: 1s}}}\n" ROUTES;

/* More people than can be served in the time, all at the beginning. */
#define SCENARIO                                                                                   \
    "duration: 180s\nseed: %u\n"                                                                   \
    "backends: {shop: {slots: %u, service: %ums, spread: exponential%s}}\n"                        \
    "crowds: {all: {arrivals: [{rate: 4000/s}, {at: 20s, rate: 4000/s}, {at: 20001ms, rate: "      \
    "0/s}],\n"                                                                                     \
    "  line_patience: 1h, journey: [{request: POST /sale, goal: true}]}}\n"

/* Requests that came in and were sent away by the backend's gate: they keep their place, and are
 * back in a second. */
static uint64_t refused_at_gate(const struct fg_tally_route *route)
{
    return route->refused[FG_REFUSED_QUEUE_FULL] + route->refused[FG_REFUSED_QUEUE_SHED] +
           route->refused[FG_REFUSED_QUEUE_TIMEOUT] + route->refused[FG_REFUSED_PRIORITY] +
           route->refused[FG_REFUSED_CANNOT_MEET_DEADLINE];
}

static void report(const struct sim *sim, double good, double capacity)
{
    const struct fg_tally_route *sale = sim_route_tally(sim, "sale");
    print_message("  %.1f/s of %.0f, mean wait %.1f ms, %llu refused of %llu\n", good, capacity,
                  (double)sim_wait_mean_ns(sim, "shop", 40 * FG_S, 180 * FG_S) / 1e6,
                  (unsigned long long)refused_at_gate(sale),
                  (unsigned long long)(refused_at_gate(sale) + sale->outcomes[FG_OUTCOME_GOOD]));
}

static void find(const char *name, const char *config, unsigned seed, unsigned slots,
                 unsigned service_ms)
{
    double capacity = slots * 1000.0 / service_ms;
    struct sim sim = sim_run(name, config, 1800, SCENARIO, seed, slots, service_ms, "");
    double good = sim_good_per_s(&sim, "sale", 60 * FG_S, 180 * FG_S);
    report(&sim, good, capacity);
    const struct fg_tally_route *sale = sim_route_tally(&sim, "sale");
    assert_true(good >= 0.85 * capacity);
    assert_true(refused_at_gate(sale) < 2 * sale->outcomes[FG_OUTCOME_GOOD]);
    sim_free(&sim);
}

static void finds_the_pace_of_a_backend_with_a_fixed_limit(void **state)
{
    (void)state;
    find("fixed limit, 400/s", fixed, 1, 8, 20);
    find("fixed limit, 40/s", fixed, 2, 8, 200);
}

static void finds_the_pace_together_with_an_adaptive_limit(void **state)
{
    (void)state;
    find("adaptive limit, 400/s", adaptive, 3, 8, 20);
    find("adaptive limit, 320/s", adaptive, 4, 64, 200);
}

static void follows_a_backend_that_loses_most_of_itself(void **state)
{
    (void)state;
    struct sim sim = sim_run("a quarter for a minute", fixed, 1800, SCENARIO, 5, 8, 20,
                             ", faults: [{at: 60s, for: 60s, slots: 25%}]");
    double before = sim_good_per_s(&sim, "sale", 50 * FG_S, 60 * FG_S);
    double during = sim_good_per_s(&sim, "sale", 75 * FG_S, 120 * FG_S);
    double after = sim_good_per_s(&sim, "sale", 150 * FG_S, 180 * FG_S);
    report(&sim, during, 100);
    print_message("  before %.1f/s, during %.1f/s, after %.1f/s\n", before, during, after);
    const struct fg_tally_route *sale = sim_route_tally(&sim, "sale");
    assert_true(before >= 0.7 * 400 && during >= 0.85 * 100 && after >= 0.85 * 400);
    assert_true(refused_at_gate(sale) < sale->outcomes[FG_OUTCOME_GOOD]);
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_pace_of_a_backend_with_a_fixed_limit),
        cmocka_unit_test(finds_the_pace_together_with_an_adaptive_limit),
        cmocka_unit_test(follows_a_backend_that_loses_most_of_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
