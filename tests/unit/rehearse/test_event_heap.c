/*
 * test_event_heap.c: the order of events, and of those of one moment.
 */
#include "rehearse/event_heap.h"
#include "rehearse/chance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void gives_events_by_time_and_then_as_they_were_added(void **state)
{
    (void)state;
    struct fg_event_heap heap = {0};
    struct fg_event event;
    assert_false(fg_event_heap_take(&heap, &event));
    heap.next_order = UINT32_MAX - 1; /* the order wraps in the middle */
    fg_event_heap_add(&heap, 20, 1, 7);
    fg_event_heap_add(&heap, 10, 2, 1);
    fg_event_heap_add(&heap, 10, 2, 2);
    fg_event_heap_add(&heap, 10, 15, FG_EVENT_INDEX_MAX);
    uint32_t indexes[4];
    for (size_t i = 0; i < 4; i++) {
        assert_true(fg_event_heap_take(&heap, &event));
        indexes[i] = fg_event_index(&event);
    }
    assert_int_equal(indexes[0], 1);
    assert_int_equal(indexes[1], 2);
    assert_int_equal(indexes[2], FG_EVENT_INDEX_MAX);
    assert_int_equal(indexes[3], 7);
    assert_int_equal(fg_event_kind(&event), 1);
    assert_false(fg_event_heap_take(&heap, &event));
    fg_event_heap_fini(&heap);
}

static void never_goes_back_in_time(void **state)
{
    (void)state;
    struct fg_event_heap heap = {0};
    struct fg_chance chance = fg_chance_stream(1, 2);
    struct fg_event event;
    uint64_t last_ns = 0;
    for (unsigned i = 0; i < 20000; i++) {
        fg_event_heap_add(&heap, last_ns + fg_chance_bits(&chance) % 1000, 3, i);
        if (i % 3 == 0)
            continue;
        assert_true(fg_event_heap_take(&heap, &event));
        assert_true(event.at_ns >= last_ns);
        last_ns = event.at_ns;
    }
    while (fg_event_heap_take(&heap, &event)) {
        assert_true(event.at_ns >= last_ns);
        last_ns = event.at_ns;
    }
    fg_event_heap_fini(&heap);
}

static void draws_have_the_mean_that_is_asked_for(void **state)
{
    (void)state;
    struct fg_chance chance = fg_chance_stream(3, 4);
    double exponential = 0, lognormal = 0;
    unsigned hits = 0;
    for (unsigned i = 0; i < 200000; i++) {
        exponential += fg_chance_exponential(&chance, 5);
        lognormal += fg_chance_lognormal(&chance, 5, 0.6);
        hits += fg_chance_permille(&chance, 250);
    }
    assert_true(exponential / 200000 > 4.95 && exponential / 200000 < 5.05);
    assert_true(lognormal / 200000 > 4.95 && lognormal / 200000 < 5.05);
    assert_in_range(hits, 49000, 51000);
    assert_true(fg_chance_permille(&chance, 1000));
    assert_false(fg_chance_permille(&chance, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_events_by_time_and_then_as_they_were_added),
        cmocka_unit_test(never_goes_back_in_time),
        cmocka_unit_test(draws_have_the_mean_that_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
