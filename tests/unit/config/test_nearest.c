/*
 * test_nearest.c: the edit distance, and what counts as near.
 */
#include "config/nearest.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static size_t distance(const char *a, const char *b)
{
    size_t there = fg_nearest_distance(fg_span_from_string(a), fg_span_from_string(b));
    size_t back = fg_nearest_distance(fg_span_from_string(b), fg_span_from_string(a));
    assert_int_equal(there, back);
    return there;
}

static void counts_edits(void **state)
{
    (void)state;
    assert_int_equal(distance("", ""), 0);
    assert_int_equal(distance("", "abc"), 3);
    assert_int_equal(distance("abc", "abc"), 0);
    assert_int_equal(distance("abc", "ABC"), 0);
    assert_int_equal(distance("abc", "abd"), 1);
    assert_int_equal(distance("abc", "ac"), 1);
    assert_int_equal(distance("abc", "bac"), 1);
    assert_int_equal(distance("ca", "abc"), 3); /* no part is edited twice */
    assert_int_equal(distance("timeout", "timeuot"), 1);
    assert_int_equal(distance("kitten", "sitting"), 3);
}

static void gives_up_on_long_words(void **state)
{
    (void)state;
    char longest[FG_NEAREST_WORD_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    struct fg_span most = fg_span_make(longest, FG_NEAREST_WORD_MAX);
    struct fg_span more = fg_span_make(longest, FG_NEAREST_WORD_MAX + 1);
    assert_int_equal(fg_nearest_distance(most, most), 0);
    assert_true(fg_nearest_distance(more, most) == SIZE_MAX);
    assert_true(fg_nearest_distance(most, more) == SIZE_MAX);
}

static const char *nearest(const char *word, const char *const *words)
{
    struct fg_nearest best = {0};
    for (; *words != NULL; words++)
        fg_nearest_offer(&best, fg_span_from_string(word), *words);
    return best.word;
}

static void picks_the_nearest(void **state)
{
    (void)state;
    static const char *const words[] = {"rate", "burst", "keys_max", "key", "idle_timeout", NULL};
    assert_string_equal(nearest("brust", words), "burst");
    assert_string_equal(nearest("key_max", words), "keys_max");
    assert_string_equal(nearest("kye", words), "key");
    assert_string_equal(nearest("RATE", words), "rate");
    assert_string_equal(nearest("idletimeout", words), "idle_timeout");
    assert_null(nearest("zebra", words));
    assert_null(nearest("x", words));
    assert_null(nearest("", words));
    static const char *const tied[] = {"cat", "car", NULL};
    assert_string_equal(nearest("cab", tied), "cat"); /* the first of equals */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_edits),
        cmocka_unit_test(gives_up_on_long_words),
        cmocka_unit_test(picks_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
