/*
 * test_pressure.c: what the backends behind the process run short of, time of Redis and KV cache,
 * makes the overload stage shed what uses it and is least important, and nothing else.
 */
#include "sim_fixture.h"

#include "rehearse/summary.h"

static const char config[] =
    "listeners: [{address: '127.0.0.1:8443', kind: plain}]\n"
    "orders: {redis: {address: '127.0.0.1:6379'}, skus: {tea: {stock: 1000}}}\n"
    "inference: {enabled: true, model: m.gguf, concurrency: {kind: fixed, limit: 256}}\n"
    "policies: {overload: {redis_latency_max: 200ms, cap_tokens_to: 100}}\n"
    "routes:\n"
    "  - {name: order, match: {path: /order}, to: orders, priority: critical}\n"
    "  - {name: look, match: {path: /look}, to: orders, priority: low}\n"
    "  - {name: chat, match: {path: /chat}, to: inference, priority: low}\n";

static const char scenario[] =
    "duration: 60s\nseed: %u\n"
    "backends:\n"
    "  orders: {slots: 1, service: 1ms%s}\n"
    "  inference: {slots: 256, tokens: {per_second: 4000, kv: %s}}\n"
    "crowds:\n"
    "  buyers: {arrivals: [{rate: 20/s}], journey: [POST /order], patience: 5s, retry: 1}\n"
    "  guests: {arrivals: [{rate: 60/s}], journey: [GET /look], patience: 5s, retry: 1}\n"
    "  talkers: {arrivals: [{rate: 5/s}], patience: 60s, retry: 1,\n"
    "    journey: [{request: POST /chat, prompt_tokens: 400, output_tokens: 400}]}\n";

static uint64_t shed(const struct sim *sim, const char *route, enum fg_overload_resource resource)
{
    return sim_route_tally(sim, route)->shed[resource];
}

static const char *first_bite(const struct sim *sim)
{
    static struct fg_bite bites[FG_BITES_MAX];
    return fg_summary_bites(sim->tally, bites) > 0 ? bites[0].what : "nothing";
}

static void a_slow_redis_sheds_low_requests_to_it(void **state)
{
    (void)state;
    struct sim sim = sim_run("slow Redis", config, 600, scenario, 1,
                             ", faults: [{at: 20s, for: 10s, slow: 3000%}]", "1000000");
    print_message("  first %s; look %llu, order %.4f good\n", first_bite(&sim),
                  (unsigned long long)shed(&sim, "look", FG_OVERLOAD_REDIS_LATENCY),
                  sim_good_share(&sim, "order"));
    assert_string_equal(first_bite(&sim), "overload.redis_latency");
    assert_true(shed(&sim, "look", FG_OVERLOAD_REDIS_LATENCY) > 100);
    assert_true(shed(&sim, "chat", FG_OVERLOAD_REDIS_LATENCY) == 0);
    assert_true(shed(&sim, "order", FG_OVERLOAD_REDIS_LATENCY) == 0);
    double after = sim_good_per_s(&sim, "look", 35 * FG_S, 60 * FG_S);
    assert_true(after >= 0.9 * 60); /* it ends with its cause */
    sim_free(&sim);
}

static void a_redis_that_is_lost_is_full_pressure(void **state)
{
    (void)state;
    struct sim sim = sim_run("no Redis", config, 600, scenario, 2,
                             ", faults: [{at: 20s, for: 10s, slots: 0%}]", "1000000");
    assert_true(shed(&sim, "look", FG_OVERLOAD_REDIS_LATENCY) > 100);
    assert_true(sim_good_per_s(&sim, "look", 35 * FG_S, 60 * FG_S) >= 0.9 * 60);
    sim_free(&sim);
}

static void a_full_kv_cache_sheds_low_requests_to_the_model(void **state)
{
    (void)state;
    struct sim sim = sim_run("small KV cache", config, 600, scenario, 3, "", "4000");
    print_message("  first %s; chat %llu\n", first_bite(&sim),
                  (unsigned long long)shed(&sim, "chat", FG_OVERLOAD_KV_BLOCKS));
    assert_string_equal(first_bite(&sim), "overload.kv_blocks");
    assert_true(shed(&sim, "chat", FG_OVERLOAD_KV_BLOCKS) > 20);
    assert_true(shed(&sim, "look", FG_OVERLOAD_KV_BLOCKS) == 0);
    assert_true(sim_good_share(&sim, "look") == 1 && sim_good_share(&sim, "order") == 1);
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_redis_sheds_low_requests_to_it),
        cmocka_unit_test(a_redis_that_is_lost_is_full_pressure),
        cmocka_unit_test(a_full_kv_cache_sheds_low_requests_to_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
