/*
 * test_gate_flood.c: what gate_policy as a whole promises under floods, with one configuration that
 * knows nothing of the backend, and that without it the same flood is a collapse.
 */
#include "flood_model.h"

#include "policy_test.h"

#define SERVICE (20 * MS)

static const struct flood_phase calm = {
    .duration_ns = 5 * S, .slots = 8, .service_ns = SERVICE, .normal_per_s = 200};

static double share(uint64_t part, double whole)
{
    double value = whole > 0 ? (double)part / whole : 1;
    print_message("  %.4f of %.0f\n", value, whole);
    return value;
}

static void with_each_law(void (*check)(enum fg_concurrency_mode mode))
{
    check(FG_CONCURRENCY_GRADIENT2);
    check(FG_CONCURRENCY_VEGAS);
}

static void check_tenfold(enum fg_concurrency_mode mode)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    struct flood_model *model = flood_create(&config, test_seed(1));
    struct flood_phase flood = calm;
    flood.normal_per_s = 4000;
    flood.duration_ns = 10 * S;
    (void)flood_run(model, &calm);
    struct flood_result result = flood_run(model, &flood);
    assert_true(share(result.good, 4000) >= 0.97);
    print_message("  p99 %.1f ms\n", (double)result.p99_ns / 1e6);
    assert_true(result.p99_ns <= 85 * MS);
    assert_int_equal(result.late, 0);
    struct flood_result after = flood_run(model, &calm);
    assert_true(share(after.good, (double)after.offered) >= 0.99);
    flood_destroy(model);
}

static void tenfold_load_costs_no_goodput(void **state)
{
    (void)state;
    with_each_law(check_tenfold);
}

/* Over many seeds: a flood comes to a calm gate, which has ten seconds with it. */
static void check_tails(enum fg_concurrency_mode mode)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    double all_ms = 0, orders_ms = 0;
    uint64_t base = test_seed(100);
    for (uint64_t seed = base; seed < base + 20; seed++) {
        struct flood_model *model = flood_create(&config, seed);
        struct flood_phase flood = calm;
        flood.normal_per_s = 4000;
        flood.critical_per_s = 40;
        flood.duration_ns = 10 * S;
        (void)flood_run(model, &calm);
        struct flood_result result = flood_run(model, &flood);
        all_ms += (double)result.p99_ns / 1e6 / 20;
        orders_ms += (double)result.critical_p99_ns / 1e6 / 20;
        assert_true(result.p99_ns <= 90 * MS);
        assert_true(result.critical_p99_ns <= 65 * MS);
        assert_true(result.critical_good + 2 >= result.critical);
        flood_destroy(model);
    }
    print_message("  mean of the p99: all %.1f ms, orders %.1f ms\n", all_ms, orders_ms);
    assert_true(all_ms <= 73);
    assert_true(orders_ms <= 52);
}

static void nobody_is_let_in_to_be_late(void **state)
{
    (void)state;
    with_each_law(check_tails);
}

/* Chance alone would give 0.0001 of what is served to users who get five answers in a row. */
static double whole_of(enum fg_concurrency_mode mode, uint32_t slots, enum flood_service kind)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    struct flood_model *model = flood_create(&config, test_seed(8));
    struct flood_phase flood = calm;
    flood.slots = slots;
    flood.kind = kind;
    flood.normal_per_s = 500 * slots;
    flood.duration_ns = 5 * S;
    (void)flood_run(model, &flood);
    flood.duration_ns = 20 * S;
    struct flood_result result = flood_run(model, &flood);
    print_message("  %u slots: %.2f to whole users\n", slots, result.whole);
    flood_destroy(model);
    return result.whole;
}

static void check_whole_users(enum fg_concurrency_mode mode)
{
    assert_true(whole_of(mode, 8, FLOOD_EVEN) >= 0.5);
    assert_true(whole_of(mode, 8, FLOOD_EXPONENTIAL) >= 0.4);
    assert_true(whole_of(mode, 64, FLOOD_EVEN) >= 0.75);
    assert_true(whole_of(mode, 64, FLOOD_EXPONENTIAL) >= 0.7);
}

