/*
 * test_stop_match.c: stop strings that lie across pieces of text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "inference/scheduler/stop_match.h"

/* Feeds `pieces`; checks all that came out, with what was held at the end, and whether it stopped.
 */
static void assert_stream(const char *const *stops, const char *const *pieces, const char *expected,
                          bool stops_there)
{
    struct fg_span spans[8];
    uint32_t count = 0;
    for (; stops[count] != NULL; count++)
        spans[count] = fg_span_from_string(stops[count]);
    struct fg_stop_match match;
    assert_true(fg_stop_match_init(&match, spans, count));
    char all[512] = "";
    size_t all_len = 0;
    bool is_stopped = false;
    for (size_t i = 0; pieces[i] != NULL && !is_stopped; i++) {
        size_t len;
        is_stopped =
            fg_stop_match_push(&match, fg_span_from_string(pieces[i]), all + all_len, &len);
        all_len += len;
    }
    if (!is_stopped)
        all_len += fg_stop_match_finish(&match, all + all_len);
    all[all_len] = '\0';
    assert_string_equal(all, expected);
    assert_int_equal(is_stopped, stops_there);
}

#define STRINGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_STOPS ((const char *const[]){NULL})

static void finds_stops_within_and_across_pieces(void **state)
{
    (void)state;
    assert_stream(STRINGS("world!"), STRINGS("Hello wo", "rl", "d!", " more"), "Hello ", true);
    assert_stream(STRINGS("end"), STRINGS("the end of it"), "the ", true);
    assert_stream(STRINGS("x"), STRINGS("x"), "", true);
    assert_stream(STRINGS("\n\n"), STRINGS("a\n", "b\n", "\nc"), "a\nb", true);
}

static void lets_go_what_turned_out_otherwise(void **state)
{
    (void)state;
    assert_stream(STRINGS("world!"), STRINGS("wor", "m", "wo"), "wormwo", false);
    assert_stream(STRINGS("aab"), STRINGS("a", "a", "a", "b", "c"), "a", true);
    assert_stream(STRINGS("abab!"), STRINGS("aba", "bab", "x"),
                  "ababab"
                  "x",
                  false);
    assert_stream(NO_STOPS, STRINGS("all", " of", " it"), "all of it", false);
}

static void the_first_to_be_complete_wins(void **state)
{
    (void)state;
    assert_stream(STRINGS("abcX", "bc"), STRINGS("ab", "cX"), "a", true);
    assert_stream(STRINGS("abcX", "bc"), STRINGS("abcX"), "a", true);
    assert_stream(STRINGS("bc", "abc"), STRINGS("abc"), "", true);
    assert_stream(STRINGS("b", "abc"), STRINGS("a", "b", "c"), "a", true);
    assert_stream(STRINGS("cd", "ab"), STRINGS("x ab cd"), "x ", true);
}

static void text_goes_out_as_soon_as_it_can(void **state)
{
    (void)state;
    struct fg_stop_match match;
    struct fg_span stop = FG_SPAN("stop");
    char out[600];
    size_t len;
    assert_true(fg_stop_match_init(&match, &stop, 1));
    assert_false(fg_stop_match_push(&match, FG_SPAN("abc st"), out, &len));
    assert_int_equal(len, 4);
    assert_true(fg_stop_match_push(&match, FG_SPAN("op"), out, &len));
    assert_int_equal(len, 0);
    assert_true(fg_stop_match_init(&match, &stop, 1));
    assert_false(fg_stop_match_push(&match, FG_SPAN(""), out, &len));
    assert_int_equal(len, 0);
}

static void sizes_at_the_edge(void **state)
{
    (void)state;
    char longest[FG_STOP_BYTES_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    struct fg_stop_match match;
    struct fg_span stops[5] = {{longest, FG_STOP_BYTES_MAX}};
    char out[2 * FG_STOP_BYTES_MAX + 16];
    size_t len;
    assert_true(fg_stop_match_init(&match, stops, 1));
    struct fg_span one_less = {longest, FG_STOP_BYTES_MAX - 1};
    assert_false(fg_stop_match_push(&match, one_less, out, &len));
    assert_int_equal(len, 0);
    assert_false(fg_stop_match_push(&match, FG_SPAN("b"), out, &len));
    assert_int_equal(len, FG_STOP_BYTES_MAX);
    stops[0].len = FG_STOP_BYTES_MAX + 1;
    assert_false(fg_stop_match_init(&match, stops, 1));
    stops[0].len = 0;
    assert_false(fg_stop_match_init(&match, stops, 1));
    assert_false(fg_stop_match_init(&match, stops, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_stops_within_and_across_pieces),
        cmocka_unit_test(lets_go_what_turned_out_otherwise),
        cmocka_unit_test(the_first_to_be_complete_wins),
        cmocka_unit_test(text_goes_out_as_soon_as_it_can),
        cmocka_unit_test(sizes_at_the_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
