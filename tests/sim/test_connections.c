/*
 * test_connections.c: a crowd that comes in over TLS: handshakes have a part of the loops' time and
 * no more, wait in a bounded line, and connections are as many as the configuration says.
 */
#include "sim_fixture.h"

#include "rehearse/summary.h"

/* Two loops; a request of the shop costs next to nothing beside a handshake. */
#define CONFIG(limits)                                                                             \
    "listeners: [{address: '127.0.0.1:8443', certificate: none.pem, private_key: "                 \
    "none.pem}]\n" limits "\n"                                                                     \
    "clusters: {shop: {endpoints: ['127.0.0.1:3000'], concurrency: {kind: fixed, limit: 200}}}\n"  \
    "routes: [{name: browse, match: {path: /browse}, to: cluster:shop, timeout: 5s},\n"            \
    "  {name: order, match: {path: /order}, to: cluster:shop, priority: critical, timeout: 5s}]\n"
#define SCENARIO                                                                                   \
    "duration: 30s\nseed: %u\n"                                                                    \
    "gateway: {threads: 2, handshake_cpu: 1ms, resumed_cpu: 200us}\n"                              \
    "backends: {shop: {slots: 500, service: 5ms}}\n"                                               \
    "crowds:\n"                                                                                    \
    "  members: {arrivals: [{rate: 10/s}], patience: 5s, retry: 1,\n"                              \
    "    journey: [{request: GET /order, times: 20, think: 500ms, optional: true}]}\n"             \
    "  guests: {arrivals: [{at: 10s, rate: 0/s}, {at: 10001ms, rate: %u/s}, {at: 20s, rate: "      \
    "%u/s},\n"                                                                                     \
    "    {at: 20001ms, rate: 0/s}], resumes: %u%%, patience: 5s, retry: 1, journey: [GET "         \
    "/browse]}\n"

static uint64_t refused(const struct sim *sim, const char *route, unsigned reason)
{
    return sim_route_tally(sim, route)->refused[reason];
}

static struct sim flood(const char *name, const char *config, unsigned rate, unsigned resumed)
{
    return sim_run(name, config, 300, SCENARIO, 1, rate, rate, resumed);
}

/* Two loops can shake 2,000 hands a second. */
static void a_rate_that_the_loops_can_greet_is_greeted(void **state)
{
    (void)state;
    struct sim sim = flood("1500 handshakes a second", CONFIG(""), 1500, 0);
    print_message("  browse %.4f\n", sim_good_share(&sim, "browse"));
    assert_true(sim_good_share(&sim, "browse") >= 0.999);
    sim_free(&sim);
}

/* Twice as many: half come in vain, those who are in notice nothing. */
static void who_is_connected_notices_nothing_of_a_flood_of_handshakes(void **state)
{
    (void)state;
    struct sim sim =
        flood("4000 handshakes a second", CONFIG("tls: {handshakes_waiting_max: 200}"), 4000, 0);
    const struct fg_tally_route *browse = sim_route_tally(&sim, "browse");
    uint64_t p99_ns = fg_histogram_quantile(&sim_route_tally(&sim, "order")->latency, 9900);
    print_message("  browse %.4f, shed %llu; order %.4f, p99 %.1f ms\n",
                  sim_good_share(&sim, "browse"),
                  (unsigned long long)browse->refused[FG_TALLY_HANDSHAKES_WAITING],
                  sim_good_share(&sim, "order"), (double)p99_ns / 1e6);
    assert_true(browse->refused[FG_TALLY_HANDSHAKES_WAITING] > 15000);
    assert_true(browse->outcomes[FG_OUTCOME_GOOD] > 18000); /* all that there was time for */
    assert_true(browse->refused[FG_REFUSED_OVERLOAD] == 0);
    assert_true(sim_good_share(&sim, "order") > 0.93); /* but for those who come new just then */
    assert_true(p99_ns < 200 * FG_MS);
    assert_true(sim_good_per_s(&sim, "order", 22 * FG_S, 28 * FG_S) > 100);
    sim_free(&sim);
}

