/*
 * test_balance.c: shares, two choices, keys under bounded load, levels, panic, slow start.
 */
#include "policies/balance.h"
#include "policy_test.h"

#define HOSTS_MAX 16u

struct fixture {
    struct fg_balance balance;
    struct fg_balance_conf conf;
    struct fg_balance_host hosts[HOSTS_MAX];
    struct fg_maglev_host scratch[HOSTS_MAX];
    uint16_t order[HOSTS_MAX];
    uint16_t slots[16381];
    uint64_t seed;
    struct fg_balance_ask ask;
    uint32_t counts[HOSTS_MAX];
};

static void setup(struct fixture *f, enum fg_balance_kind kind, size_t count)
{
    memset(f, 0, sizeof(*f));
    f->conf = (struct fg_balance_conf){
        .kind = kind, .panic_permille = 500, .overprovision_permille = 1400};
    f->seed = 42;
    for (size_t i = 0; i < count; i++)
        f->hosts[i] =
            (struct fg_balance_host){.name_hash = i * 7919 + 3, .weight = 1, .is_healthy = true};
    fg_balance_init(&f->balance, &f->conf, f->hosts, count, f->order, f->slots, f->scratch);
}

static void again(struct fixture *f)
{
    fg_balance_init(&f->balance, &f->conf, f->hosts, f->balance.host_count, f->order, f->slots,
                    f->scratch);
}

static size_t pick(struct fixture *f)
{
    f->ask.random = test_random(&f->seed);
    return fg_balance_pick(&f->balance, &f->ask);
}

static void pick_many(struct fixture *f, unsigned times)
{
    memset(f->counts, 0, sizeof(f->counts));
    for (unsigned i = 0; i < times; i++) {
        size_t index = pick(f);
        assert_true(index < f->balance.host_count);
        f->counts[index]++;
    }
}

static void round_robin_is_smooth_and_weighted(void **state)
{
    (void)state;
    static const size_t expected[] = {0, 0, 1, 0, 2, 0, 0};
    struct fixture f;
    setup(&f, FG_BALANCE_ROUND_ROBIN, 3);
    f.hosts[0].weight = 5;
    again(&f);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(pick(&f), expected[i]);
}

static void a_resting_or_tried_host_is_passed_over(void **state)
{
    (void)state;
    static const enum fg_balance_kind kinds[] = {FG_BALANCE_ROUND_ROBIN, FG_BALANCE_LEAST_REQUEST,
                                                 FG_BALANCE_HASH};
    for (size_t k = 0; k < 3; k++) {
        struct fixture f;
        const uint16_t tried[] = {1};
        setup(&f, kinds[k], 3);
        f.ask.now_ns = 100;
        f.hosts[0].not_before_ns = 101;
        f.ask.tried = tried;
        f.ask.tried_count = 1;
        for (unsigned i = 0; i < 50; i++)
            assert_int_equal(pick(&f), 2);
        f.ask.now_ns = 101;
        pick_many(&f, 50);
        assert_true(f.counts[0] > 0 && f.counts[1] == 0 && f.counts[2] > 0);
    }
}

static void with_nobody_fit_the_soonest_untried_is_taken(void **state)
{
    (void)state;
    struct fixture f;
    const uint16_t tried[] = {0, 1, 2};
    setup(&f, FG_BALANCE_LEAST_REQUEST, 3);
    for (size_t i = 0; i < 3; i++)
        f.hosts[i].not_before_ns = 100 - i;
    assert_int_equal(pick(&f), 2);
    f.ask.tried = &tried[2];
    f.ask.tried_count = 1;
    assert_int_equal(pick(&f), 1);
    f.ask.tried = tried;
    f.ask.tried_count = 3;
    assert_int_equal(pick(&f), 2);
    f.balance.host_count = 0;
    assert_true(pick(&f) == FG_BALANCE_NONE);
}

static void two_choices_prefer_the_less_loaded(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, FG_BALANCE_LEAST_REQUEST, 4);
    for (unsigned i = 0; i < 4000; i++)
        fg_balance_started(&f.balance, pick(&f));
    for (size_t i = 0; i < 4; i++)
        assert_in_range(f.hosts[i].in_flight, 990, 1010);
    f.hosts[0].in_flight = 100000;
    pick_many(&f, 200);
    assert_int_equal(f.counts[0], 0);
}

static void two_choices_heed_weights(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, FG_BALANCE_LEAST_REQUEST, 2);
    f.hosts[0].weight = 3;
    again(&f);
    for (unsigned i = 0; i < 4000; i++)
        fg_balance_started(&f.balance, pick(&f));
    assert_in_range(f.hosts[0].in_flight, 2990, 3010);
    fg_balance_ended(&f.balance, 0);
    assert_int_equal(f.balance.in_flight, 3999);
}

