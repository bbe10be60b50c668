/*
 * test_etag.c: the comparison table of RFC 9110 and lists in all conditions.
 */
#include "policies/cache/etag.h"
#include "policy_test.h"

static bool strong(const char *a, const char *b)
{
    return fg_etag_equal_strong(a, strlen(a), b, strlen(b));
}

static bool weak(const char *a, const char *b)
{
    return fg_etag_equal_weak(a, strlen(a), b, strlen(b));
}

static bool none_match(const char *list, const char *etag)
{
    return fg_etag_if_none_match(list, strlen(list), etag, strlen(etag));
}

static void compares_as_the_table_says(void **state)
{
    (void)state;
    assert_false(strong("W/\"1\"", "W/\"1\""));
    assert_true(weak("W/\"1\"", "W/\"1\""));
    assert_false(weak("W/\"1\"", "W/\"2\""));
    assert_false(strong("W/\"1\"", "\"1\""));
    assert_true(weak("W/\"1\"", "\"1\""));
    assert_true(strong("\"1\"", "\"1\""));
    assert_true(weak("\"1\"", "\"1\""));
    assert_true(strong("\"\"", "\"\""));
    assert_false(strong("\"a\"", "\"A\""));
}

static void knows_what_is_a_tag(void **state)
{
    (void)state;
    assert_true(fg_etag_is_valid("\"a,b\"", 5));
    assert_true(fg_etag_is_valid("\"\xc3\xa9\"", 4));
    static const char *const wrong[] = {"",    "\"",      "a",      "\"a", "a\"", "w/\"a\"",
                                        "W/a", "\"a b\"", "\"a\" ", "W/",  "W"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(fg_etag_is_valid(wrong[i], strlen(wrong[i])));
    assert_false(fg_etag_is_valid("\"a\0b\"", 5));
    assert_false(fg_etag_is_valid(NULL, 0));
}

static void finds_a_tag_in_a_list(void **state)
{
    (void)state;
    assert_true(none_match("\"a\"", "\"a\""));
    assert_true(none_match("\"x\", W/\"a\" , \"y\"", "\"a\""));
    assert_true(none_match(" ,, \"x\",\t,\"a\",", "W/\"a\""));
    assert_true(none_match("\"x,y\", \"a\"", "\"a\"")); /* a comma inside is no separator */
    assert_false(none_match("\"x,a\"", "\"a\""));
    assert_true(none_match(" * ", "\"a\""));
    assert_true(none_match("*", ""));
    assert_false(none_match("", "\"a\""));
    assert_false(none_match("\"x\"", "\"a\""));
    assert_false(none_match("a", "\"a\""));
    assert_false(none_match("\"x\" \"a\"", "\"a\"")); /* no comma: malformed from there on */
    assert_false(none_match("x, \"a\"", "\"a\""));
    assert_false(fg_etag_if_none_match(NULL, 0, NULL, 0));
}

static void if_match_is_strong(void **state)
{
    (void)state;
    assert_true(fg_etag_if_match("\"b\", \"a\"", 8, "\"a\"", 3));
    assert_false(fg_etag_if_match("W/\"a\"", 5, "\"a\"", 3));
    assert_false(fg_etag_if_match("\"a\"", 3, "W/\"a\"", 5));
    assert_true(fg_etag_if_match("*", 1, "W/\"a\"", 5));
}

static void an_origin_hears_its_own_tags(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        const char *wide; /* NULL: as it is */
    } cases[] = {
        {"\"v1;gz\"", "\"v1;gz\", \"v1\""},
        {"W/\"v1;br\"", "W/\"v1;br\", W/\"v1\""},
        {"\"a\", \"b;zs\" ,,\t\"c;gz\",", "\"a\", \"b;zs\", \"b\", \"c;gz\", \"c\""},
        {"\";gz\"", "\";gz\", \"\""},
        {"\"v1\"", NULL},
        {"\"gz\"", NULL},
        {"\"v1;gzip\"", NULL},
        {"\"v1;g\"", NULL},
        {"*", NULL},
        {"", NULL},
        {"v1;gz", NULL},
        {"\"a;gz\" \"b;gz\"", NULL}, /* malformed: nobody knows what it means */
        {"\"a;gz\", b", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[128];
        size_t room = 3 * strlen(cases[i].list);
        assert_true(room < sizeof(out));
        memset(out, '#', sizeof(out));
        size_t len = fg_etag_widen(cases[i].list, strlen(cases[i].list), out);
        assert_int_equal(len, cases[i].wide == NULL ? 0 : strlen(cases[i].wide));
        assert_true(len == 0 || memcmp(out, cases[i].wide, len) == 0);
        assert_int_equal(out[room], '#');
    }
    assert_string_equal(fg_etag_suffix(FG_CODING_IDENTITY), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares_as_the_table_says),   cmocka_unit_test(knows_what_is_a_tag),
        cmocka_unit_test(finds_a_tag_in_a_list),        cmocka_unit_test(if_match_is_strong),
        cmocka_unit_test(an_origin_hears_its_own_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