static void who_resumes_costs_a_fraction(void **state)
{
    (void)state;
    struct sim sim = flood("all resume", CONFIG("tls: {handshakes_waiting_max: 200}"), 4000, 100);
    print_message("  browse %.4f\n", sim_good_share(&sim, "browse"));
    assert_true(sim_good_share(&sim, "browse") >= 0.999);
    sim_free(&sim);
}

static void under_pressure_only_who_resumes_is_let_in(void **state)
{
    (void)state;
    struct sim sim =
        flood("half resume", CONFIG("policies: {overload: {handshakes_max: 100}}"), 4000, 50);
    struct fg_bite bites[FG_BITES_MAX];
    assert_true(fg_summary_bites(sim.tally, bites) > 0);
    uint64_t shed = sim_route_tally(&sim, "browse")->shed[FG_OVERLOAD_HANDSHAKES];
    print_message("  first %s, %llu; browse %.4f\n", bites[0].what, (unsigned long long)shed,
                  sim_good_share(&sim, "browse"));
    assert_string_equal(bites[0].what, "overload.handshakes");
    assert_true(shed > 5000);
    assert_true(sim_route_tally(&sim, "browse")->outcomes[FG_OUTCOME_GOOD] >= 19000);
    sim_free(&sim);
}

static void there_are_as_many_connections_as_the_configuration_says(void **state)
{
    (void)state;
    static const char staying[] =
        "duration: 60s\nseed: 2\n%s"
        "crowds: {all: {arrivals: [{rate: 20/s}], patience: 5s, retry: 1,\n"
        "  journey: [GET /browse, {request: GET /order, think: 20s, optional: true}]}}\n";
    static const char bare[] =
        CONFIG("limits: {connections_max: 100}\n"
               "policies: {overload: {connections: {address_share: off, shorten_idle: off, "
               "stop_keep_alive: off}}}");
    struct sim sim = sim_run("100 connections", bare, 300, staying, "");
    struct sim eased = sim_run("steps are taken before", CONFIG("limits: {connections_max: 100}"),
                               300, staying, "");
    struct sim shared = sim_run("shared", CONFIG("limits: {connections_max: 100}"), 300, staying,
                                "gateway: {connections: shared}\n");
    print_message("  refused %llu, with the steps %llu\n",
                  (unsigned long long)refused(&sim, "browse", FG_TALLY_CONNECTIONS),
                  (unsigned long long)refused(&eased, "browse", FG_TALLY_CONNECTIONS));
    assert_true(refused(&sim, "browse", FG_TALLY_CONNECTIONS) > 200);
    assert_true(refused(&eased, "browse", FG_TALLY_CONNECTIONS) < 100);
    assert_true(refused(&shared, "browse", FG_TALLY_CONNECTIONS) == 0);
    sim_free(&sim);
    sim_free(&eased);
    sim_free(&shared);
}

/* A user who looks away for longer than idle_timeout comes back over a new connection. */
static void idle_connections_make_room(void **state)
{
    (void)state;
    static const char config[] = CONFIG("limits: {connections_max: 150, idle_timeout: 1s}");
    struct sim sim =
        sim_run("idle for a second", config, 300,
                "duration: 60s\nseed: 3\n"
                "crowds: {all: {arrivals: [{rate: 20/s}], patience: 5s, retry: 1,\n"
                "  journey: [GET /browse, {request: GET /order, think: 20s, optional: true}]}}\n");
    print_message("  refused %llu\n",
                  (unsigned long long)refused(&sim, "browse", FG_TALLY_CONNECTIONS));
    assert_true(refused(&sim, "browse", FG_TALLY_CONNECTIONS) == 0);
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_that_the_loops_can_greet_is_greeted),
        cmocka_unit_test(who_is_connected_notices_nothing_of_a_flood_of_handshakes),
        cmocka_unit_test(who_resumes_costs_a_fraction),
        cmocka_unit_test(under_pressure_only_who_resumes_is_let_in),
        cmocka_unit_test(there_are_as_many_connections_as_the_configuration_says),
        cmocka_unit_test(idle_connections_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