static void who_got_in_gets_in_again(void **state)
{
    (void)state;
    with_each_law(check_whole_users);
}

static void check_half_lost(enum fg_concurrency_mode mode)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    struct flood_model *model = flood_create(&config, test_seed(2));
    struct flood_phase busy = calm;
    busy.normal_per_s = 360;
    (void)flood_run(model, &busy);
    busy.slots = 4;
    busy.duration_ns = 10 * S;
    struct flood_result result = flood_run(model, &busy);
    assert_true(share(result.good, 2000) >= 0.97);
    flood_destroy(model);
}

static void half_the_slots_lost_is_found_out(void **state)
{
    (void)state;
    with_each_law(check_half_lost);
}

static void check_grown(enum fg_concurrency_mode mode)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    struct flood_model *model = flood_create(&config, test_seed(3));
    struct flood_phase busy = calm;
    busy.normal_per_s = 360;
    (void)flood_run(model, &busy);
    busy.slots = 64;
    busy.normal_per_s = 2400;
    busy.duration_ns = 10 * S;
    struct flood_result result = flood_run(model, &busy);
    assert_true(share(result.good, (double)result.offered) >= 0.95);
    flood_destroy(model);
}

static void eightfold_capacity_is_found_out(void **state)
{
    (void)state;
    with_each_law(check_grown);
}

static void check_critical(enum fg_concurrency_mode mode)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    struct flood_model *model = flood_create(&config, test_seed(4));
    struct flood_phase flood = calm;
    flood.normal_per_s = 4000;
    flood.critical_per_s = 50;
    flood.duration_ns = 10 * S;
    (void)flood_run(model, &calm);
    struct flood_result result = flood_run(model, &flood);
    assert_true(share(result.critical_good, (double)result.critical) >=
                0.99); /* the rest: under way */
    print_message("  p99 %.1f ms\n", (double)result.critical_p99_ns / 1e6);
    assert_true(result.critical_p99_ns <= 60 * MS);
    flood_destroy(model);
}

static void critical_requests_do_not_notice_the_flood(void **state)
{
    (void)state;
    with_each_law(check_critical);
}

/* The service itself becomes slower, and quicker: that is not queueing. */
static void check_other_service(enum fg_concurrency_mode mode, uint64_t service_ns, double least)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    struct flood_model *model = flood_create(&config, test_seed(5));
    struct flood_phase flood = calm;
    flood.normal_per_s = 4000;
    (void)flood_run(model, &flood);
    flood.service_ns = service_ns;
    flood.duration_ns = 10 * S;
    struct flood_result result = flood_run(model, &flood);
    double capacity = 8.0 / (double)service_ns * 1e9 * 10;
    assert_true(share(result.good, capacity) >= least);
    print_message("  p99 %.1f ms, limit %u\n", (double)result.p99_ns / 1e6, result.limit);
    assert_true(result.p99_ns <= 5 * service_ns + 50 * MS);
    flood_destroy(model);
}

static void a_slower_backend_is_not_taken_for_a_full_one(void **state)
{
    (void)state;
    check_other_service(FG_CONCURRENCY_GRADIENT2, 40 * MS, 0.96);
    check_other_service(FG_CONCURRENCY_GRADIENT2, 10 * MS, 0.97);
    check_other_service(FG_CONCURRENCY_GRADIENT2, 200 * MS, 0.94);
    check_other_service(FG_CONCURRENCY_VEGAS, 40 * MS, 0.80);
    check_other_service(FG_CONCURRENCY_VEGAS, 10 * MS, 0.97);
}

static void uneven_service_is_borne(void **state)
{
    (void)state;
    struct fg_gate_policy_config config = flood_cluster_config(FG_CONCURRENCY_GRADIENT2);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct flood_model *model = flood_create(&config, seed);
        struct flood_phase flood = calm;
        flood.kind = FLOOD_EXPONENTIAL;
        (void)flood_run(model, &flood);
        flood.normal_per_s = 4000;
        flood.duration_ns = 20 * S;
        struct flood_result result = flood_run(model, &flood);
        assert_true(share(result.good, 8000) >= 0.95);
        flood_destroy(model);
    }
}

