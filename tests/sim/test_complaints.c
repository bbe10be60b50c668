/*
 * test_complaints.c: what the users of other gateways complain about in admission, each as a case
 * that must not happen here. The project and number of the complaint stand beside each.
 */
#include "sim_fixture.h"

#define HEAD "listeners: [{address: '127.0.0.1:8443', kind: plain}]\n"

/* envoyproxy/envoy#19773: over the rate there is only rejection, no queue. */
static void over_the_rate_people_wait_and_all_are_served(void **state)
{
    (void)state;
    struct sim sim =
        sim_run("a line instead of rejection",
                HEAD "clusters: {shop: {endpoints: ['127.0.0.1:3000']}}\n"
                     "routes: [{name: claim, match: {path: /claim}, to: cluster:shop,\n"
                     "  waiting_room: {admit: 100/s, burst: 100, waiting_max: 100000}}]\n",
                600,
                "duration: 120s\nseed: 1\nbackends: {shop: {slots: 8, service: 20ms}}\n"
                "crowds: {all: {users: 6000, arrivals: [{rate: 1000/s}, {at: 6s, rate: 1000/s},\n"
                "  {at: 6001ms, rate: 0/s}], journey: [{request: POST /claim, goal: true}]}}\n");
    const struct fg_tally_crowd *all = &sim.tally->crowds[0];
    print_message("  %llu came, %llu stood in line, %llu got it\n",
                  (unsigned long long)all->arrived, (unsigned long long)all->in_line,
                  (unsigned long long)all->reached);
    assert_true(all->reached == all->arrived && all->in_line > 5000);
    sim_free(&sim);
}

/* envoyproxy/envoy#38241, envoyproxy/gateway#6797: batch beside interactive on one service. */
static void batch_gives_way_to_interactive_on_one_service(void **state)
{
    (void)state;
    struct sim sim = sim_run(
        "batch beside interactive",
        HEAD "clusters: {api: {endpoints: ['127.0.0.1:3000']}}\n"
             "routes:\n"
             "  - {name: interactive, match: {path: /ask}, to: cluster:api, priority: critical}\n"
             "  - {name: batch, match: {path: /batch}, to: cluster:api, priority: low}\n",
        400,
        "duration: 40s\nseed: 2\nbackends: {api: {slots: 8, service: 20ms}}\n"
        "crowds:\n"
        "  people: {arrivals: [{rate: 100/s}], journey: [GET /ask], patience: 1s, retry: 1}\n"
        "  jobs: {arrivals: [{rate: 1500/s}], journey: [POST /batch], patience: 5s, retry: 1}\n");
    double batch = sim_good_per_s(&sim, "batch", 5 * FG_S, 40 * FG_S);
    print_message("  interactive %.4f good, batch %.1f/s of the 300/s left\n",
                  sim_good_share(&sim, "interactive"), batch);
    assert_true(sim_good_share(&sim, "interactive") >= 0.999);
    assert_true(batch >= 0.9 * 300); /* gives way, but takes all that is left */
    sim_free(&sim);
}

static bool keep_level(void *ctx, const struct fg_simulation_progress *progress)
{
    enum fg_overload_level *most = ctx;
    enum fg_overload_level level =
        fg_overload_level_of(fg_overload_steps(fg_gateway_model_overload(progress->gateway)));
    most[0] = level > most[0] ? level : most[0];
    most[1] = level;
    return true;
}

/* envoyproxy/envoy#21923, #39006: the overload manager sheds and never recovers. */
static void pressure_ends_with_its_cause(void **state)
{
    (void)state;
    enum fg_overload_level levels[2] = {FG_OVERLOAD_NORMAL, FG_OVERLOAD_NORMAL};
    struct sim sim = sim_watch(
        "pressure comes and goes",
        HEAD "clusters: {shop: {endpoints: ['127.0.0.1:3000'], max_connections: 20000,\n"
             "  concurrency: {kind: fixed, limit: 20000}, queue: {requests_max: 20000,\n"
             "  wait_max: 60s, target: off}, breaker: {enabled: false}}}\n"
             "policies: {overload: {memory_max: 1GiB}}\n"
             "routes:\n"
             "  - {name: order, match: {path: /order}, to: cluster:shop, priority: critical}\n"
             "  - {name: browse, match: {path: /browse}, to: cluster:shop, priority: low}\n",
        600, keep_level, levels,
        "duration: 60s\nseed: 3\n"
        "gateway: {memory: 128MiB, request_memory: 256KiB}\n"
        "backends: {shop: {slots: 20000, service: 20ms, spread: fixed,\n"
        "  faults: [{at: 10s, for: 20s, slow: 30000%%}]}}\n"
        "crowds:\n"
        "  buyers: {arrivals: [{rate: 50/s}], journey: [POST /order], patience: 30s, retry: 1}\n"
        "  guests: {arrivals: [{rate: 1000/s}], journey: [GET /browse], patience: 30s, retry: "
        "1}\n");
    double after = sim_good_per_s(&sim, "browse", 50 * FG_S, 60 * FG_S);
    print_message("  worst level %s, at the end %s; then %.1f/s of 1000\n",
                  fg_overload_level_name(levels[0]), fg_overload_level_name(levels[1]), after);
    assert_true(levels[0] > FG_OVERLOAD_NORMAL);
    assert_int_equal(levels[1], FG_OVERLOAD_NORMAL);
    assert_true(after >= 0.97 * 1000);
    assert_true(sim_route_tally(&sim, "browse")->refused[FG_REFUSED_OVERLOAD] > 0);
    assert_true(sim_route_tally(&sim, "order")->refused[FG_REFUSED_OVERLOAD] == 0);
    sim_free(&sim);
}

