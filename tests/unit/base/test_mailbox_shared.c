/*
 * test_mailbox_shared.c: many posters, one owner, nothing lost, order kept for each poster; what
 * may wait is run by parts, behind the rest.
 */
#include "base/list.h"
#include "base/mailbox_shared.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define POSTERS 4
#define EACH 2000

struct letter {
    struct fg_message message;
    unsigned poster;
    unsigned number;
};

static unsigned next_of[POSTERS];
static unsigned received;

static void on_letter(struct fg_message *message)
{
    struct letter *letter = FG_CONTAINER_OF(message, struct letter, message);
    assert_int_equal(letter->number, next_of[letter->poster]);
    next_of[letter->poster]++;
    received++;
    free(letter);
}

struct poster {
    struct fg_mailbox *box;
    unsigned index;
};

static void *post_all(void *arg)
{
    struct poster *poster = arg;
    for (unsigned i = 0; i < EACH; i++) {
        struct letter *letter = calloc(1, sizeof(*letter));
        letter->message.run = on_letter;
        letter->poster = poster->index;
        letter->number = i;
        fg_mailbox_post(poster->box, &letter->message);
    }
    return NULL;
}

static void loses_nothing(void **state)
{
    (void)state;
    struct fg_mailbox box;
    pthread_t threads[POSTERS];
    struct poster posters[POSTERS];
    assert_int_equal(fg_mailbox_init(&box), FG_OK);
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){&box, i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    while (received < POSTERS * EACH) {
        struct pollfd fd = {.fd = box.event_fd, .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 30000), 1);
        fg_mailbox_drain(&box);
    }
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    fg_mailbox_fini(&box);
}

static struct fg_message *ran[64];
static size_t ran_count;

static void on_short(struct fg_message *message)
{
    assert_true(ran_count < 64);
    ran[ran_count++] = message;
}

static void what_may_wait_runs_by_parts(void **state)
{
    (void)state;
    struct fg_mailbox box;
    struct fg_message patient[10] = {0}, urgent = {.run = on_short}, later = {.run = on_short};
    assert_int_equal(fg_mailbox_init(&box), FG_OK);
    for (size_t i = 0; i < 10; i++) {
        patient[i] = (struct fg_message){.run = on_short, .may_wait = true};
        fg_mailbox_post(&box, &patient[i]);
    }
    fg_mailbox_post(&box, &urgent);
    assert_true(fg_mailbox_drain_some(&box, 0)); /* no time, but a few run */
    assert_in_range(ran_count, 2, 9);
    assert_ptr_equal(ran[0], &urgent);
    struct pollfd fd = {.fd = box.event_fd, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 0), 0);
    size_t before = ran_count;
    fg_mailbox_post(&box, &later);
    assert_int_equal(poll(&fd, 1, 0), 1);
    fg_mailbox_drain(&box);
    assert_int_equal(ran_count, 12);
    assert_ptr_equal(ran[before], &later);
    for (size_t i = 0, at = 1; i < 10; i++, at++) {
        at += at == before; /* where `later` ran */
        assert_ptr_equal(ran[at], &patient[i]);
    }
    assert_false(fg_mailbox_drain_some(&box, 0));
    fg_mailbox_fini(&box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(loses_nothing),
                                       cmocka_unit_test(what_may_wait_runs_by_parts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