static void a_step_is_absorbed_within_200_ms(void **state)
{
    (void)state;
    struct fg_gate_policy_config config = flood_cluster_config(FG_CONCURRENCY_GRADIENT2);
    struct flood_model *model = flood_create(&config, test_seed(6));
    struct flood_phase step = calm;
    step.normal_per_s = 380;
    (void)flood_run(model, &step);
    step.normal_per_s = 560;
    step.duration_ns = 200 * MS;
    (void)flood_run(model, &step);
    step.duration_ns = 5 * S;
    struct flood_result result = flood_run(model, &step);
    assert_true(share(result.good, 2000) >= 0.97);
    print_message("  p99 %.1f ms\n", (double)result.p99_ns / 1e6);
    assert_true(result.p99_ns <= 120 * MS);
    flood_destroy(model);
}

/* Of many slots so few are left that all who are in flight wait longer than their clients do. */
static void check_leavers(enum fg_concurrency_mode mode, double least)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    struct flood_model *model = flood_create(&config, test_seed(8));
    struct flood_phase flood = calm;
    flood.clients_leave = true;
    flood.timeout_ns = 300 * MS;
    flood.slots = 100;
    flood.normal_per_s = 10000;
    (void)flood_run(model, &flood);
    flood.slots = 4;
    (void)flood_run(model, &flood);
    struct flood_result result = flood_run(model, &flood);
    assert_true(share(result.good, 1000) >= least);
    flood_destroy(model);
}

static void clients_that_leave_tell_of_slots_that_are_lost(void **state)
{
    (void)state;
    check_leavers(FG_CONCURRENCY_GRADIENT2, 0.9);
    check_leavers(FG_CONCURRENCY_VEGAS, 0.9);
}

/* One more a window would take a quarter of a minute. */
static void after_all_have_left_aimd_finds_its_way_back(void **state)
{
    (void)state;
    struct fg_gate_policy_config config = flood_cluster_config(FG_CONCURRENCY_AIMD);
    struct flood_model *model = flood_create(&config, test_seed(9));
    struct flood_phase flood = {.duration_ns = 8 * S,
                                .slots = 100,
                                .service_ns = 200 * MS,
                                .normal_per_s = 1000,
                                .clients_leave = true};
    (void)flood_run(model, &flood);
    flood.slots = 4;
    struct flood_result collapse = flood_run(model, &flood);
    assert_in_range(collapse.limit, 1, 3);
    flood.slots = 100;
    flood.duration_ns = 10 * S;
    struct flood_result back = flood_run(model, &flood);
    assert_true(share(back.good, 5000) >= 0.3);
    flood.duration_ns = 5 * S;
    back = flood_run(model, &flood);
    assert_true(share(back.good, 2500) >= 0.9);
    flood_destroy(model);
}

/* A fixed limit that is far too high and a queue without law: the same flood is a collapse. */
static void without_the_policies_it_collapses(void **state)
{
    (void)state;
    struct fg_gate_policy_config config = flood_cluster_config(FG_CONCURRENCY_FIXED);
    config.limit.limit_initial = 10000;
    config.queue = (struct fg_queue_config){.capacity = 5000};
    config.level.window_ns = 0;
    struct flood_model *model = flood_create(&config, test_seed(7));
    struct flood_phase flood = calm;
    flood.normal_per_s = 4000;
    flood.duration_ns = 10 * S;
    (void)flood_run(model, &calm);
    struct flood_result result = flood_run(model, &flood);
    assert_true(share(result.good, 4000) < 0.3);
    assert_true(result.late > 1000);
    flood_destroy(model);
}

/*
 * As the inference pool: 16 are computed at once and take half a second, 16 more wait in the pool,
 * up to 256 before it, and waits of seconds are usual.
 */
