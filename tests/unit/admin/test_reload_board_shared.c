/*
 * test_reload_board_shared.c: outcomes are read whole or not at all, and who asks gets a ticket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "admin/reload_board_shared.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#define ROUNDS 2000u

static volatile sig_atomic_t signals_got[2];

static void on_signal(int number)
{
    signals_got[number == SIGUSR1]++;
}

static void who_asks_gets_the_next_ticket_of_its_kind(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    struct fg_reload_board *board = fg_reload_board_create();
    assert_non_null(board);
    assert_int_equal(fg_reload_board_ask(board, FG_RELOAD_CONFIG), 1);
    assert_int_equal(fg_reload_board_ask(board, FG_RELOAD_CONFIG), 2);
    assert_int_equal(fg_reload_board_ask(board, FG_RELOAD_WORKERS), 1);
    assert_int_equal(fg_reload_board_asked(board, FG_RELOAD_CONFIG), 2);
    assert_int_equal(fg_reload_board_asked(board, FG_RELOAD_WORKERS), 1);
    assert_int_equal(signals_got[0], 2);
    assert_int_equal(signals_got[1], 1);
    struct fg_reload_outcome outcome;
    assert_true(fg_reload_board_read(board, FG_RELOAD_CONFIG, &outcome));
    assert_int_equal(outcome.state, FG_RELOAD_NONE);
    assert_string_equal(outcome.text, "");
    fg_reload_board_destroy(board);
}

static void fill(struct fg_reload_outcome *outcome, uint64_t number)
{
    memset(outcome, 0, sizeof(*outcome));
    outcome->ticket = number;
    outcome->generation = number;
    outcome->state = FG_RELOAD_DONE;
    outcome->workers_exchanged = (uint32_t)number;
    memset(outcome->text, 'a' + (int)(number % 26), sizeof(outcome->text) - 1);
}

static void *write_many(void *arg)
{
    static struct fg_reload_outcome outcome;
    for (uint64_t number = 1; number <= ROUNDS; number++) {
        fill(&outcome, number);
        fg_reload_board_say(arg, FG_RELOAD_CONFIG, &outcome);
    }
    return NULL;
}

static void outcomes_are_read_whole(void **state)
{
    (void)state;
    struct fg_reload_board *board = fg_reload_board_create();
    assert_non_null(board);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_many, board), 0);
    static struct fg_reload_outcome got;
    static struct fg_reload_outcome want;
    uint64_t before = 0;
    while (before < ROUNDS) {
        if (!fg_reload_board_read(board, FG_RELOAD_CONFIG, &got) || got.state == FG_RELOAD_NONE)
            continue;
        assert_true(got.ticket >= before);
        before = got.ticket;
        fill(&want, got.ticket);
        assert_memory_equal(&got, &want, sizeof(got));
    }
    pthread_join(writer, NULL);
    assert_true(fg_reload_board_read(board, FG_RELOAD_WORKERS, &got));
    assert_int_equal(got.ticket, 0); /* the other kind is another's */
    fg_reload_board_destroy(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_asks_gets_the_next_ticket_of_its_kind),
        cmocka_unit_test(outcomes_are_read_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
