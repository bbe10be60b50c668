/*
 * test_retry.c: every cause, for requests that may and may not be sent twice.
 */
#include "policies/retry.h"
#include "policy_test.h"

static const struct fg_retry_conf conf = {
    .connect_retries_max = 2, .retries_max = 1, .causes = (1u << FG_RETRY_CAUSE_COUNT) - 1};

static enum fg_retry_verdict judge(enum fg_retry_cause cause, bool is_idempotent, bool is_sent_any)
{
    const struct fg_retry_facts facts = {.cause = cause,
                                         .is_idempotent = is_idempotent,
                                         .is_sent_any = is_sent_any,
                                         .is_body_at_hand = true};
    return fg_retry_judge(&conf, &facts);
}

static void what_nobody_saw_may_go_again(void **state)
{
    (void)state;
    assert_int_equal(judge(FG_RETRY_CONNECT, false, false), FG_RETRY_YES);
    assert_int_equal(judge(FG_RETRY_UNHANDLED, false, true), FG_RETRY_YES);
    assert_int_equal(judge(FG_RETRY_REFUSED, false, true), FG_RETRY_YES);
    assert_int_equal(judge(FG_RETRY_STALE, false, false), FG_RETRY_YES);
    assert_int_equal(judge(FG_RETRY_RESET, false, false), FG_RETRY_YES);
}

static void a_post_that_was_sent_never_does(void **state)
{
    (void)state;
    for (unsigned cause = 0; cause < FG_RETRY_CAUSE_COUNT; cause++) {
        if (cause != FG_RETRY_CONNECT && cause != FG_RETRY_UNHANDLED && cause != FG_RETRY_REFUSED)
            assert_int_equal(judge((enum fg_retry_cause)cause, false, true), FG_RETRY_NO);
    }
}

static void an_idempotent_one_goes_under_the_budget(void **state)
{
    (void)state;
    assert_int_equal(judge(FG_RETRY_STALE, true, true), FG_RETRY_YES);
    for (unsigned cause = FG_RETRY_RESET; cause < FG_RETRY_CAUSE_COUNT; cause++)
        assert_int_equal(judge((enum fg_retry_cause)cause, true, true), FG_RETRY_WITH_BUDGET);
}

static void who_asks_for_a_pause_gets_it_and_others_are_asked(void **state)
{
    (void)state;
    struct fg_retry_facts facts = {.cause = FG_RETRY_STATUS_503,
                                   .is_idempotent = true,
                                   .is_sent_any = true,
                                   .is_body_at_hand = true,
                                   .is_pause_asked = true};
    assert_int_equal(fg_retry_judge(&conf, &facts), FG_RETRY_NO);
    facts.has_untried = true;
    assert_int_equal(fg_retry_judge(&conf, &facts), FG_RETRY_WITH_BUDGET);
}

static void only_named_causes_and_only_so_often(void **state)
{
    (void)state;
    struct fg_retry_conf some = conf;
    some.causes = 1u << FG_RETRY_STATUS_503;
    struct fg_retry_facts facts = {.cause = FG_RETRY_STATUS_502,
                                   .is_idempotent = true,
                                   .is_sent_any = true,
                                   .is_body_at_hand = true};
    assert_int_equal(fg_retry_judge(&some, &facts), FG_RETRY_NO);
    facts.cause = FG_RETRY_STATUS_503;
    assert_int_equal(fg_retry_judge(&some, &facts), FG_RETRY_WITH_BUDGET);
    facts.retries = 1;
    assert_int_equal(fg_retry_judge(&some, &facts), FG_RETRY_NO);
    facts.cause = FG_RETRY_CONNECT;
    facts.connect_retries = 1;
    assert_int_equal(fg_retry_judge(&some, &facts), FG_RETRY_YES);
    facts.connect_retries = 2;
    assert_int_equal(fg_retry_judge(&some, &facts), FG_RETRY_NO);
}

