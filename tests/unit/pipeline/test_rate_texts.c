/* What the clients of a rate limit are told. */
#include "pipeline/rate_texts.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static void says_which_limit_and_how_much(void **state)
{
    (void)state;
    struct fg_rate_texts texts;
    struct fg_rate_limit_conf conf = {
        .name = "per-user", .whose = "user", .rate = {20, FG_S}, .burst = 50};
    fg_rate_texts_init(&texts, &conf);
    assert_string_equal(texts.used_up,
                        "rate limit 'per-user' of this user is used up: 20 every 1 s, burst 50");
    assert_string_equal(texts.policy, "\"per-user\";q=50;w=3"); /* 2.5 s */
    static const char lead[] = "{\"error\":{\"type\":\"rate_limited\",\"code\":\"rate_limit\","
                               "\"message\":\"rate limit 'per-user' of this user is used up: 20 "
                               "every 1 s, burst 50\",\"policy\":\"per-user\"";
    assert_int_equal(texts.used_up_lead.len, sizeof(lead) - 1);
    assert_memory_equal(texts.used_up_lead.text, lead, sizeof(lead) - 1);
    conf.cost = FG_LIMIT_COST_TOKENS;
    conf.rate.period_ns = 86400 * FG_S;
    fg_rate_texts_init(&texts, &conf);
    assert_string_equal(texts.too_small, "rate limit 'per-user' of this user is too small for this "
                                         "request: 20 tokens every 86400 s, burst 50");
    conf.rate.amount = 0; /* nothing ever again */
    fg_rate_texts_init(&texts, &conf);
    assert_string_equal(texts.policy, "\"per-user\";q=50;qu=\"tokens\"");
    conf.cost = FG_LIMIT_COST_BYTES;
    conf.rate.amount = 1;
    fg_rate_texts_init(&texts, &conf);
    assert_string_equal(texts.policy, "\"per-user\";q=50;qu=\"content-bytes\";w=4320000");
}

static void cuts_names_that_are_too_long(void **state)
{
    (void)state;
    char name[500];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    struct fg_rate_texts texts;
    const struct fg_rate_limit_conf conf = {
        .name = name, .whose = name, .rate = {UINT64_MAX, UINT64_MAX}, .burst = UINT64_MAX};
    fg_rate_texts_init(&texts, &conf);
    assert_in_range(strlen(texts.used_up), 190, sizeof(texts.used_up) - 1);
    assert_non_null(strstr(texts.used_up, ", burst 18446744073709551615"));
    assert_non_null(strstr(texts.policy, "n\";q=18446744073709551615;w="));
    assert_in_range(texts.used_up_lead.len, 300, sizeof(texts.used_up_lead.text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_which_limit_and_how_much),
        cmocka_unit_test(cuts_names_that_are_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
