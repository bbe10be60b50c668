/*
 * test_storms.c: clients that make it worse: retries with and without back-off, reloads, crowds
 * that come all at once, invitations that bring more. What the policies keep, and what happens
 * without them.
 */
#include "sim_fixture.h"

#define CONFIG(gate)                                                                               \
    "listeners: [{address: '127.0.0.1:8443', kind: plain}]\n"                                      \
    "clusters: {shop: {endpoints: ['127.0.0.1:3000']" gate "}}\n"                                  \
    "routes:\n"                                                                                    \
    "  - {name: order, match: {path: /order}, to: cluster:shop, priority: critical, timeout: "     \
    "2s}\n"                                                                                        \
    "  - {name: browse, match: {path: /browse}, to: cluster:shop, priority: low, timeout: 2s}\n"

static const char with_policies[] = CONFIG("");
static const char without_policies[] =
    CONFIG(", max_connections: 100000, concurrency: {kind: fixed, limit: 100000}, queue: "
           "{requests_max: 100000, wait_max: 1h, target: off}, breaker: {enabled: false}");

/* 400/s of capacity, 85 % asked for; for 5 s the backend is ten times slower, then well again. */
#define STORM                                                                                      \
    "duration: 60s\nseed: 7\n"                                                                     \
    "backends: {shop: {slots: 8, service: 20ms, faults: [{at: 20s, for: 5s, slow: 1000%%}]}}\n"    \
    "crowds:\n"                                                                                    \
    "  buyers: {arrivals: [{rate: 60/s}], journey: [POST /order], patience: 2s, retry: %s}\n"      \
    "  guests: {arrivals: [{rate: 280/s}], journey: [GET /browse], patience: 1s, retry: %s}\n"

#define NO_BACK_OFF                                                                                \
    "{attempts: 20, delay: 50ms, growth: 100%, jitter: 0%, respects_retry_after: false}"
#define BACK_OFF "{attempts: 4, delay: 1s, growth: 200%, jitter: 50%}"

static double good_after(const struct sim *sim)
{
    return sim_good_per_s(sim, NULL, 30 * FG_S, 60 * FG_S);
}

static void a_retry_storm_without_back_off_ends_with_its_cause(void **state)
{
    (void)state;
    struct sim sim =
        sim_run("retries without back-off", with_policies, 600, STORM, NO_BACK_OFF, NO_BACK_OFF);
    print_message("  5 s after the fault %.1f/s of 340; orders %.4f good\n", good_after(&sim),
                  sim_good_share(&sim, "order"));
    assert_true(good_after(&sim) >= 0.97 * 340);
    sim_free(&sim);
}

static void a_retry_storm_with_back_off_ends_with_its_cause(void **state)
{
    (void)state;
    struct sim sim =
        sim_run("retries with back-off", with_policies, 600, STORM, BACK_OFF, BACK_OFF);
    print_message("  5 s after the fault %.1f/s of 340\n", good_after(&sim));
    assert_true(good_after(&sim) >= 0.97 * 340);
    sim_free(&sim);
}

/* The cause is gone, and the retries keep the overload up for ever: a metastable failure. */
static void without_policies_the_storm_outlives_its_cause(void **state)
{
    (void)state;
    struct sim sim =
        sim_run("retries without policies", without_policies, 600, STORM, NO_BACK_OFF, NO_BACK_OFF);
    print_message("  5 s after the fault %.1f/s of 340\n", good_after(&sim));
    assert_true(good_after(&sim) < 0.2 * 340);
    sim_free(&sim);
}

/* Everybody reloads after half a second, up to ten times: impatience as retries on time-out. */
static void a_refresh_storm_leaves_the_backend_at_its_peak(void **state)
{
    (void)state;
    struct sim sim = sim_run(
        "refresh storm", with_policies, 300,
        "duration: 30s\nseed: 8\n"
        "backends: {shop: {slots: 8, service: 20ms}}\n"
        "crowds:\n"
        "  buyers: {arrivals: [{rate: 60/s}], journey: [POST /order], patience: 2s, retry: 1}\n"
        "  reloaders: {arrivals: [{rate: 600/s}], journey: [GET /browse], patience: 500ms,\n"
        "    retry: {attempts: 10, delay: 0, growth: 100%%, respects_retry_after: false}}\n");
    double good = sim_good_per_s(&sim, NULL, 10 * FG_S, 30 * FG_S);
    print_message("  goodput %.1f/s of 400; orders %.4f good\n", good,
                  sim_good_share(&sim, "order"));
    assert_true(good >= 0.95 * 400);
    assert_true(sim_good_share(&sim, "order") >= 0.999);
    sim_free(&sim);
}

/* 20,000 come within five seconds for what can serve 400 a second. */
static void a_flash_crowd_is_served_at_the_peak(void **state)
{
    (void)state;
    struct sim sim = sim_run(
        "flash crowd", with_policies, 600,
        "duration: 60s\nseed: 9\n"
        "backends: {shop: {slots: 8, service: 20ms}}\n"
        "crowds:\n"
        "  buyers: {arrivals: [{rate: 60/s}], journey: [POST /order], patience: 2s, retry: 1}\n"
        "  crowd: {users: 20000, arrivals: [{at: 10s, rate: 1/s}, {at: 15s, rate: 1/s},\n"
        "    {at: 15001ms, rate: 0/s}], journey: [GET /browse], patience: 1s,\n"
        "    retry: {attempts: 6, delay: 2s}}\n");
    double good = sim_good_per_s(&sim, NULL, 11 * FG_S, 16 * FG_S);
    print_message("  goodput %.1f/s of 400; orders %.4f good\n", good,
                  sim_good_share(&sim, "order"));
    assert_true(good >= 0.9 * 400); /* the limit has to grow from 2 within it */
    assert_true(sim_good_share(&sim, "order") >= 0.999);
    sim_free(&sim);
}