static struct fg_gate_policy_config pool_config(void)
{
    struct fg_gate_policy_config config = flood_cluster_config(FG_CONCURRENCY_FIXED);
    config.limit.limit_initial = 32;
    config.queue = (struct fg_queue_config){
        .capacity = 256, .ageing_ns = 5 * S, .target_ns = 500 * MS, .interval_ns = 2 * S};
    config.level.target_ns = 450 * MS;
    config.wait_max_ns = 10 * S;
    return config;
}

/* Twenty times what a pool can do, from one moment to the next. */
static void who_is_refused_by_a_slow_backend_hears_it_at_once(void **state)
{
    (void)state;
    static const enum flood_service kinds[] = {FLOOD_EVEN, FLOOD_EXPONENTIAL, FLOOD_LOGNORMAL};
    const struct flood_phase usual = {.duration_ns = 20 * S,
                                      .slots = 16,
                                      .service_ns = 500 * MS,
                                      .normal_per_s = 16,
                                      .timeout_ns = 10 * S};
    uint64_t base = test_seed(300);
    for (unsigned i = 0; i < 12; i++) {
        struct fg_gate_policy_config config = pool_config();
        struct flood_model *model = flood_create(&config, base + i);
        struct flood_phase flood = usual;
        flood.kind = kinds[i % 3];
        (void)flood_run(model, &usual);
        flood.normal_per_s = 640;
        struct flood_result result = flood_run(model, &flood);
        print_message(
            "  useful %.3f, refused %llu, after 100 ms %llu, longest %.1f s; p99 %.1f s\n",
            result.useful, (unsigned long long)result.refused,
            (unsigned long long)result.refused_late, (double)result.refused_longest_ns / 1e9,
            (double)result.p99_ns / 1e9);
        assert_true(result.useful >= 0.97);
        assert_true(result.refused_late * 500 <= result.refused);
        assert_true(result.p99_ns <= 5 * S);
        flood_destroy(model);
    }
}

/* About so many come within 10 ms, and `background` each second before and after: the share that is
 * answered. */
static double burst_share(uint32_t slots, uint64_t service_ns, unsigned count, double background)
{
    struct fg_gate_policy_config config = flood_cluster_config(FG_CONCURRENCY_GRADIENT2);
    uint64_t good = 0, offered = 0, base = test_seed(400);
    for (uint64_t seed = base; seed < base + 10; seed++) {
        struct flood_model *model = flood_create(&config, seed);
        struct flood_phase phase = {.duration_ns = 5 * S,
                                    .slots = slots,
                                    .service_ns = service_ns,
                                    .normal_per_s = background,
                                    .timeout_ns = 30 * S};
        (void)flood_run(model, &phase);
        phase.duration_ns = 10 * MS;
        phase.normal_per_s = 100 * count;
        struct flood_result burst = flood_run(model, &phase);
        phase.duration_ns = 5 * S;
        phase.normal_per_s = background;
        struct flood_result after = flood_run(model, &phase);
        good += burst.good + after.good;
        offered += burst.offered + after.offered;
        flood_destroy(model);
    }
    double value = (double)good / (double)offered;
    print_message("  %u slots, %u at once, %.0f/s: %.3f\n", slots, count, background, value);
    return value;
}

static void a_burst_that_can_be_served_is(void **state)
{
    (void)state;
    assert_true(burst_share(1, 20 * MS, 20, 0.1) >= 0.99);
    assert_true(burst_share(1, 20 * MS, 90, 0.1) >= 0.99);
    assert_true(burst_share(1, 20 * MS, 50, 25) >= 0.99);
    assert_true(burst_share(1, 20 * MS, 20, 35) >= 0.99);
    assert_true(burst_share(8, 20 * MS, 400, 200) >= 0.99);
    assert_true(burst_share(1, 100 * MS, 15, 2) >= 0.97);
    assert_true(burst_share(4, 200 * MS, 30, 5) >= 0.97); /* refused at once, though it had room */
}

