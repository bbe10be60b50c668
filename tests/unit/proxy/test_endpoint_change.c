/*
 * test_endpoint_change.c: of all that is said about an endpoint, the last word counts, and no more
 * is kept than what is in force.
 */
#include "proxy/endpoint_change.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define MAX 4

static struct fg_endpoint_change places[MAX];
static struct fg_endpoint_changes changes;

static int setup(void **state)
{
    (void)state;
    changes = (struct fg_endpoint_changes){.list = places, .max = MAX};
    return 0;
}

static enum fg_status note(enum fg_endpoint_change_kind kind, const char *address)
{
    struct fg_endpoint_change change;
    assert_true(
        fg_endpoint_change_make(&change, kind, FG_SPAN("api"), fg_span_from_string(address)));
    return fg_endpoint_changes_note(&changes, &change);
}

static bool is_out(const char *host_name)
{
    return fg_endpoint_changes_disable(&changes, host_name);
}

static void what_is_taken_back_is_not_kept(void **state)
{
    (void)state;
    assert_int_equal(note(FG_ENDPOINT_DISABLE, "a:1"), FG_OK);
    assert_int_equal(note(FG_ENDPOINT_DISABLE, "a:1"), FG_OK); /* again: nothing new */
    assert_int_equal(changes.count, 1);
    assert_true(is_out("a:1"));
    assert_true(is_out("a:1 (10.0.0.1)"));
    assert_false(is_out("a:10"));
    assert_int_equal(note(FG_ENDPOINT_ENABLE, "a:1"), FG_OK);
    assert_int_equal(changes.count, 0);
    assert_int_equal(note(FG_ENDPOINT_ENABLE, "a:2"), FG_OK); /* it never was disabled */
    assert_int_equal(changes.count, 0);
}

static void an_address_may_be_let_back_before_its_name(void **state)
{
    (void)state;
    assert_int_equal(note(FG_ENDPOINT_DISABLE, "a:1"), FG_OK);
    assert_int_equal(note(FG_ENDPOINT_ENABLE, "a:1 (10.0.0.1)"), FG_OK);
    assert_int_equal(changes.count, 2);
    assert_false(is_out("a:1 (10.0.0.1)"));
    assert_true(is_out("a:1 (10.0.0.2)"));
    assert_int_equal(note(FG_ENDPOINT_DISABLE, "a:1"), FG_OK); /* the name again, with all of it */
    assert_int_equal(changes.count, 1);
    assert_true(is_out("a:1 (10.0.0.1)"));
    assert_int_equal(note(FG_ENDPOINT_ENABLE, "a:1"), FG_OK);
    assert_int_equal(changes.count, 0);
}

static void added_ones_are_removed_with_all_that_was_said(void **state)
{
    (void)state;
    struct fg_endpoint_change heavy;
    assert_int_equal(note(FG_ENDPOINT_ADD, "a:1"), FG_OK);
    assert_int_equal(note(FG_ENDPOINT_DISABLE, "a:1"), FG_OK);
    assert_true(fg_endpoint_change_make(&heavy, FG_ENDPOINT_ADD, FG_SPAN("api"), FG_SPAN("a:1")));
    heavy.weight = 7;
    assert_int_equal(fg_endpoint_changes_note(&changes, &heavy), FG_OK);
    assert_int_equal(changes.count, 2);
    assert_int_equal(changes.list[0].weight, 7);
    assert_true(is_out("a:1")); /* another weight does not let it back */
    assert_false(fg_endpoint_changes_remove(&changes, FG_SPAN("other"), FG_SPAN("a:1")));
    assert_true(fg_endpoint_changes_know(&changes, FG_SPAN("api"), FG_SPAN("a:1")));
    assert_true(fg_endpoint_changes_remove(&changes, FG_SPAN("api"), FG_SPAN("a:1")));
    assert_int_equal(changes.count, 0);
    assert_false(fg_endpoint_changes_know(&changes, FG_SPAN("api"), FG_SPAN("a:1")));
    assert_false(fg_endpoint_changes_remove(&changes, FG_SPAN("api"), FG_SPAN("a:1")));
}

static void there_is_room_for_so_many_and_no_more(void **state)
{
    (void)state;
    static const char *const addresses[] = {"a:1", "a:2", "a:3", "a:4"};
    for (size_t i = 0; i < MAX; i++)
        assert_int_equal(note(FG_ENDPOINT_DISABLE, addresses[i]), FG_OK);
    assert_int_equal(note(FG_ENDPOINT_ADD, "a:5"), FG_ERR_LIMIT);
    assert_int_equal(note(FG_ENDPOINT_DISABLE, "a:5"), FG_ERR_LIMIT);
    assert_int_equal(note(FG_ENDPOINT_DISABLE, "a:4"), FG_OK); /* has its place */
    assert_int_equal(note(FG_ENDPOINT_ENABLE, "a:1"), FG_OK);
    assert_int_equal(note(FG_ENDPOINT_ADD, "a:5"), FG_OK);
}

static void names_that_are_too_long_are_none(void **state)
{
    (void)state;
    struct fg_endpoint_change change;
    char text[FG_HOST_NAME_BYTES];
    memset(text, 'x', sizeof(text));
    assert_false(fg_endpoint_change_make(&change, FG_ENDPOINT_ADD, FG_SPAN("api"),
                                         fg_span_make(text, sizeof(text))));
    assert_true(fg_endpoint_change_make(&change, FG_ENDPOINT_ADD, FG_SPAN("api"),
                                        fg_span_make(text, sizeof(text) - 1)));
    assert_false(fg_endpoint_change_make(
        &change, FG_ENDPOINT_ADD, fg_span_make(text, FG_CLUSTER_NAME_BYTES), FG_SPAN("a:1")));
    assert_false(fg_endpoint_change_make(&change, FG_ENDPOINT_ADD, FG_SPAN("api"), FG_SPAN("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_taken_back_is_not_kept, setup),
        cmocka_unit_test_setup(an_address_may_be_let_back_before_its_name, setup),
        cmocka_unit_test_setup(added_ones_are_removed_with_all_that_was_said, setup),
        cmocka_unit_test_setup(there_is_room_for_so_many_and_no_more, setup),
        cmocka_unit_test_setup(names_that_are_too_long_are_none, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
