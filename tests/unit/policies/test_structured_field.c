/*
 * test_structured_field.c: dictionaries of RFC 8941 member by member. What may stand in one and
 * what may not is in tests/unit/http/test_priority_field.c, line by line.
 */
#include "policies/structured_field.h"
#include "policy_test.h"

static void gives_members_in_their_order(void **state)
{
    (void)state;
    static const char text[] = " a=1;p=q,\tb ,c=?0, d=\"x, y\";z=1, *=-7, e=(1 2), f=1.5, a=2 ";
    static const struct {
        const char *key;
        enum fg_sf_type type;
        int64_t number;
    } rows[] = {{"a", FG_SF_INTEGER, 1}, {"b", FG_SF_BOOLEAN, 1},  {"c", FG_SF_BOOLEAN, 0},
                {"d", FG_SF_OTHER, 0},   {"*", FG_SF_INTEGER, -7}, {"e", FG_SF_OTHER, 0},
                {"f", FG_SF_OTHER, 0},   {"a", FG_SF_INTEGER, 2}};
    struct fg_sf_dictionary dictionary;
    struct fg_sf_member member;
    fg_sf_dictionary_init(&dictionary, text, sizeof(text) - 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(fg_sf_dictionary_next(&dictionary, &member), rows[i].type);
        assert_int_equal(member.key_len, strlen(rows[i].key));
        assert_memory_equal(member.key, rows[i].key, member.key_len);
        if (rows[i].type != FG_SF_OTHER)
            assert_true(member.number == rows[i].number);
    }
    assert_int_equal(fg_sf_dictionary_next(&dictionary, &member), FG_SF_END);
}

static void tells_what_is_malformed_where_it_is(void **state)
{
    (void)state;
    struct fg_sf_dictionary dictionary;
    struct fg_sf_member member;
    fg_sf_dictionary_init(&dictionary, "a=1, &", 6);
    assert_int_equal(fg_sf_dictionary_next(&dictionary, &member), FG_SF_INTEGER);
    assert_int_equal(fg_sf_dictionary_next(&dictionary, &member), FG_SF_MALFORMED);
    fg_sf_dictionary_init(&dictionary, "a,", 2); /* nothing behind a comma */
    assert_int_equal(fg_sf_dictionary_next(&dictionary, &member), FG_SF_MALFORMED);
    fg_sf_dictionary_init(&dictionary, "a=1000000000000000", 18); /* 16 digits */
    assert_int_equal(fg_sf_dictionary_next(&dictionary, &member), FG_SF_MALFORMED);
    fg_sf_dictionary_init(&dictionary, "a=999999999999999", 17);
    assert_int_equal(fg_sf_dictionary_next(&dictionary, &member), FG_SF_INTEGER);
    assert_true(member.number == INT64_C(999999999999999));
    fg_sf_dictionary_init(&dictionary, NULL, 0);
    assert_int_equal(fg_sf_dictionary_next(&dictionary, &member), FG_SF_END);
}

/* Any bytes: no read outside, and an end. The sanitizers watch. */
static void garbage_does_no_harm(void **state)
{
    (void)state;
    static const char alphabet[] = "ab=1?0\"(): ;,\t*.-";
    uint64_t seed = test_seed(15);
    for (int i = 0; i < 20000; i++) {
        size_t len = (size_t)test_below(&seed, 24);
        char *text = malloc(len == 0 ? 1 : len);
        assert_non_null(text);
        for (size_t k = 0; k < len; k++)
            text[k] = test_below(&seed, 20) == 0 ? (char)test_random(&seed)
                                                 : alphabet[test_below(&seed, sizeof(alphabet))];
        struct fg_sf_dictionary dictionary;
        struct fg_sf_member member;
        enum fg_sf_type type;
        size_t count = 0;
        fg_sf_dictionary_init(&dictionary, text, len);
        do {
            type = fg_sf_dictionary_next(&dictionary, &member);
            assert_true(++count <= len + 1);
        } while (type != FG_SF_END && type != FG_SF_MALFORMED);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_members_in_their_order),
        cmocka_unit_test(tells_what_is_malformed_where_it_is),
        cmocka_unit_test(garbage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
