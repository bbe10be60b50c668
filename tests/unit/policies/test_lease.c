/*
 * test_lease.c: gateways that lease from one count, which answers late or not at all: what they let
 * pass together stays within the stated bounds, and what is leased is used.
 */
#include "policies/lease.h"
#include "policies/wide_math.h"
#include "policy_test.h"

#include <limits.h>

#define GATEWAYS 4

struct gateway {
    struct fg_lease lease;
    struct fg_lease_question question; /* under way while lease.is_asking */
    uint64_t answer_at_ns;             /* UINT64_MAX: it will be lost */
    uint64_t lost_at_ns;
};

/* What rate_lease.lua does. */
struct count {
    struct fg_gcra gcra;
    bool is_away;
};

static void hear(struct count *count, const struct fg_lease_question *question, uint64_t now_ns,
                 uint32_t *granted, uint64_t *wait_ns)
{
    if (question->charged >= 0)
        fg_gcra_charge(&count->gcra, now_ns, (uint64_t)question->charged);
    else
        fg_gcra_give_back(&count->gcra, now_ns, (uint64_t)-question->charged);
    uint64_t room = fg_gcra_level(&count->gcra, now_ns);
    *granted = room < question->wanted ? (uint32_t)room : question->wanted;
    fg_gcra_charge(&count->gcra, now_ns, *granted);
    *wait_ns = 0;
    struct fg_gcra later = count->gcra;
    if (*granted == 0)
        assert_false(fg_gcra_try_take(&later, now_ns, 1, wait_ns));
}

static void finish_question(const struct fg_lease_rule *rule, struct count *count,
                            struct gateway *gateway, uint64_t now_ns)
{
    uint32_t granted;
    uint64_t wait_ns;
    if (!gateway->lease.is_asking)
        return;
    if (now_ns >= gateway->answer_at_ns) {
        hear(count, &gateway->question, now_ns, &granted, &wait_ns);
        fg_lease_granted(rule, &gateway->lease, now_ns, granted, wait_ns);
    } else if (now_ns >= gateway->lost_at_ns) {
        fg_lease_lost(&gateway->lease, now_ns);
    }
}

static bool ask_gateway(const struct fg_lease_rule *rule, const struct count *count,
                        struct gateway *gateway, uint64_t now_ns, uint64_t cost, uint64_t delay_ns)
{
    struct fg_limit_verdict verdict;
    struct fg_lease_question question;
    bool is_allowed = fg_lease_try_take(rule, &gateway->lease, now_ns, cost, &verdict, &question);
    assert_int_equal(is_allowed, verdict.allowed);
    assert_true(is_allowed == (verdict.wait_ns == 0));
    if (question.is_due) {
        assert_true(question.wanted >= 1);
        gateway->question = question;
        gateway->answer_at_ns = count->is_away ? UINT64_MAX : now_ns + delay_ns;
        gateway->lost_at_ns = now_ns + 250 * MS;
    }
    return is_allowed;
}

static struct fg_lease_rule rule_of(uint64_t amount, uint64_t burst, uint32_t block,
                                    uint32_t share_permille)
{
    struct fg_lease_rule rule;
    fg_lease_rule_init(&rule, amount, S, burst, block, share_permille);
    return rule;
}

static void set_up(const struct fg_lease_rule *rule, struct count *count,
                   struct gateway gateways[GATEWAYS], uint64_t amount)
{
    fg_gcra_init(&count->gcra, amount, S, rule->burst, 0);
    count->is_away = false;
    memset(gateways, 0, GATEWAYS * sizeof(*gateways));
    for (int i = 0; i < GATEWAYS; i++)
        fg_lease_init(rule, &gateways[i].lease, 0);
}

