/*
 * test_cache_control.c: directives in all spellings, and garbage that must read as "do not reuse".
 */
#include "policies/cache/cache_control.h"
#include "policy_test.h"

static struct fg_cache_control parse(const char *text)
{
    struct fg_cache_control control;
    fg_cache_control_init(&control);
    fg_cache_control_parse(&control, text, strlen(text));
    return control;
}

static void reads_the_standard_directives(void **state)
{
    (void)state;
    struct fg_cache_control c = parse("Public, MAX-AGE=60 ,s-maxage=\"120\", must-revalidate,"
                                      "stale-while-revalidate=5, stale-if-error=6, immutable");
    assert_true(c.is_public && c.must_revalidate && c.is_immutable);
    assert_false(c.is_private || c.no_store || c.no_cache || c.proxy_revalidate);
    assert_int_equal(c.max_age_s, 60);
    assert_int_equal(c.s_maxage_s, 120);
    assert_int_equal(c.stale_while_revalidate_s, 5);
    assert_int_equal(c.stale_if_error_s, 6);
    assert_true(c.max_stale_s == FG_CACHE_CONTROL_ABSENT);
    c = parse("no-store,no-cache,no-transform,only-if-cached,proxy-revalidate,must-understand");
    assert_true(c.no_store && c.no_cache && c.no_transform && c.only_if_cached);
    assert_true(c.proxy_revalidate && c.must_understand);
    c = parse("max-stale, min-fresh=3");
    assert_true(c.max_stale_s == FG_CACHE_CONTROL_SECONDS_MAX);
    assert_int_equal(c.min_fresh_s, 3);
    assert_int_equal(parse("max-stale=7").max_stale_s, 7);
}

static void field_lists_are_read_strictly(void **state)
{
    (void)state;
    assert_true(parse("no-cache=\"set-cookie, x\"").no_cache);
    struct fg_cache_control c = parse("private=\"max-age=5, no-store\", max-age=9");
    assert_true(c.is_private);
    assert_false(c.no_store); /* that stood inside the quotes */
    assert_int_equal(c.max_age_s, 9);
    assert_false(parse("x=\"a\\\", no-store\"").no_store); /* an escaped quote ends nothing */
    assert_true(parse("x=\"a\", no-store").no_store);
}

static void doubt_means_stale(void **state)
{
    (void)state;
    static const char *const zero[] = {"max-age",
                                       "max-age=",
                                       "max-age=abc",
                                       "max-age=-1",
                                       "max-age=1.5",
                                       "max-age = 60",
                                       "max-age=\"60",
                                       "max-age=6x",
                                       "max-age=6; no-store",
                                       "max-age=6 x",
                                       "max-age=\"6\"x",
                                       "max-age=\"\"",
                                       "max-age=5, max-age=0"};
    for (size_t i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
        assert_int_equal(parse(zero[i]).max_age_s, 0);
    assert_int_equal(parse("max-age=5 \t, x").max_age_s, 5);
    assert_int_equal(parse("max-age=5, max-age=9").max_age_s, 5); /* the smaller of two */
    assert_int_equal(parse("max-age=9, max-age=5").max_age_s, 5);
    assert_true(parse("max-age=2147483647").max_age_s == 2147483647u);
    assert_true(parse("max-age=2147483649").max_age_s == FG_CACHE_CONTROL_SECONDS_MAX);
    assert_true(parse("max-age=99999999999999999999999").max_age_s == FG_CACHE_CONTROL_SECONDS_MAX);
}

static void lines_add_up_and_unknown_ones_are_skipped(void **state)
{
    (void)state;
    struct fg_cache_control c = parse(",, ;x; foo=bar, no-stores, xno-store");
    assert_false(c.no_store);
    fg_cache_control_parse(&c, "private", 7);
    fg_cache_control_parse(&c, NULL, 0);
    fg_cache_control_parse(&c, "max-age=1", 9);
    assert_true(c.is_private);
    assert_int_equal(c.max_age_s, 1);
    assert_true(parse("\"quoted\", no-store").no_store);
}

static bool targeted(const char *text, struct fg_cache_control *control)
{
    fg_cache_control_init(control);
    return fg_cache_control_parse_targeted(control, text, strlen(text));
}

static void targeted_fields_are_dictionaries(void **state)
{
    (void)state;
    struct fg_cache_control c;
    assert_true(targeted("max-age=60;x=y, no-store, must-revalidate=?0, foo", &c));
    assert_true(c.no_store && !c.must_revalidate && c.max_age_s == 60);
    assert_true(targeted("max-age=5, max-age=9, private, private=?0", &c)); /* the last counts */
    assert_true(c.max_age_s == 9 && !c.is_private);
    assert_true(targeted("max-age=999999999999999", &c));
    assert_true(c.max_age_s == FG_CACHE_CONTROL_SECONDS_MAX);
    assert_true(targeted("max-age=\"60\", s-maxage=-1, max-stale=1.5, public=1, no-store=a", &c));
    assert_true(c.max_age_s == FG_CACHE_CONTROL_ABSENT && c.s_maxage_s == FG_CACHE_CONTROL_ABSENT);
    assert_true(c.max_stale_s == FG_CACHE_CONTROL_ABSENT && !c.is_public && !c.no_store);
    assert_true(targeted("no-cache=\"a, b\", private=\"c\"", &c));
    assert_true(c.no_cache && c.is_private);
    static const char *const ignored[] = {"",
                                          "  ",
                                          "max-age=60,",
                                          "Max-Age=60",
                                          "max-age =60",
                                          "max-age= 60",
                                          "max-age=60, &&&",
                                          "no-store;"};
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        assert_false(targeted(ignored[i], &c));
}

/* Any bytes: no read outside, and an end. The sanitizers watch. */
static void garbage_does_no_harm(void **state)
{
    (void)state;
    static const char alphabet[] = "max-age=no-store,\"\\ \t0123456789;private";
    uint64_t seed = test_seed(14);
    for (int i = 0; i < 20000; i++) {
        size_t len = (size_t)test_below(&seed, 40);
        char *text = malloc(len == 0 ? 1 : len);
        assert_non_null(text);
        for (size_t k = 0; k < len; k++)
            text[k] = test_below(&seed, 20) == 0 ? (char)test_random(&seed)
                                                 : alphabet[test_below(&seed, sizeof(alphabet))];
        struct fg_cache_control c;
        fg_cache_control_init(&c);
        fg_cache_control_parse(&c, text, len);
        assert_true(c.max_age_s == FG_CACHE_CONTROL_ABSENT ||
                    c.max_age_s <= FG_CACHE_CONTROL_SECONDS_MAX);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_standard_directives),
        cmocka_unit_test(field_lists_are_read_strictly),
        cmocka_unit_test(doubt_means_stale),
        cmocka_unit_test(lines_add_up_and_unknown_ones_are_skipped),
        cmocka_unit_test(targeted_fields_are_dictionaries),
        cmocka_unit_test(garbage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
