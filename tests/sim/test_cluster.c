/*
 * test_cluster.c: what stands between a gate and its servers: exact limits of the cluster, breakers
 * and ejections of single endpoints, spare endpoints, and request memory that is kept for some.
 */
#include "sim_fixture.h"

#include "rehearse/summary.h"

#define HEAD "listeners: [{address: '127.0.0.1:8443', kind: plain}]\n"
#define TWO "clusters: {shop: {endpoints: ['127.0.0.1:3000', '127.0.0.1:3001']"
#define ROUTES                                                                                     \
    "}}\n"                                                                                         \
    "routes:\n"                                                                                    \
    "  - {name: order, match: {path: /order}, to: cluster:shop, priority: critical, timeout: "     \
    "2s}\n"                                                                                        \
    "  - {name: browse, match: {path: /browse}, to: cluster:shop, priority: low, timeout: 2s}\n"

static uint64_t refused(const struct sim *sim, const char *route, unsigned reason)
{
    return sim_route_tally(sim, route)->refused[reason];
}

static uint64_t failed(const struct sim *sim, const char *route)
{
    return sim_route_tally(sim, route)->outcomes[FG_OUTCOME_FAILED];
}

/* ---- limits ---- */

static const char busy[] =
    "duration: 20s\nseed: %u\nbackends: {shop: {slots: 100, service: 100ms}}\n"
    "crowds:\n"
    "  buyers: {arrivals: [{rate: 100/s}], journey: [POST /order], patience: 3s, retry: 1}\n"
    "  guests: {arrivals: [{rate: 600/s}], journey: [GET /browse], patience: 3s, retry: 1}\n";

#define FIXED "concurrency: {kind: fixed, limit: 200}, breaker: {enabled: false}"
/* Whatever the gate would hold back comes through. */
#define OPEN                                                                                       \
    "concurrency: {kind: fixed, limit: 40, shadow: true}, queue: {shadow: true}, breaker: "        \
    "{enabled: false}"

static bool keep_most(void *ctx, const struct fg_simulation_progress *progress)
{
    uint32_t *most = ctx;
    uint32_t in_flight =
        fg_concurrency_limit_in_flight(&fg_gateway_model_gate(progress->gateway, 0)->limit);
    most[0] = in_flight > most[0] ? in_flight : most[0];
    return true;
}

static void no_more_requests_than_the_cluster_may_have(void **state)
{
    (void)state;
    uint32_t most = 0;
    struct sim sim =
        sim_watch("limits.requests", HEAD TWO ", " FIXED ", limits: {requests: 40}" ROUTES, 2000,
                  keep_most, &most, busy, 1);
    print_message("  at most %u, refused %llu\n", most,
                  (unsigned long long)refused(&sim, "browse", FG_TALLY_CLUSTER_REQUESTS));
    assert_int_equal(most, 40);
    assert_true(refused(&sim, "browse", FG_TALLY_CLUSTER_REQUESTS) > 2000);
    assert_true(sim_good_per_s(&sim, NULL, 2 * FG_S, 20 * FG_S) > 0.9 * 400);
    sim_free(&sim);
}

/* 40 connections of 100 ms are 400/s; who waits for one goes by priority. */
static void who_waits_for_a_connection_goes_by_priority(void **state)
{
    (void)state;
    struct sim sim = sim_run(
        "max_connections",
        HEAD TWO ", " OPEN ", max_connections: 40, limits: {pending: 100000}" ROUTES, 400, busy, 2);
    struct sim few = sim_run(
        "limits.pending", HEAD TWO ", " OPEN ", max_connections: 40, limits: {pending: 50}" ROUTES,
        400, busy, 2);
    struct fg_bite bites[FG_BITES_MAX];
    assert_true(fg_summary_bites(few.tally, bites) > 0);
    print_message("  order %.4f good, in all %.1f/s; with 50 first %s, in all %.1f/s\n",
                  sim_good_share(&sim, "order"), sim_good_per_s(&sim, NULL, 2 * FG_S, 20 * FG_S),
                  bites[0].what, sim_good_per_s(&few, NULL, 2 * FG_S, 20 * FG_S));
    assert_true(sim_good_share(&sim, "order") >= 0.999);
    assert_true(sim_good_per_s(&sim, NULL, 2 * FG_S, 20 * FG_S) > 0.9 * 400);
    assert_string_equal(bites[0].what, "cluster_pending");
    assert_true(refused(&few, "browse", FG_TALLY_CLUSTER_PENDING) > 2000);
    assert_true(sim_good_per_s(&few, NULL, 2 * FG_S, 20 * FG_S) > 0.9 * 400);
    sim_free(&sim);
    sim_free(&few);
}