static void a_block_passes_at_once_and_the_count_hears_of_it(void **state)
{
    (void)state;
    struct fg_lease_rule rule = rule_of(10, 10, 4, 500);
    struct fg_lease lease = {.key = {.key_hi = 7}};
    struct fg_limit_verdict v;
    struct fg_lease_question q;
    fg_lease_init(&rule, &lease, 0);
    assert_int_equal(lease.key.key_hi, 7);
    assert_true(fg_lease_try_take(&rule, &lease, 0, 1, &v, &q));
    assert_false(q.is_due); /* the only request of this key, as far as anybody knows */
    assert_true(fg_lease_try_take(&rule, &lease, 0, 1, &v, &q));
    assert_true(q.is_due);
    assert_int_equal(q.charged, 2);
    assert_int_equal(q.wanted, 2);
    assert_true(fg_lease_try_take(&rule, &lease, 0, 1, &v, &q));
    assert_false(q.is_due); /* one at a time */
    assert_true(fg_lease_try_take(&rule, &lease, 0, 1, &v, &q));
    assert_false(fg_lease_try_take(&rule, &lease, 0, 1, &v, &q)); /* the block is out */
    assert_true(v.wait_ns > 0);
    fg_lease_granted(&rule, &lease, MS, 2, 0);
    assert_int_equal(lease.left, 2);
    assert_true(fg_lease_try_take(&rule, &lease, MS, 1, &v, &q));
    assert_true(q.is_due);
    assert_int_equal(q.charged, 2); /* the other two of the block */
    assert_int_equal(q.wanted, 4);
}

static void a_no_is_kept_to_until_it_ends(void **state)
{
    (void)state;
    struct fg_lease_rule rule = rule_of(10, 10, 2, 500);
    struct fg_lease lease = {.left = 0};
    struct fg_limit_verdict v;
    struct fg_lease_question q;
    fg_lease_init(&rule, &lease, 0);
    fg_lease_try_take(&rule, &lease, 0, 1, &v, &q);
    fg_lease_try_take(&rule, &lease, 0, 1, &v, &q);
    assert_true(q.is_due);
    fg_lease_granted(&rule, &lease, 0, 0, 300 * MS);
    assert_false(fg_lease_try_take(&rule, &lease, 100 * MS, 1, &v, &q));
    assert_false(q.is_due);
    assert_int_equal(v.wait_ns, 200 * MS);
    assert_int_equal(v.remaining, 0);
    assert_true(fg_lease_try_take(&rule, &lease, 300 * MS, 1, &v, &q)); /* in advance, and asks */
    assert_true(q.is_due);
    assert_false(fg_lease_try_take(&rule, &lease, 300 * MS, 1, &v, &q)); /* one, as it is tight */
}

static void without_the_count_the_share_applies(void **state)
{
    (void)state;
    struct fg_lease_rule rule = rule_of(10, 10, 4, 500);
    struct fg_lease lease = {.left = 0};
    struct fg_limit_verdict v;
    struct fg_lease_question q;
    uint64_t passed = 0;
    fg_lease_init(&rule, &lease, 0);
    lease.left = 3; /* of the last lease */
    for (uint64_t now_ns = 0; now_ns <= 60 * S; now_ns += 10 * MS) {
        passed += fg_lease_try_take(&rule, &lease, now_ns, 1, &v, &q);
        if (q.is_due && now_ns % (100 * MS) == 0)
            fg_lease_lost(&lease, now_ns);
        else if (q.is_due)
            fg_lease_not_asked(&rule, &lease, &q);
        assert_true(lease.unreported <= 4); /* no debt that would shut out when it comes back */
    }
    assert_in_range(passed, 3 + 4 + 298, 3 + 4 + 300); /* it is full until the lease is spent */
}

/* A count that answers errors at once: 100 requests a second, each of which would ask again. */
static void what_is_lost_gives_the_count_a_rest(void **state)
{
    (void)state;
    struct fg_lease_rule rule = rule_of(1000, 1000, 10, 500);
    struct fg_lease lease = {.key = {.key_hi = 5}};
    struct fg_limit_verdict v;
    struct fg_lease_question q;
    uint64_t asked = 0, held_back = 0, passed = 0, last_ns = 0, longest_ns = 0;
    fg_lease_init(&rule, &lease, 0);
    for (uint64_t now_ns = 0; now_ns < 20 * S; now_ns += 10 * MS) {
        passed += fg_lease_try_take(&rule, &lease, now_ns, 1, &v, &q);
        held_back += q.is_held_back;
        assert_false(q.is_due && q.is_held_back);
        if (!q.is_due)
            continue;
        if (asked > 0 && now_ns - last_ns > longest_ns)
            longest_ns = now_ns - last_ns;
        asked++;
        last_ns = now_ns;
        fg_lease_lost(&lease, now_ns);
    }
    assert_int_equal(passed, 2000);   /* the share is enough for all of them */
    assert_in_range(asked, 6, 6 + 6); /* 3.1 s of doubling, then every 3.2 to 4 s */
    assert_int_equal(held_back, 2000 - 1 - asked);
    assert_in_range(longest_ns, 3200 * MS, 4010 * MS);
    fg_lease_granted(&rule, &lease, 21 * S, 5, 0); /* an answer ends it */
    assert_int_equal(lease.lost_in_row, 0);
    while (!q.is_due)
        assert_true(fg_lease_try_take(&rule, &lease, 21 * S, 1, &v, &q));
    fg_lease_lost(&lease, 21 * S);
    assert_in_range(lease.quiet_until_ns, 21 * S + 100 * MS, 21 * S + 125 * MS);
    /* what no share holds waits for the rest, and not for ever; others are not shut out */
    assert_false(fg_lease_try_take(&rule, &lease, 21 * S, 500, &v, &q));
    assert_true(q.is_held_back);
    assert_int_equal(v.wait_ns, lease.quiet_until_ns - 21 * S);
    assert_true(fg_lease_try_take(&rule, &lease, 21 * S, 1, &v, &q));
}

