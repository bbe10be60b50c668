/*
 * test_token_scan.c: what a request asks for is found in its body however it is cut, and nothing
 * else is taken for it.
 */
#include "policies/token_scan.h"
#include "policy_test.h"

#define ANSWER 100

/* Fed whole and byte by byte, which must come to the same. */
static uint64_t estimate(const char *body)
{
    struct fg_token_scan whole = {0}, pieces = {0};
    size_t len = strlen(body);
    fg_token_scan_feed(&whole, body, len);
    for (size_t i = 0; i < len; i++)
        fg_token_scan_feed(&pieces, body + i, 1);
    uint64_t tokens = fg_token_scan_estimate(&whole, 0, ANSWER);
    assert_int_equal(fg_token_scan_estimate(&pieces, 0, ANSWER), tokens);
    return tokens;
}

/* Of the answer alone. */
static uint64_t answer_of(const char *body)
{
    return estimate(body) - (strlen(body) + 3) / 4;
}

static void finds_what_is_asked_for(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        uint64_t answer;
    } cases[] = {
        {"{\"max_tokens\":7}", 7},
        {"{ \"prompt\" : \"x\" ,\n \"max_tokens\" : \r\n\t 1234 , \"n\": 3 }", 3 * 1234},
        {"{\"n\":2}", 2 * ANSWER},
        {"{\"max_completion_tokens\":9,\"max_tokens\":4}", 9},
        {"{\"messages\":[{\"content\":\"a\"}],\"max_tokens\":5}", 5},
        {"{\"max_tokens\":99999999999999999999999}", 1000000000},
        {"{\"max_tokens\":50", 50}, /* the rest is on its way */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(answer_of(cases[i].body), cases[i].answer);
}

static void takes_nothing_else_for_it(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "{}",
        "max_tokens: 7",
        "{\"max_tokens\":null}",
        "{\"max_tokens\":-5}",
        "{\"max_tokens\":\"5\"}",
        "{\"max_tokens\":0}",
        "{\"max_tokens_\":5,\"ax_tokens\":5,\"max_tokens_and_a_long_tail\":5,\"nn\":5}",
        "{\"prompt\":\"{\\\"max_tokens\\\":5}\"}",
        "{\"prompt\":\"\\\\\",\"x\":{\"max_tokens\":5,\"n\":9}}",
        "{\"stop\":[\"max_tokens\",5]}",
        "{\"a\":\"max_tokens\",\"b\":5}",
        "}}}]]]",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        assert_int_equal(answer_of(bodies[i]), ANSWER);
}

static void the_prompt_is_a_quarter_of_the_bytes(void **state)
{
    (void)state;
    struct fg_token_scan scan = {0};
    assert_int_equal(fg_token_scan_estimate(&scan, 0, 0), 0);
    assert_int_equal(fg_token_scan_estimate(&scan, 1, 0), 1);
    assert_int_equal(fg_token_scan_estimate(&scan, 4, 0), 1);
    assert_int_equal(fg_token_scan_estimate(&scan, 5, 10), 12);
    fg_token_scan_feed(&scan, "12345678", 8); /* more has come than was declared */
    assert_int_equal(fg_token_scan_estimate(&scan, 5, 0), 2);
    assert_int_equal(fg_token_scan_estimate(&scan, 400, 0), 100);
    assert_true(fg_token_scan_estimate(&scan, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
}

/* Any bytes: bounded, and the same in any pieces. */
static void any_bytes_in_any_pieces(void **state)
{
    (void)state;
    static const char *const words[] = {
        "{", "}",  "[",  "]", "\"", "\\",           ":",
        ",", "12", "-3", " ", "n",  "max_tokens\"", "\"max_tokens\":"};
    uint64_t seed = test_seed(7);
    for (int round = 0; round < 2000; round++) {
        char body[512] = "";
        while (strlen(body) < 400)
            strcat(body, words[test_below(&seed, sizeof(words) / sizeof(words[0]))]);
        assert_true(estimate(body) <= 103 + UINT64_C(1000000000) * 1000000000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_is_asked_for),
        cmocka_unit_test(takes_nothing_else_for_it),
        cmocka_unit_test(the_prompt_is_a_quarter_of_the_bytes),
        cmocka_unit_test(any_bytes_in_any_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
