/*
 * test_change_board_shared.c: what one process writes another reads; of two who write at once, one
 * is told to read again.
 */
#include "admin/change_board_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define MAX 3

static struct fg_endpoint_change places[MAX];
static struct fg_endpoint_changes changes = {.list = places, .max = MAX};

static void add(struct fg_change_board *board, const char *address)
{
    struct fg_endpoint_change change;
    uint64_t version;
    if (!fg_endpoint_change_make(&change, FG_ENDPOINT_ADD, FG_SPAN("api"),
                                 fg_span_from_string(address)))
        _exit(1);
    do {
        version = fg_change_board_read(board, &changes);
        if (fg_endpoint_changes_note(&changes, &change) != FG_OK)
            _exit(1);
    } while (!fg_change_board_write(board, &changes, version));
}

static void a_child_writes_for_its_parent(void **state)
{
    (void)state;
    struct fg_change_board *board = fg_change_board_create(MAX);
    assert_int_equal(fg_change_board_max(board), MAX);
    uint64_t at_first = fg_change_board_read(board, &changes);
    assert_int_not_equal(at_first, 0);
    assert_int_equal(changes.count, 0);
    pid_t children[MAX];
    static const char *const addresses[MAX] = {"a:1", "a:2", "a:3"};
    for (int i = 0; i < MAX; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            add(board, addresses[i]);
            _exit(0);
        }
    }
    for (int i = 0; i < MAX; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(fg_change_board_version(board), at_first + MAX);
    assert_false(fg_change_board_write(board, &changes, at_first));
    (void)fg_change_board_read(board, &changes);
    assert_int_equal(changes.count, MAX);
    for (int i = 0; i < MAX; i++)
        assert_true(
            fg_endpoint_changes_know(&changes, FG_SPAN("api"), fg_span_from_string(addresses[i])));
    fg_change_board_destroy(board);
}

static void refusals_are_counted(void **state)
{
    (void)state;
    struct fg_change_board *board = fg_change_board_create(1);
    assert_int_equal(fg_change_board_refused(board), 0);
    fg_change_board_note_refused(board);
    assert_int_equal(fg_change_board_refused(board), 1);
    fg_change_board_destroy(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_writes_for_its_parent),
        cmocka_unit_test(refusals_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