static void in_shadow_a_cluster_refuses_nobody(void **state)
{
    (void)state;
    struct sim sim =
        sim_run("limits in shadow",
                HEAD TWO ", " FIXED ", limits: {requests: 40, shadow: true}" ROUTES, 400, busy, 3);
    assert_true(refused(&sim, "browse", FG_TALLY_CLUSTER_REQUESTS) == 0);
    assert_true(sim_good_share(&sim, NULL) >= 0.99);
    sim_free(&sim);
}

/* ---- endpoints ---- */

#define NIGHT                                                                                      \
    "duration: 60s\nseed: %u\n"                                                                    \
    "backends: {shop: {slots: 16, service: 20ms, faults: [{at: 20s, for: 20s, endpoints: 1, "      \
    "%s}]}}\n"                                                                                     \
    "crowds: {guests: {arrivals: [{rate: 300/s}], journey: [GET /browse], patience: 2s, retry: "   \
    "1}}\n"

static void one_of_two_endpoints_dies_and_the_other_goes_on(void **state)
{
    (void)state;
    struct sim sim =
        sim_run("one is gone", HEAD TWO ", connect_retries: 1" ROUTES, 600, NIGHT, 4, "slots: 0%");
    print_message("  %.5f good, %llu failed\n", sim_good_share(&sim, "browse"),
                  (unsigned long long)failed(&sim, "browse"));
    assert_true(sim_good_share(&sim, "browse") >= 0.998); /* but for those who were there */
    assert_true(failed(&sim, "browse") == 0);
    sim_free(&sim);
}

/* It answers, and every answer is an error: no retry may help, since it was seen. */
static void an_endpoint_that_fails_is_left_alone_by_its_breaker(void **state)
{
    (void)state;
    struct sim without = sim_run("without breakers", HEAD TWO ", breaker: {enabled: false}" ROUTES,
                                 600, NIGHT, 5, "errors: 100%");
    struct sim with = sim_run(
        "with breakers", HEAD TWO ", endpoint_breaker: {consecutive_failures: 5, open: 1s}" ROUTES,
        600, NIGHT, 5, "errors: 100%");
    print_message("  failed %llu without, %llu with\n",
                  (unsigned long long)failed(&without, "browse"),
                  (unsigned long long)failed(&with, "browse"));
    assert_true(failed(&without, "browse") > 2000);
    assert_in_range(failed(&with, "browse"), 1, 60); /* a few, then a probe now and then */
    assert_true(sim_good_per_s(&with, "browse", 45 * FG_S, 60 * FG_S) >= 0.97 * 300);
    sim_free(&without);
    sim_free(&with);
}

static void when_all_endpoints_are_left_alone_the_cluster_says_so(void **state)
{
    (void)state;
    struct sim sim = sim_run("all of them fail",
                             HEAD TWO ", breaker: {enabled: false}, endpoint_breaker: "
                                      "{consecutive_failures: 5, open: 1s}" ROUTES,
                             600,
                             "duration: 40s\nseed: 6\n"
                             "backends: {shop: {slots: 16, service: 20ms, faults: [{at: 10s, for: "
                             "10s, errors: 100%%}]}}\n"
                             "crowds: {guests: {arrivals: [{rate: 300/s}], journey: [GET "
                             "/browse], patience: 2s, retry: 1}}\n");
    uint64_t open = refused(&sim, "browse", FG_TALLY_ENDPOINTS_OPEN);
    print_message("  endpoints_open %llu, failed %llu\n", (unsigned long long)open,
                  (unsigned long long)failed(&sim, "browse"));
    assert_true(open > 2000);
    assert_true(sim_good_per_s(&sim, "browse", 30 * FG_S, 40 * FG_S) >= 0.97 * 300);
    sim_free(&sim);
}