static void rests_are_bounded_and_spread(void **state)
{
    (void)state;
    assert_int_equal(fg_lease_rest_ns(1, 0), 100 * MS);
    assert_int_equal(fg_lease_rest_ns(2, 0), 200 * MS);
    assert_int_equal(fg_lease_rest_ns(6, 0), 3200 * MS);
    assert_int_equal(fg_lease_rest_ns(UINT_MAX, 0), 3200 * MS);
    assert_int_equal(fg_lease_rest_ns(UINT_MAX, UINT64_MAX), 4000 * MS);
}

static void what_can_never_pass_is_told_and_what_is_large_is_leased(void **state)
{
    (void)state;
    struct fg_lease_rule rule = rule_of(10, 100, 10, 500);
    struct fg_lease lease = {.left = 0};
    struct fg_limit_verdict v;
    struct fg_lease_question q;
    fg_lease_init(&rule, &lease, 0);
    assert_false(fg_lease_try_take(&rule, &lease, 0, 101, &v, &q));
    assert_false(q.is_due);
    assert_true(v.wait_ns == UINT64_MAX);
    assert_false(fg_lease_try_take(&rule, &lease, 0, 60, &v, &q));
    assert_true(q.is_due);
    assert_int_equal(q.wanted, 60);
    fg_lease_granted(&rule, &lease, MS, 60, 0);
    assert_true(fg_lease_try_take(&rule, &lease, MS, 60, &v, &q));
}

static void settled_costs_reach_the_count(void **state)
{
    (void)state;
    struct fg_lease_rule rule = rule_of(10, 100, 20, 500);
    struct fg_lease lease = {.left = 0};
    struct fg_limit_verdict v;
    struct fg_lease_question q;
    fg_lease_init(&rule, &lease, 0);
    assert_true(fg_lease_try_take(&rule, &lease, 0, 10, &v, &q));
    fg_lease_settle(&rule, &lease, 0, 10, 4);
    assert_int_equal(lease.left, 6); /* here first */
    fg_lease_settle(&rule, &lease, 0, 30, 0);
    assert_int_equal(lease.left, 20);
    assert_int_equal(lease.unreported, 10 - 16); /* and the rest to all */
    fg_lease_settle(&rule, &lease, 0, 0, 50);
    assert_int_equal(lease.left, 0);
    assert_int_equal(lease.unreported, -6 + 30);
    assert_false(fg_lease_try_take(&rule, &lease, 0, 1, &v, &q)); /* owed here too */
    assert_true(q.is_due);
    assert_int_equal(q.charged, 24);
}