struct bounds {
    uint32_t in_flight_max;
    uint32_t queued_max;
    uint32_t left_in_flight;
    uint32_t left_queued;
};

static bool keep_bounds(void *ctx, const struct fg_simulation_progress *progress)
{
    struct bounds *bounds = ctx;
    const struct fg_gate_policy *gate = fg_gateway_model_gate(progress->gateway, 0);
    bounds->left_in_flight = fg_concurrency_limit_in_flight(&gate->limit);
    bounds->left_queued = gate->queue.count;
    if (bounds->left_in_flight > bounds->in_flight_max)
        bounds->in_flight_max = bounds->left_in_flight;
    if (bounds->left_queued > bounds->queued_max)
        bounds->queued_max = bounds->left_queued;
    return true;
}

static const char exact[] =
    HEAD "clusters: {shop: {endpoints: ['127.0.0.1:3000'], concurrency: {kind: fixed, limit: 8},\n"
         "  queue: {requests_max: 50, wait_max: 300ms}}}\n"
         "routes: [{name: browse, match: {path: /browse}, to: cluster:shop, timeout: 1s}]\n";

/*
 * envoyproxy/envoy#2927, #16610, #33279: limits are approximate. vllm-project/vllm#18826, #13395,
 * #2901: everything is accepted into an unbounded queue. #16391: no deadline while waiting.
 * llm-d/llm-d-router#2295: the count of what is in flight is wrong after one burst, for ever.
 */
static void limits_hold_to_the_last_request_and_nothing_is_left_behind(void **state)
{
    (void)state;
    struct bounds bounds = {0};
    struct sim sim = sim_watch(
        "exact limits", exact, 20000, keep_bounds, &bounds,
        "duration: 20s\nseed: 4\nbackends: {shop: {slots: 8, service: 20ms, errors: 2%%}}\n"
        "crowds: {all: {arrivals: [{rate: 4000/s}, {at: 10s, rate: 4000/s}, {at: 10001ms,\n"
        "  rate: 0/s}], journey: [GET /browse], patience: 150ms, retry: {attempts: 2}}}\n");
    uint64_t wait_max_ns = 0;
    for (size_t i = 0; i < sim.tally->bucket_count; i++) {
        uint64_t wait_ns = sim.tally->backends[0].loads[i].wait_max_ns;
        wait_max_ns = wait_ns > wait_max_ns ? wait_ns : wait_max_ns;
    }
    print_message("  in flight %u of 8, queued %u of 50, longest wait %.1f ms\n",
                  bounds.in_flight_max, bounds.queued_max, (double)wait_max_ns / 1e6);
    assert_int_equal(bounds.in_flight_max, 8);
    assert_in_range(bounds.queued_max, 1, 50);
    assert_true(wait_max_ns <= 150 * FG_MS);
    assert_int_equal(bounds.left_in_flight, 0);
    assert_int_equal(bounds.left_queued, 0);
    sim_free(&sim);
}

/* BerriAI/litellm#13774, vllm-project/vllm#54947: the client has gone, the backend works on. */
static void work_for_clients_that_have_gone_is_not_begun(void **state)
{
    (void)state;
    struct sim sim = sim_run(
        "clients leave", exact, 400,
        "duration: 40s\nseed: 5\nbackends: {shop: {slots: 8, service: 20ms}}\n"
        "crowds: {all: {arrivals: [{rate: 1200/s}], journey: [GET /browse], patience: 200ms,\n"
        "  retry: 1}}\n");
    const struct fg_tally_backend *shop = &sim.tally->backends[0];
    print_message("  useful %llu, wasted %llu\n", (unsigned long long)shop->done,
                  (unsigned long long)shop->wasted);
    assert_true(shop->wasted * 50 <= shop->done); /* those who left while it was being done */
    assert_true(shop->done >= 400 * 40 * 95 / 100);
    sim_free(&sim);
}