/* So many ask again as soon as they have been told something, as most that measures does: how many
 * of all they ask are refused. */
static void check_loop(uint32_t slots, uint64_t service_ns, enum flood_service kind,
                       uint32_t clients)
{
    struct fg_gate_policy_config config = flood_cluster_config(FG_CONCURRENCY_GRADIENT2);
    uint64_t base = test_seed(500);
    for (uint64_t seed = base; seed < base + 4; seed++) {
        struct flood_model *model = flood_create(&config, seed);
        const struct flood_phase phase = {.duration_ns = 10 * S,
                                          .slots = slots,
                                          .service_ns = service_ns,
                                          .kind = kind,
                                          .timeout_ns = 30 * S,
                                          .closed = clients,
                                          .think_ns = MS};
        struct flood_result result = flood_run(model, &phase);
        print_message("  %u slots of %.0f ms, %u clients: %llu refused, p99 %.0f ms\n", slots,
                      (double)service_ns / 1e6, clients, (unsigned long long)result.refused,
                      (double)result.p99_ns / 1e6);
        assert_int_equal(result.refused, 0);
        assert_true(result.useful >= 0.9);
        flood_destroy(model);
    }
}

static void who_asks_again_when_answered_is_no_flood(void **state)
{
    (void)state;
    static const enum flood_service kinds[] = {FLOOD_EVEN, FLOOD_EXPONENTIAL, FLOOD_LOGNORMAL};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        check_loop(1, 2 * MS, kinds[i], 64);
        check_loop(1, 2 * MS, kinds[i], 200);
        check_loop(1, 20 * MS, kinds[i], 10);
        check_loop(8, 20 * MS, kinds[i], 100);
        check_loop(64, 20 * MS, kinds[i], 500);
    }
}

/* Their lots are worse than his, nearly all. */
static double share_of_others(enum fg_concurrency_mode mode, double one_per_s, double others_per_s)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    struct flood_model *model = flood_create(&config, test_seed(1));
    struct flood_phase flood = calm;
    flood.duration_ns = 10 * S;
    flood.normal_per_s = others_per_s;
    flood.one_per_s = one_per_s;
    (void)flood_run(model, &calm);
    struct flood_result result = flood_run(model, &flood);
    double served = share(result.of_others_good, (double)result.of_others);
    assert_true(share(result.good, 4000) >= 0.97); /* what is left goes to the one client */
    flood_destroy(model);
    return served;
}

static void check_one(enum fg_concurrency_mode mode)
{
    assert_true(share_of_others(mode, 4000, 40) >= 0.96);
    assert_true(share_of_others(mode, 13000, 40) >= 0.96);
    assert_true(share_of_others(mode, 4000, 100) >= 0.96);
    assert_true(share_of_others(mode, 4000, 200) >= 0.9); /* half of what there is */
    assert_true(share_of_others(mode, 1000, 200) >= 0.9);
}

static void one_client_floods_nobody_but_himself(void **state)
{
    (void)state;
    with_each_law(check_one);
}

/* A little more than can be served, for long: nobody is passed by until he has aged. */
static void check_mild(enum fg_concurrency_mode mode, enum flood_service kind, double load)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    double p99_ms = 0, useful = 0;
    uint64_t base = test_seed(300);
    config.limit.limit_initial = mode == FG_CONCURRENCY_FIXED ? 8 : config.limit.limit_initial;
    for (uint64_t seed = base; seed < base + 5; seed++) {
        struct flood_model *model = flood_create(&config, seed);
        struct flood_phase mild = calm;
        mild.kind = kind;
        mild.normal_per_s = 400 * load;
        mild.duration_ns = 10 * S;
        mild.timeout_ns = 5 * S;
        (void)flood_run(model, &calm);
        (void)flood_run(model, &mild);
        mild.duration_ns = 30 * S;
        struct flood_result result = flood_run(model, &mild);
        p99_ms += (double)result.p99_ns / 1e6 / 5;
        useful += result.useful / 5;
        flood_destroy(model);
    }
    print_message("  at %.2fx: p99 %.0f ms, %.4f of the peak\n", load, p99_ms, useful);
    assert_true(p99_ms <= 400);
    assert_true(useful >= 0.95);
}