static void pauses_double_up_to_the_longest(void **state)
{
    (void)state;
    struct fg_retry_conf some = {.backoff_ns = 25 * MS};
    const uint64_t windows_ns[] = {25 * MS, 50 * MS, 100 * MS, 200 * MS, 250 * MS, 250 * MS};
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(fg_retry_pause_ns(&some, i, 0), 0);
        assert_int_equal(fg_retry_pause_ns(&some, i, windows_ns[i] - 1), windows_ns[i] - 1);
        assert_int_equal(fg_retry_pause_ns(&some, i, windows_ns[i]), 0);
    }
    assert_int_equal(fg_retry_pause_ns(&some, UINT32_MAX, 250 * MS - 1), 250 * MS - 1);
    some.backoff_max_ns = 10 * MS; /* also of the first */
    assert_int_equal(fg_retry_pause_ns(&some, 0, 10 * MS - 1), 10 * MS - 1);
    assert_int_equal(fg_retry_pause_ns(&some, 0, 10 * MS), 0);
    some = (struct fg_retry_conf){.backoff_ns = UINT64_MAX - 1}; /* no overflow */
    assert_true(fg_retry_pause_ns(&some, 3, UINT64_MAX - 1) == UINT64_MAX - 1);
    some.backoff_ns = 0;
    assert_int_equal(fg_retry_pause_ns(&some, 3, UINT64_MAX), 0);
}

static void a_pause_ends_before_the_deadline(void **state)
{
    (void)state;
    struct fg_retry_facts facts = {.cause = FG_RETRY_STATUS_503,
                                   .is_idempotent = true,
                                   .is_sent_any = true,
                                   .is_body_at_hand = true,
                                   .pause_ns = 5,
                                   .time_left_ns = 5};
    assert_int_equal(fg_retry_judge(&conf, &facts), FG_RETRY_WITH_BUDGET);
    facts.time_left_ns = 4;
    assert_int_equal(fg_retry_judge(&conf, &facts), FG_RETRY_NO);
    facts.cause = FG_RETRY_CONNECT; /* at once */
    assert_int_equal(fg_retry_judge(&conf, &facts), FG_RETRY_YES);
}

static void nothing_goes_again_once_the_client_has_a_part(void **state)
{
    (void)state;
    struct fg_retry_facts facts = {
        .cause = FG_RETRY_CONNECT, .is_idempotent = true, .is_body_at_hand = true};
    assert_int_equal(fg_retry_judge(&conf, &facts), FG_RETRY_YES);
    facts.is_answer_begun = true;
    assert_int_equal(fg_retry_judge(&conf, &facts), FG_RETRY_NO);
    facts.is_answer_begun = false;
    facts.is_body_at_hand = false;
    assert_int_equal(fg_retry_judge(&conf, &facts), FG_RETRY_NO);
}

static void statuses_are_causes(void **state)
{
    (void)state;
    assert_int_equal(fg_retry_cause_of_status(502), FG_RETRY_STATUS_502);
    assert_int_equal(fg_retry_cause_of_status(503), FG_RETRY_STATUS_503);
    assert_int_equal(fg_retry_cause_of_status(504), FG_RETRY_STATUS_504);
    assert_int_equal(fg_retry_cause_of_status(500), FG_RETRY_CAUSE_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_saw_may_go_again),
        cmocka_unit_test(a_post_that_was_sent_never_does),
        cmocka_unit_test(an_idempotent_one_goes_under_the_budget),
        cmocka_unit_test(who_asks_for_a_pause_gets_it_and_others_are_asked),
        cmocka_unit_test(only_named_causes_and_only_so_often),
        cmocka_unit_test(pauses_double_up_to_the_longest),
        cmocka_unit_test(a_pause_ends_before_the_deadline),
        cmocka_unit_test(nothing_goes_again_once_the_client_has_a_part),
        cmocka_unit_test(statuses_are_causes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