/* envoyproxy/gateway#5693, #9078, envoyproxy/envoy#45384: no Retry-After, or one to guess at. */
static void who_comes_back_when_told_to_is_let_in(void **state)
{
    (void)state;
    struct sim sim =
        sim_run("an honest Retry-After",
                HEAD "policies: {rate_limits: {each: {key: user, rate: 1/2s, burst: 1}}}\n"
                     "clusters: {api: {endpoints: ['127.0.0.1:3000']}}\n"
                     "routes: [{name: ask, match: {path: /ask}, to: cluster:api,\n"
                     "  rate_limits: [each]}]\n",
                100,
                "duration: 60s\nseed: 6\n"
                "crowds: {all: {arrivals: [{rate: 20/s}, {at: 40s, rate: 20/s}, {at: 40001ms, "
                "rate: 0/s}],\n"
                "  journey: [{request: GET /ask, times: 5}], retry: {attempts: 2, delay: 1ms}}}\n");
    const struct fg_tally_route *ask = sim_route_tally(&sim, "ask");
    print_message("  %llu refused once, %llu users served five times, %llu left\n",
                  (unsigned long long)ask->refused[FG_REFUSED_RATE_LIMIT],
                  (unsigned long long)sim.tally->crowds[0].finished,
                  (unsigned long long)sim.tally->crowds[0].left);
    assert_true(ask->refused[FG_REFUSED_RATE_LIMIT] == 4 * sim.tally->crowds[0].finished);
    assert_true(sim.tally->crowds[0].left == 0 && sim.tally->crowds[0].finished > 700);
    sim_free(&sim);
}

/* vllm-project/vllm#7123, #31909, llm-d/llm-d-router#1182: one tenant takes it all. */
static void one_greedy_address_takes_no_more_than_its_share(void **state)
{
    (void)state;
    struct sim sim = sim_run(
        "one greedy address",
        HEAD "policies: {rate_limits: {each: {key: ip, rate: 50/s, burst: 50}}}\n"
             "clusters: {shop: {endpoints: ['127.0.0.1:3000']}}\n"
             "routes:\n"
             "  - {name: greedy, match: {path: /greedy}, to: cluster:shop, rate_limits: [each]}\n"
             "  - {name: browse, match: {path: /browse}, to: cluster:shop, rate_limits: [each]}\n",
        400,
        "duration: 40s\nseed: 7\nbackends: {shop: {slots: 8, service: 20ms}}\n"
        "crowds:\n"
        "  greedy: {arrivals: [{rate: 3000/s}], users_per_address: 1000000, retry: 1,\n"
        "    journey: [GET /greedy], patience: 1s}\n"
        "  guests: {arrivals: [{rate: 300/s}], journey: [GET /browse], patience: 1s, retry: 1}\n");
    double greedy = sim_good_per_s(&sim, "greedy", 5 * FG_S, 40 * FG_S);
    print_message("  greedy %.1f/s, guests %.4f good\n", greedy, sim_good_share(&sim, "browse"));
    assert_true(greedy <= 51);
    assert_true(sim_good_share(&sim, "browse") >= 0.98);
    sim_free(&sim);
}

/* aws-solutions/virtual-waiting-room-on-aws#154, #208, #214: people who leave hold up the line. */
static void people_who_leave_the_line_hold_up_nobody_else(void **state)
{
    (void)state;
    static const char room[] =
        HEAD "clusters: {shop: {endpoints: ['127.0.0.1:3000']}}\n"
             "routes: [{name: claim, match: {path: /claim}, to: cluster:shop,\n"
             "  waiting_room: {admit: 100/s, burst: 100, waiting_max: 100000, grace: 30s}}]\n";
    struct sim sim =
        sim_run("half of the line leaves", room, 900,
                "duration: 180s\nseed: 8\nbackends: {shop: {slots: 8, service: 20ms}}\n"
                "crowds:\n"
                "  patient: {users: 4000, arrivals: [{rate: 400/s}, {at: 10s, rate: 400/s},\n"
                "    {at: 10001ms, rate: 0/s}], journey: [{request: POST /claim, goal: true}]}\n"
                "  impatient: {users: 4000, arrivals: [{rate: 400/s}, {at: 10s, rate: 400/s},\n"
                "    {at: 10001ms, rate: 0/s}], journey: [POST /claim], line_patience: 5s}\n");
    const struct fg_tally_crowd *patient = &sim.tally->crowds[0];
    print_message("  %llu of %llu patient ones got it, %llu others left\n",
                  (unsigned long long)patient->reached, (unsigned long long)patient->arrived,
                  (unsigned long long)sim.tally->crowds[1].left);
    assert_true(patient->reached == patient->arrived);
    assert_true(sim.tally->crowds[1].left > 1000);
    sim_free(&sim);
}