/* Each order brings 1.2 more customers: the demand doubles again and again, orders stay first. */
static void an_invite_cascade_never_starves_orders(void **state)
{
    (void)state;
    struct sim sim =
        sim_run("invite cascade", with_policies, 600,
                "duration: 60s\nseed: 10\n"
                "backends: {shop: {slots: 8, service: 20ms}}\n"
                "crowds:\n"
                "  friends: {arrivals: [{rate: 10/s}], patience: 2s, retry: 1,\n"
                "    journey: [{request: POST /order, goal: true},\n"
                "              {request: GET /browse, times: 5, think: 200ms, optional: true}],\n"
                "    invites: {share: 60%%, each: 4, accepted: 45%%, after: 8s}}\n");
    const struct fg_tally_crowd *friends = &sim.tally->crowds[0];
    print_message("  %llu came, %llu of them invited; orders %.4f good\n",
                  (unsigned long long)friends->arrived, (unsigned long long)friends->invited,
                  sim_good_share(&sim, "order"));
    assert_true(friends->invited > 2 * (friends->arrived - friends->invited));
    assert_true(sim_good_share(&sim, "order") >= 0.999);
    sim_free(&sim);
}

/* A day in a minute: twice over capacity at its height, well below it at night. */
static void a_diurnal_load_is_followed(void **state)
{
    (void)state;
    struct sim sim = sim_run(
        "diurnal", with_policies, 720,
        "duration: 72s\nseed: 11\n"
        "backends: {shop: {slots: 8, service: 20ms}}\n"
        "crowds:\n"
        "  buyers: {arrivals: [{rate: 20/s}, {at: 18s, rate: 100/s}, {at: 36s, rate: 20/s},\n"
        "    {at: 54s, rate: 100/s}, {at: 72s, rate: 20/s}], journey: [POST /order],\n"
        "    patience: 2s, retry: 1}\n"
        "  guests: {arrivals: [{rate: 80/s}, {at: 18s, rate: 700/s}, {at: 36s, rate: 80/s},\n"
        "    {at: 54s, rate: 700/s}, {at: 72s, rate: 80/s}], journey: [GET /browse],\n"
        "    patience: 1s, retry: 1}\n");
    double night = sim_good_per_s(&sim, "browse", 34 * FG_S, 38 * FG_S);
    double noon = sim_good_per_s(&sim, NULL, 50 * FG_S, 58 * FG_S);
    print_message("  at night %.1f/s, at noon %.1f/s of 400; orders %.4f good\n", night, noon,
                  sim_good_share(&sim, "order"));
    assert_true(noon >= 0.95 * 400);
    assert_true(sim_good_share(&sim, "order") >= 0.999);
    sim_free(&sim);
}

static const char with_retries[] =
    "listeners: [{address: '127.0.0.1:8443', kind: plain}]\n"
    "clusters: {shop: {endpoints: ['127.0.0.1:3000'], retries: {attempts: 3, budget: 20%},\n"
    "  concurrency: {kind: fixed, limit: 200}, breaker: {enabled: false}}}\n"
    "routes: [{name: browse, match: {path: /browse}, to: cluster:shop, timeout: 2s},\n"
    "  {name: order, match: {path: /order}, to: cluster:shop, timeout: 2s}]\n";

#define FAILING                                                                                    \
    "duration: 40s\nseed: 12\n"                                                                    \
    "backends: {shop: {slots: 8, service: 20ms, latency: 200ms, errors: %u%%, "                    \
    "error_status: 503}}\n"                                                                        \
    "crowds: {guests: {arrivals: [{rate: 250/s}], journey: [%s], patience: 1s, retry: 1}}\n"

/* Few errors are healed by a second try; when all fail, retries never multiply the load. */
static void retries_of_the_gateway_keep_to_their_budget(void **state)
{
    (void)state;
    struct sim few = sim_run("5 % of 503", with_retries, 400, FAILING, 5, "GET /browse");
    struct sim all = sim_run("all of 503", with_retries, 400, FAILING, 100, "GET /browse");
    struct sim post = sim_run("5 % of 503, POST", with_retries, 400, FAILING, 5, "POST /order");
    uint64_t tried = all.tally->routes[0].admitted;
    uint64_t more = all.tally->backends[0].retried;
    print_message("  few: %.4f good; all: %llu tried, %llu more; POST %.4f good\n",
                  sim_good_share(&few, NULL), (unsigned long long)tried, (unsigned long long)more,
                  sim_good_share(&post, NULL));
    assert_true(sim_good_share(&few, NULL) >= 0.985);
    assert_true(more > 0 && more <= tried / 4);
    assert_true(post.tally->backends[0].retried == 0); /* it may have been carried out */
    sim_free(&few);
    sim_free(&all);
    sim_free(&post);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_retry_storm_without_back_off_ends_with_its_cause),
        cmocka_unit_test(a_retry_storm_with_back_off_ends_with_its_cause),
        cmocka_unit_test(without_policies_the_storm_outlives_its_cause),
        cmocka_unit_test(a_refresh_storm_leaves_the_backend_at_its_peak),
        cmocka_unit_test(a_flash_crowd_is_served_at_the_peak),
        cmocka_unit_test(an_invite_cascade_never_starves_orders),
        cmocka_unit_test(a_diurnal_load_is_followed),
        cmocka_unit_test(retries_of_the_gateway_keep_to_their_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
