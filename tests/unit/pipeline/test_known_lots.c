/*
 * test_known_lots.c: what is remembered is what would have been drawn.
 */
#include "pipeline/known_lots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static const struct fg_siphash_key key = {1, 2};

static void check(struct fg_known_lots *known, struct fg_span who, uint64_t wall_ns)
{
    uint32_t drawn = fg_priority_cohort(&key, who.data, who.len, wall_ns);
    assert_int_equal(fg_known_lots_draw(known, &key, who, wall_ns), drawn);
    assert_int_equal(fg_known_lots_draw(known, &key, who, wall_ns), drawn);
}

/* More ids than places, in turn, from hour to hour and back. */
static void draws_what_is_drawn_without_it(void **state)
{
    (void)state;
    static struct fg_known_lots known;
    static const uint64_t hours[] = {0, 1, 1, 2, 490000, 1, 0};
    for (size_t h = 0; h < sizeof(hours) / sizeof(hours[0]); h++) {
        for (unsigned i = 0; i < 300; i++) {
            char text[24];
            int len = snprintf(text, sizeof(text), "10.0.%u.%u", i % 7, i);
            check(&known, fg_span_make(text, (size_t)len), hours[h] * FG_POLICY_HOUR);
            check(&known, fg_span_make(text, (size_t)len), (hours[h] + 1) * FG_POLICY_HOUR - 1);
        }
    }
}

static void knows_ids_of_any_length(void **state)
{
    (void)state;
    static struct fg_known_lots known;
    static char text[80];
    memset(text, 'u', sizeof(text));
    for (size_t len = 0; len <= sizeof(text); len++)
        check(&known, fg_span_make(text, len), FG_POLICY_HOUR);
    for (size_t len = sizeof(text); len > 0; len--)
        check(&known, fg_span_make(text, len), FG_POLICY_HOUR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_what_is_drawn_without_it),
        cmocka_unit_test(knows_ids_of_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
