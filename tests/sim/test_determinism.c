/*
 * test_determinism.c: the same seed gives the same result to the last counter, another seed
 * another; and nobody is lost on the way.
 */
#include "sim_fixture.h"

static const char config[] =
    "listeners: [{address: '127.0.0.1:8443', kind: plain}]\n"
    "policies: {rate_limits: {each: {key: user, rate: 2/s, burst: 4}}}\n"
    "clusters: {shop: {endpoints: ['127.0.0.1:3000']}}\n"
    "inference: {enabled: true, model: m.gguf}\n"
    "routes:\n"
    "  - {name: stock, match: {path: /stock}, to: cluster:shop, cache: {ttl: 1s}}\n"
    "  - {name: claim, match: {path: /claim}, to: cluster:shop, rate_limits: [each],\n"
    "     waiting_room: {admit: 100/s, burst: 100, waiting_max: 10000}}\n"
    "  - {name: order, match: {path: /order}, to: cluster:shop, priority: critical,\n"
    "     timeout: 60ms}\n"
    "  - {name: chat, match: {path: /chat}, to: inference, priority: low, timeout: 30s}\n";

/* Something of everything that the simulator can do. */
static const char scenario[] =
    "duration: 60s\n"
    "seed: %u\n"
    "backends:\n"
    "  shop: {slots: 8, service: 10ms, spread: lognormal, sigma: 80%%, latency: 1ms, errors: 1%%,\n"
    "    pending_max: 50, faults: [{at: 20s, for: 5s, slow: 500%%, errors: 20%%},\n"
    "      {at: 30s, for: 2s, slots: 0%%}]}\n"
    "  inference: {slots: 8, finishes_orphaned: false,\n"
    "    tokens: {per_second: 400, kv: 1000, reserve: false}}\n"
    "crowds:\n"
    "  shoppers: {arrivals: [{rate: 50/s}, {at: 15s, rate: 400/s}, {at: 40s, rate: 50/s}],\n"
    "    patience: 1s, retry: {attempts: 3, delay: 500ms}, invites: {after: 5s},\n"
    "    journey: [GET /stock, {request: POST /claim, think: 1s},\n"
    "      {request: POST /order, think: 1s, goal: true},\n"
    "      {request: GET /stock, share: 50%%, times: 2, think: 2s, optional: true}]}\n"
    "  chat: {arrivals: [{rate: 6/s}], patience: 10s, journey: [POST /chat]}\n";

static struct sim run(unsigned seed)
{
    return sim_run("everything", config, 600, scenario, seed);
}

static void the_same_seed_gives_the_same_result(void **state)
{
    (void)state;
    struct sim first = run(1);
    struct sim again = run(1);
    struct sim other = run(2);
    uint64_t digest = fg_tally_digest(first.tally);
    print_message("  digest %016llx\n", (unsigned long long)digest);
    assert_true(digest == fg_tally_digest(again.tally));
    assert_true(digest != fg_tally_digest(other.tally));
    sim_free(&first);
    sim_free(&again);
    sim_free(&other);
}

static void every_request_ends_once_and_every_user_somehow(void **state)
{
    (void)state;
    struct sim sim = run(3);
    uint64_t offered = 0, ended = 0, arrived = 0, gone = 0;
    for (size_t i = 0; i < sim.tally->route_count; i++) {
        offered += sim.tally->routes[i].offered;
        for (unsigned j = 0; j < FG_OUTCOME_COUNT; j++)
            ended += sim.tally->routes[i].outcomes[j];
    }
    for (size_t i = 0; i < sim.tally->crowd_count; i++) {
        arrived += sim.tally->crowds[i].arrived;
        gone += sim.tally->crowds[i].finished + sim.tally->crowds[i].left;
    }
    assert_true(ended <= offered && offered - ended <= sim.tally->users_active);
    assert_true(arrived == gone + sim.tally->users_active);
    for (unsigned j = 0; j < FG_OUTCOME_COUNT; j++) { /* the scenario reaches all of them */
        uint64_t count = 0;
        for (size_t i = 0; i < sim.tally->route_count; i++)
            count += sim.tally->routes[i].outcomes[j];
        print_message("  %s %llu\n", fg_outcome_name((enum fg_outcome)j),
                      (unsigned long long)count);
        assert_true(count > 0);
    }
    assert_true(sim.tally->backends[sim_backend(&sim, "inference")].preempted > 0);
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_result),
        cmocka_unit_test(every_request_ends_once_and_every_user_somehow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