/* With nobody busy the light one has its share, too, and a new one grows into its own. */
static void two_choices_heed_weights_when_idle(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, FG_BALANCE_LEAST_REQUEST, 3);
    f.hosts[0].weight = 6;
    f.hosts[1].weight = 3;
    again(&f);
    pick_many(&f, 10000);
    assert_in_range(f.counts[0], 5800, 6200);
    assert_in_range(f.counts[2], 850, 1150);
    f.hosts[0].weight = f.hosts[1].weight = 1;
    f.conf.slow_start_ns = 10 * S;
    f.hosts[2].healthy_since_ns = 100 * S;
    again(&f);
    f.ask.now_ns = 100 * S;
    pick_many(&f, 10000);
    assert_in_range(f.counts[2], 400, 550); /* 0.1 of 2.1 */
    f.ask.now_ns = 105 * S;
    pick_many(&f, 10000);
    assert_in_range(f.counts[2], 1850, 2150); /* 0.5 of 2.5 */
    f.ask.now_ns = 110 * S;
    pick_many(&f, 9000);
    assert_in_range(f.counts[2], 2850, 3150);
    f.hosts[2].in_flight = 1; /* but who is busy is left to the others */
    pick_many(&f, 1000);
    assert_int_equal(f.counts[2], 0);
}

static void a_key_keeps_its_host(void **state)
{
    (void)state;
    struct fixture f;
    size_t before[200];
    setup(&f, FG_BALANCE_HASH, 8);
    f.ask.has_key = true;
    for (uint64_t key = 0; key < 200; key++) {
        f.ask.key_hash = key * UINT64_C(0x9e3779b97f4a7c15);
        before[key] = pick(&f);
        assert_int_equal(pick(&f), before[key]);
    }
    f.hosts[3].is_healthy = false;
    fg_balance_refresh(&f.balance);
    for (uint64_t key = 0; key < 200; key++) {
        f.ask.key_hash = key * UINT64_C(0x9e3779b97f4a7c15);
        size_t now = pick(&f);
        if (before[key] != 3)
            assert_int_equal(now, before[key]);
        else
            assert_int_not_equal(now, 3);
    }
}

static void one_hot_key_spills_over_at_the_bound(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, FG_BALANCE_HASH, 4);
    f.conf.hash_load_permille = 1250;
    again(&f);
    f.ask.has_key = true;
    f.ask.key_hash = 77;
    for (unsigned i = 0; i < 400; i++)
        fg_balance_started(&f.balance, pick(&f));
    for (size_t i = 0; i < 4; i++)
        assert_true(f.hosts[i].in_flight <= 126);
}

static void without_a_key_hosts_are_random(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, FG_BALANCE_HASH, 4);
    pick_many(&f, 4000);
    for (size_t i = 0; i < 4; i++)
        assert_in_range(f.counts[i], 800, 1200);
}

/* 4 hosts of level 0, 4 of level 1. */
static void setup_levels(struct fixture *f)
{
    setup(f, FG_BALANCE_ROUND_ROBIN, 8);
    for (size_t i = 4; i < 8; i++)
        f->hosts[i].priority = 1;
    fg_balance_refresh(&f->balance);
}

static uint32_t of_level_1(const struct fixture *f)
{
    return f->counts[4] + f->counts[5] + f->counts[6] + f->counts[7];
}

static void load_spills_to_the_next_level_as_health_falls(void **state)
{
    (void)state;
    struct fixture f;
    setup_levels(&f);
    pick_many(&f, 1000);
    assert_int_equal(of_level_1(&f), 0);
    f.hosts[0].is_healthy = false; /* 3 of 4 x 1.4 is enough */
    fg_balance_refresh(&f.balance);
    pick_many(&f, 1000);
    assert_int_equal(of_level_1(&f), 0);
    assert_int_equal(f.counts[0], 0);
    f.hosts[1].is_healthy = false; /* 2 of 4 x 1.4 = 70 % */
    fg_balance_refresh(&f.balance);
    pick_many(&f, 10000);
    assert_in_range(of_level_1(&f), 2800, 3200);
    f.hosts[2].is_healthy = f.hosts[3].is_healthy = false;
    fg_balance_refresh(&f.balance);
    pick_many(&f, 1000);
    assert_int_equal(of_level_1(&f), 1000);
    assert_int_equal(f.balance.panic_total, 0);
}