/* No starvation: with ageing on, even the lowest class is served beside a full higher one. */
static void no_class_starves(void **state)
{
    (void)state;
    struct sim sim = sim_run(
        "ageing",
        HEAD
        "clusters: {shop: {endpoints: ['127.0.0.1:3000'], concurrency: {kind: fixed, limit: 8},\n"
        "  queue: {wait_max: 20s, ageing: 500ms, target: off}}}\n"
        "routes:\n"
        "  - {name: order, match: {path: /order}, to: cluster:shop, priority: critical}\n"
        "  - {name: feed, match: {path: /feed}, to: cluster:shop, priority: low}\n",
        400,
        "duration: 40s\nseed: 9\nbackends: {shop: {slots: 8, service: 20ms}}\n"
        "crowds:\n"
        "  buyers: {arrivals: [{rate: 410/s}], journey: [POST /order], patience: 10s, retry: 1}\n"
        "  robots: {arrivals: [{rate: 5/s}], journey: [GET /feed], patience: 30s, retry: 1}\n");
    const struct fg_tally_route *feed = sim_route_tally(&sim, "feed");
    print_message("  feed %llu good of %llu\n", (unsigned long long)feed->outcomes[FG_OUTCOME_GOOD],
                  (unsigned long long)feed->offered);
    assert_true(feed->outcomes[FG_OUTCOME_GOOD] >= feed->offered / 2);
    sim_free(&sim);
}

/*
 * ggml-org/llama.cpp#23652, #4185, vllm-project/vllm#18115, #15996: a server that overcommits its
 * KV cache loses its work again and again. The limit before it keeps that from happening.
 */
#define KV_CONFIG(gate)                                                                            \
    HEAD "clusters: {engine: {endpoints: ['127.0.0.1:3000'], breaker: {enabled: false}, " gate     \
         "}}\n"                                                                                    \
         "routes: [{name: chat, match: {path: /chat}, to: cluster:engine, timeout: 60s}]\n"

/* 16 sequences of 500 tokens would fit; up to 256 are begun. */
static const char kv_scenario[] =
    "duration: 300s\nseed: 10\n"
    "backends: {engine: {slots: 256, tokens: {per_second: 1600, per_second_each: 100,\n"
    "  prefill_per_second: 4000, kv: 8000, reserve: false}}}\n"
    "crowds: {all: {arrivals: [{rate: 12/s}], patience: 30s, retry: 1,\n"
    "  journey: [{request: POST /chat, prompt_tokens: 200, output_tokens: 300}]}}\n";

static void a_kv_cache_is_not_overcommitted(void **state)
{
    (void)state;
    struct sim open = sim_run("KV cache, no limit",
                              KV_CONFIG("max_connections: 1000, concurrency: {kind: fixed, limit: "
                                        "1000}, queue: {target: off}"),
                              300, "%s", kv_scenario);
    struct sim gated = sim_run("KV cache, 12 at a time",
                               KV_CONFIG("concurrency: {kind: fixed, limit: 12}, queue: "
                                         "{requests_max: 64, wait_max: 5s, target: 1s, interval: "
                                         "2s}"),
                               300, "%s", kv_scenario);
    double without = sim_good_per_s(&open, NULL, 60 * FG_S, 300 * FG_S);
    double with = sim_good_per_s(&gated, NULL, 60 * FG_S, 300 * FG_S);
    print_message("  without %.2f/s good and %llu preempted, with %.2f/s and %llu\n", without,
                  (unsigned long long)open.tally->backends[0].preempted, with,
                  (unsigned long long)gated.tally->backends[0].preempted);
    assert_true(with > 2 * without);
    assert_true(gated.tally->backends[0].preempted * 5 < open.tally->backends[0].preempted);
    sim_free(&open);
    sim_free(&gated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_the_rate_people_wait_and_all_are_served),
        cmocka_unit_test(batch_gives_way_to_interactive_on_one_service),
        cmocka_unit_test(pressure_ends_with_its_cause),
        cmocka_unit_test(limits_hold_to_the_last_request_and_nothing_is_left_behind),
        cmocka_unit_test(work_for_clients_that_have_gone_is_not_begun),
        cmocka_unit_test(who_comes_back_when_told_to_is_let_in),
        cmocka_unit_test(one_greedy_address_takes_no_more_than_its_share),
        cmocka_unit_test(people_who_leave_the_line_hold_up_nobody_else),
        cmocka_unit_test(no_class_starves),
        cmocka_unit_test(a_kv_cache_is_not_overcommitted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