static void a_mild_overload_has_no_tail_of_a_second(void **state)
{
    (void)state;
    static const double loads[] = {1.05, 1.1, 1.2};
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        check_mild(FG_CONCURRENCY_FIXED, FLOOD_EVEN, loads[i]);
        check_mild(FG_CONCURRENCY_FIXED, FLOOD_LOGNORMAL, loads[i]);
        check_mild(FG_CONCURRENCY_GRADIENT2, FLOOD_EXPONENTIAL, loads[i]);
        check_mild(FG_CONCURRENCY_VEGAS, FLOOD_EXPONENTIAL, loads[i]);
    }
}

/* Of who floods nobody has a sixteenth of all. `people` as in the model. */
static double share_beside(enum fg_concurrency_mode mode, uint32_t flooders, double flood_per_s,
                           uint32_t people)
{
    struct fg_gate_policy_config config = flood_cluster_config(mode);
    struct flood_model *model = flood_create(&config, test_seed(1));
    struct flood_phase flood = calm;
    flood.duration_ns = 4 * S; /* in which they are found out */
    flood.normal_per_s = 40;
    flood.one_per_s = flood_per_s;
    flood.flooders = flooders;
    flood.people = people;
    (void)flood_run(model, &calm);
    (void)flood_run(model, &flood);
    flood.duration_ns = 20 * S;
    struct flood_result result = flood_run(model, &flood);
    print_message("%u flood with %.0f/s:\n", flooders, flood_per_s);
    double served = share(result.of_others_good, (double)result.of_others);
    assert_true(share(result.good, 8000) >= 0.97);
    flood_destroy(model);
    return served;
}

static void check_many(enum fg_concurrency_mode mode)
{
    assert_true(share_beside(mode, 16, 4000, 0) >= 0.95);
    assert_true(share_beside(mode, 64, 4000, 0) >= 0.95);
    assert_true(share_beside(mode, 64, 13000, 0) >= 0.95);
    assert_true(share_beside(mode, 256, 4000, 0) >= 0.93); /* some share all places of theirs */
    assert_true(share_beside(mode, 256, 13000, 0) >= 0.92);
    assert_true(share_beside(mode, 64, 4000, 20) >= 0.95); /* each asks twice a second */
    assert_true(share_beside(mode, 256, 13000, 300) >= 0.9);
}

/* Users of one carrier, each known by his name, are owners as any other people. */
static void many_clients_flood_nobody_but_themselves(void **state)
{
    (void)state;
    with_each_law(check_many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_client_floods_nobody_but_himself),
        cmocka_unit_test(many_clients_flood_nobody_but_themselves),
        cmocka_unit_test(a_mild_overload_has_no_tail_of_a_second),
        cmocka_unit_test(tenfold_load_costs_no_goodput),
        cmocka_unit_test(nobody_is_let_in_to_be_late),
        cmocka_unit_test(who_got_in_gets_in_again),
        cmocka_unit_test(half_the_slots_lost_is_found_out),
        cmocka_unit_test(eightfold_capacity_is_found_out),
        cmocka_unit_test(critical_requests_do_not_notice_the_flood),
        cmocka_unit_test(a_slower_backend_is_not_taken_for_a_full_one),
        cmocka_unit_test(uneven_service_is_borne),
        cmocka_unit_test(a_step_is_absorbed_within_200_ms),
        cmocka_unit_test(clients_that_leave_tell_of_slots_that_are_lost),
        cmocka_unit_test(after_all_have_left_aimd_finds_its_way_back),
        cmocka_unit_test(without_the_policies_it_collapses),
        cmocka_unit_test(a_burst_that_can_be_served_is),
        cmocka_unit_test(who_asks_again_when_answered_is_no_flood),
        cmocka_unit_test(who_is_refused_by_a_slow_backend_hears_it_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
