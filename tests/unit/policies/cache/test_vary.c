/*
 * test_vary.c: names of a Vary field, and values brought into one form.
 */
#include "policies/cache/vary.h"
#include "policy_test.h"

static void lists_the_names(void **state)
{
    (void)state;
    const char *text = " , Accept-Language,\tx-kind ,, *,";
    static const char *const names[] = {"Accept-Language", "x-kind", "*"};
    size_t at = 0, count = 0, len;
    const char *name;
    while (fg_vary_next(text, strlen(text), &at, &name, &len)) {
        assert_true(count < 3);
        assert_int_equal(len, strlen(names[count]));
        assert_memory_equal(name, names[count], len);
        count++;
    }
    assert_int_equal(count, 3);
    at = 0;
    assert_false(fg_vary_next("", 0, &at, &name, &len));
    assert_false(fg_vary_next(NULL, 0, &at, &name, &len));
}

static void brings_values_into_one_form(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *value;
        const char *form;
    } cases[] = {
        {"accept-language", "EN , fr;q=0.5", "en,fr;q=0.5"},
        {"accept-language", " en,\tfr; q=0.5 ", "en,fr; q=0.5"},
        {"accept", "Text/HTML,  */*", "text/html,*/*"},
        {"accept-encoding", "", ""},
        {"x-kind", "  A, b  ", "A, b"},
        {"cookie", "a=1;  b=2", "a=1;  b=2"},
        {"x-kind", " \t ", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[64];
        size_t len = fg_vary_normalise(cases[i].name, strlen(cases[i].name), cases[i].value,
                                       strlen(cases[i].value), out);
        out[len] = '\0';
        assert_string_equal(out, cases[i].form);
        char same[64];
        memcpy(same, cases[i].value, strlen(cases[i].value));
        len = fg_vary_normalise(cases[i].name, strlen(cases[i].name), same, strlen(cases[i].value),
                                same);
        same[len] = '\0';
        assert_string_equal(same, cases[i].form);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_the_names),
        cmocka_unit_test(brings_values_into_one_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