/* While the count answers: the limit of all, and one block a gateway. */
static void together_they_keep_to_the_limit_and_one_lease_each(void **state)
{
    (void)state;
    uint64_t seed = test_seed(23);
    for (int round = 0; round < 60; round++) {
        struct count count;
        struct gateway gateways[GATEWAYS];
        uint64_t amount = 1 + test_below(&seed, 2000), burst = 1 + test_below(&seed, 300);
        uint32_t block = 1 + (uint32_t)test_below(&seed, burst);
        struct fg_lease_rule rule = rule_of(amount, burst, block, 500);
        uint64_t now_ns = 0, passed = 0, tried = 0;
        set_up(&rule, &count, gateways, amount);
        for (int i = 0; i < 20000; i++) {
            now_ns += test_below(&seed, 2 * S / amount + 2);
            for (int g = 0; g < GATEWAYS; g++)
                finish_question(&rule, &count, &gateways[g], now_ns);
            struct gateway *gateway = &gateways[test_below(&seed, GATEWAYS)];
            tried++;
            /* answers take up to the time in which a block is earned, 50 ms at most */
            uint64_t delay_ns = (uint64_t)block * S / amount / GATEWAYS;
            delay_ns = test_below(&seed, 1 + (delay_ns < 50 * MS ? delay_ns : 50 * MS));
            passed += ask_gateway(&rule, &count, gateway, now_ns, 1, delay_ns);
            assert_true(passed <=
                        burst + fg_multiply_divide(now_ns, amount, S) + (uint64_t)GATEWAYS * block);
        }
        /* and nearly all of what may pass does, when enough is asked for */
        uint64_t may_pass = fg_multiply_divide(now_ns, amount, S);
        uint64_t least = may_pass < tried ? may_pass : tried;
        assert_true(passed + (uint64_t)GATEWAYS * (2 * block + 2) >= least * 8 / 10);
    }
}

/* While it does not: the last lease, one block, and the share of the rate, each. */
static void an_outage_costs_no_more_than_the_share(void **state)
{
    (void)state;
    uint64_t seed = test_seed(29);
    for (int round = 0; round < 60; round++) {
        struct count count;
        struct gateway gateways[GATEWAYS];
        uint64_t amount = 10 + test_below(&seed, 2000), burst = 1 + test_below(&seed, 300);
        uint32_t block = 1 + (uint32_t)test_below(&seed, burst);
        uint32_t share = 1 + (uint32_t)test_below(&seed, 1000);
        struct fg_lease_rule rule = rule_of(amount, burst, block, share);
        uint64_t now_ns = 0, gone_ns = 0, passed = 0;
        set_up(&rule, &count, gateways, amount);
        for (int i = 0; i < 20000; i++) {
            if (i == 5000) {
                count.is_away = true;
                gone_ns = now_ns;
                passed = 0;
            }
            now_ns += test_below(&seed, S / amount + 2);
            for (int g = 0; g < GATEWAYS; g++)
                finish_question(&rule, &count, &gateways[g], now_ns);
            struct gateway *gateway = &gateways[test_below(&seed, GATEWAYS)];
            passed += ask_gateway(&rule, &count, gateway, now_ns, 1, test_below(&seed, 20 * MS));
            uint64_t by_share = fg_multiply_divide(now_ns - gone_ns, amount * share, 1000 * S) + 1;
            /* answers that were on their way at that moment may still bring a block */
            if (count.is_away)
                assert_true(passed <= GATEWAYS * (3 * (uint64_t)block + by_share));
        }
    }
}

static void the_emptiest_is_remembered(void **state)
{
    (void)state;
    struct fg_lease_rule rule = rule_of(10, 10, 5, 500);
    struct fg_lease fresh = {.left = 0}, used, refused, leased, resting;
    struct fg_limit_verdict v;
    struct fg_lease_question q;
    fg_lease_init(&rule, &fresh, 0);
    used = refused = leased = fresh;
    fg_lease_try_take(&rule, &used, 0, 3, &v, &q);
    refused.quiet_until_ns = 10 * S;
    leased.left = 2;
    resting = refused;
    resting.lost_in_row = 1; /* that the count is away is nothing it has done */
    assert_true(fg_lease_is_worse(&rule, &resting.key, &used.key, 0));
    assert_true(fg_lease_is_worse(&rule, &fresh.key, &used.key, 0));
    assert_false(fg_lease_is_worse(&rule, &used.key, &fresh.key, 0));
    assert_true(fg_lease_is_worse(&rule, &used.key, &refused.key, 0));
    assert_true(fg_lease_is_worse(&rule, &fresh.key, &leased.key, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_passes_at_once_and_the_count_hears_of_it),
        cmocka_unit_test(a_no_is_kept_to_until_it_ends),
        cmocka_unit_test(without_the_count_the_share_applies),
        cmocka_unit_test(what_is_lost_gives_the_count_a_rest),
        cmocka_unit_test(rests_are_bounded_and_spread),
        cmocka_unit_test(what_can_never_pass_is_told_and_what_is_large_is_leased),
        cmocka_unit_test(settled_costs_reach_the_count),
        cmocka_unit_test(together_they_keep_to_the_limit_and_one_lease_each),
        cmocka_unit_test(an_outage_costs_no_more_than_the_share),
        cmocka_unit_test(the_emptiest_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