static void an_endpoint_that_answers_badly_is_ejected(void **state)
{
    (void)state;
    struct sim sim =
        sim_run("outlier", HEAD TWO ", outlier: {consecutive_errors: 5, ejection: 30s}" ROUTES, 600,
                NIGHT, 7, "errors: 100%");
    print_message("  failed %llu\n", (unsigned long long)failed(&sim, "browse"));
    assert_in_range(failed(&sim, "browse"), 5, 60);
    sim_free(&sim);
}

/* Priority 1 is used when too few of priority 0 are well, as the checks find. */
static void spare_endpoints_take_over(void **state)
{
    (void)state;
    static const char config[] =
        HEAD "clusters: {shop: {endpoints: [{address: '127.0.0.1:3000'}, {address: "
             "'127.0.0.1:3001', priority: 1}], connect_retries: 1,\n"
             "  health_check: {path: /healthz, interval: 1s, timeout: 500ms}" ROUTES;
    struct sim sim = sim_run("spare", config, 600, NIGHT, 8, "slots: 0%");
    double during = sim_good_per_s(&sim, "browse", 25 * FG_S, 40 * FG_S);
    print_message("  %.1f/s while the first is gone, %.5f good\n", during,
                  sim_good_share(&sim, "browse"));
    assert_true(during >= 0.97 * 300);
    assert_true(sim_good_share(&sim, "browse") >= 0.98);
    sim_free(&sim);
}

/* ---- request memory ---- */

/* Uploads wait for slow servers and use the memory up; what is reserved for orders is theirs. */
static void a_reserve_keeps_memory_for_orders(void **state)
{
    (void)state;
    static const char config[] =
        HEAD "limits: {request_memory_total_max: 16MiB}\n"
             "policies: {overload: {request_memory: {shed_low: off, shed_normal: off, shed_high: "
             "off}}}\n"
             "clusters:\n"
             "  slow: {endpoints: ['127.0.0.1:3000'], max_connections: 20000, concurrency: {kind: "
             "fixed, limit: 20000},\n"
             "    breaker: {enabled: false}}\n"
             "  checkout: {endpoints: ['127.0.0.1:3001']%s}\n"
             "routes:\n"
             "  - {name: order, match: {path: /order}, to: cluster:checkout, priority: critical}\n"
             "  - {name: upload, match: {path: /upload}, to: cluster:slow, priority: low}\n";
    static const char scenario[] =
        "duration: 40s\nseed: 9\n"
        "backends: {slow: {slots: 10, service: 1s}, checkout: {slots: 8, service: 5ms}}\n"
        "crowds:\n"
        "  buyers: {arrivals: [{rate: 50/s}], journey: [POST /order], patience: 2s, retry: 1}\n"
        "  guests: {arrivals: [{rate: 500/s}], journey: [POST /upload], patience: 20s, retry: 1}\n";
    char text[2048];
    for (unsigned is_reserved = 0; is_reserved < 2; is_reserved++) {
        snprintf(text, sizeof(text), config, is_reserved == 1 ? ", reserve: 20%" : "");
        struct sim sim =
            sim_run(is_reserved == 1 ? "reserved" : "not reserved", text, 400, "%s", scenario);
        print_message("  order %.4f good, refused for memory %llu of %llu uploads\n",
                      sim_good_share(&sim, "order"),
                      (unsigned long long)refused(&sim, "upload", FG_REFUSED_RESERVE),
                      (unsigned long long)sim_route_tally(&sim, "upload")->offered);
        assert_true(refused(&sim, "upload", FG_REFUSED_RESERVE) > 1000);
        assert_true(is_reserved == 1 ? refused(&sim, "order", FG_REFUSED_RESERVE) == 0
                                     : refused(&sim, "order", FG_REFUSED_RESERVE) > 100);
        sim_free(&sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_requests_than_the_cluster_may_have),
        cmocka_unit_test(who_waits_for_a_connection_goes_by_priority),
        cmocka_unit_test(in_shadow_a_cluster_refuses_nobody),
        cmocka_unit_test(one_of_two_endpoints_dies_and_the_other_goes_on),
        cmocka_unit_test(an_endpoint_that_fails_is_left_alone_by_its_breaker),
        cmocka_unit_test(when_all_endpoints_are_left_alone_the_cluster_says_so),
        cmocka_unit_test(an_endpoint_that_answers_badly_is_ejected),
        cmocka_unit_test(spare_endpoints_take_over),
        cmocka_unit_test(a_reserve_keeps_memory_for_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