static void who_is_out_is_never_chosen(void **state)
{
    (void)state;
    static const enum fg_balance_kind kinds[] = {FG_BALANCE_ROUND_ROBIN, FG_BALANCE_LEAST_REQUEST,
                                                 FG_BALANCE_HASH};
    for (size_t k = 0; k < 3; k++) {
        struct fixture f;
        setup(&f, kinds[k], 4);
        f.hosts[1].is_out = true;
        f.hosts[3].is_healthy = false;
        fg_balance_refresh(&f.balance);
        pick_many(&f, 100);
        assert_int_equal(f.counts[1] + f.counts[3], 0);
        assert_int_equal(f.balance.panic_total, 0); /* two of three are healthy */
        f.hosts[0].is_healthy = f.hosts[2].is_healthy = false;
        f.hosts[1].is_healthy = false;
        fg_balance_refresh(&f.balance);
        pick_many(&f, 100); /* panic */
        assert_int_equal(f.counts[1], 0);
        assert_true(f.counts[0] > 0 && f.counts[2] > 0 && f.counts[3] > 0);
        for (size_t i = 0; i < 4; i++)
            f.hosts[i].is_out = true;
        fg_balance_refresh(&f.balance);
        assert_int_equal(pick(&f), FG_BALANCE_NONE);
        f.hosts[2].is_out = false;
        fg_balance_refresh(&f.balance);
        pick_many(&f, 10);
        assert_int_equal(f.counts[2], 10);
    }
}

static void who_is_out_leaves_the_level_to_the_next(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, FG_BALANCE_ROUND_ROBIN, 2);
    f.hosts[1].priority = 1;
    f.hosts[0].is_out = true;
    again(&f);
    pick_many(&f, 10);
    assert_int_equal(f.counts[1], 10);
    assert_int_equal(f.balance.panic_total, 0);
}

static void too_few_healthy_anywhere_is_panic(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, FG_BALANCE_ROUND_ROBIN, 4);
    f.hosts[0].is_healthy = f.hosts[1].is_healthy = false;
    fg_balance_refresh(&f.balance); /* half is not below half */
    pick_many(&f, 100);
    assert_int_equal(f.counts[0] + f.counts[1], 0);
    f.hosts[2].is_healthy = false;
    fg_balance_refresh(&f.balance);
    pick_many(&f, 100);
    assert_int_equal(f.counts[0], 25);
    assert_int_equal(f.balance.panic_total, 100);
    f.conf.panic_permille = 0;
    again(&f);
    pick_many(&f, 100);
    assert_int_equal(f.counts[3], 100);
    f.hosts[3].is_healthy = false; /* nobody: all, whatever the threshold */
    fg_balance_refresh(&f.balance);
    pick_many(&f, 100);
    assert_int_equal(f.counts[2], 25);
}

static void a_new_host_starts_slowly(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, FG_BALANCE_ROUND_ROBIN, 2);
    f.conf.slow_start_ns = 10 * S;
    again(&f);
    f.hosts[1].healthy_since_ns = 100 * S;
    f.ask.now_ns = 100 * S;
    pick_many(&f, 1100);
    assert_in_range(f.counts[1], 95, 105); /* a tenth of a share */
    f.ask.now_ns = 105 * S;
    pick_many(&f, 1500);
    assert_in_range(f.counts[1], 490, 510);
    f.ask.now_ns = 110 * S;
    pick_many(&f, 1000);
    assert_in_range(f.counts[1], 495, 505);
    f.ask.now_ns = 1; /* a clock that went back: young */
    pick_many(&f, 1100);
    assert_in_range(f.counts[1], 90, 110);
    f.ask.now_ns = UINT64_MAX;
    pick_many(&f, 1000);
    assert_in_range(f.counts[1], 495, 505);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_robin_is_smooth_and_weighted),
        cmocka_unit_test(a_resting_or_tried_host_is_passed_over),
        cmocka_unit_test(with_nobody_fit_the_soonest_untried_is_taken),
        cmocka_unit_test(two_choices_prefer_the_less_loaded),
        cmocka_unit_test(two_choices_heed_weights),
        cmocka_unit_test(two_choices_heed_weights_when_idle),
        cmocka_unit_test(a_key_keeps_its_host),
        cmocka_unit_test(one_hot_key_spills_over_at_the_bound),
        cmocka_unit_test(without_a_key_hosts_are_random),
        cmocka_unit_test(load_spills_to_the_next_level_as_health_falls),
        cmocka_unit_test(too_few_healthy_anywhere_is_panic),
        cmocka_unit_test(who_is_out_is_never_chosen),
        cmocka_unit_test(who_is_out_leaves_the_level_to_the_next),
        cmocka_unit_test(a_new_host_starts_slowly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
