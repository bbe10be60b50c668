/*
 * test_last_reads.c: large answers share a turn of the loop: each has its first piece, and what is
 * behind that is read when others have had their turn.
 */
#include "proxy_fixture.h"

#define PIECE FG_READ_TURN_PIECE
#define MOST ((size_t)65536)
#define BODY_BYTES 1000000

static struct fg_last_read *waiting[EXCHANGES_MAX];
static size_t waiting_count;
static uint64_t turn;

static void wait_last(struct fg_last_reads *reads, struct fg_last_read *read, uint64_t owner)
{
    (void)reads;
    (void)owner;
    if (read->place.is_taken)
        return;
    assert_in_range(waiting_count, 0, EXCHANGES_MAX - 1);
    read->place.is_taken = true;
    waiting[waiting_count++] = read;
}

static void leave(struct fg_last_reads *reads, struct fg_last_read *read)
{
    (void)reads;
    size_t at = 0;
    while (waiting[at] != read)
        at++;
    read->place.is_taken = false;
    waiting[at] = waiting[--waiting_count];
}

static int setup(void **state)
{
    int result = fixture_setup(state);
    struct fixture *f = *state;
    waiting_count = 0;
    turn = 1;
    f->turn = &turn;
    f->reads = (struct fg_last_reads){.add = wait_last, .remove = leave};
    fg_read_turn_init_for_servers(&f->reads.law, 250 * FG_US);
    fixture_open_plain(f);
    return result;
}

static void next_turn(struct fixture *f)
{
    turn++;
    fixture_turn(f);
}

/* Asks for so many things on a connection each, and has their servers send what fits. */
static void begin(struct fixture *f, size_t count)
{
    static char text[MOST * 4];
    char head[100];
    int len =
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", BODY_BYTES);
    memset(text, 'x', sizeof(text));
    memcpy(text, head, (size_t)len);
    for (size_t i = 0; i < count; i++)
        (void)fixture_get(f, i, "/");
    RUN_UNTIL(f, f->server->count == count && f->server->connections[count - 1].in_len > 0);
    for (size_t i = 0; i < count; i++)
        RUN_UNTIL(f, f->server->connections[i].in_len > 0);
    for (size_t i = 0; i < count; i++)
        assert_in_range(upstream_server_try_send(f->server, i, text, sizeof(text)), 2 * PIECE,
                        sizeof(text));
}

static void end(struct fixture *f, size_t index)
{
    f->backend->ops->cancel(&f->exchanges[index].ex);
    f->exchanges[index].end = FAKE_CANCELLED;
}

static void answers_that_begin_together_share_a_turn(void **state)
{
    struct fixture *f = *state;
    begin(f, EXCHANGES_MAX);
    next_turn(f);
    size_t first = 0;
    for (size_t i = 0; i < EXCHANGES_MAX; i++) {
        assert_true(f->exchanges[i].body_len > 0);
        first += f->exchanges[i].body_len;
    }
    assert_in_range(first, EXCHANGES_MAX * (PIECE / 2), 3 * MOST + (EXCHANGES_MAX - 3) * PIECE);
    assert_int_equal(waiting_count, 0);
    for (size_t i = 0; i < EXCHANGES_MAX; i++)
        end(f, i);
}

static void who_has_more_goes_last(void **state)
{
    struct fixture *f = *state;
    size_t had[EXCHANGES_MAX];
    begin(f, EXCHANGES_MAX);
    next_turn(f);
    for (size_t i = 0; i < EXCHANGES_MAX; i++)
        had[i] = f->exchanges[i].body_len;
    RUN_UNTIL(f, (turn++, waiting_count == EXCHANGES_MAX));
    for (size_t i = 0; i < EXCHANGES_MAX; i++)
        assert_int_equal(f->exchanges[i].body_len, had[i]); /* not before others are done */
    struct fg_last_read *read = waiting[0];
    leave(&f->reads, read);
    read->serve(read);
    size_t moved = 0;
    for (size_t i = 0; i < EXCHANGES_MAX; i++)
        moved += f->exchanges[i].body_len != had[i];
    assert_int_equal(moved, 1);
    assert_int_equal(fixture_stat(f, "connections", "last_reads"), 1);
    for (size_t i = 0; i < EXCHANGES_MAX; i++)
        end(f, i); /* who is gone waits no more */
    assert_int_equal(waiting_count, 0);
}

/* Its client takes no more: it is asked for again when it does. */
static void who_is_not_listened_to_is_not_read(void **state)
{
    struct fixture *f = *state;
    begin(f, 1);
    next_turn(f);
    RUN_UNTIL(f, (turn++, waiting_count == 1));
    size_t had = f->exchanges[0].body_len;
    f->exchanges[0].window = 1;
    f->exchanges[0].unread = 1;
    struct fg_last_read *read = waiting[0];
    leave(&f->reads, read);
    read->serve(read); /* the piece that fills the client's buffer */
    size_t full = f->exchanges[0].body_len;
    assert_true(full > had);
    read->serve(read);
    assert_int_equal(f->exchanges[0].body_len, full);
    f->exchanges[0].unread = 0;
    f->exchanges[0].window = 0;
    f->backend->ops->on_writable(&f->exchanges[0].ex);
    RUN_UNTIL(f, (turn++, waiting_count == 1));
    leave(&f->reads, read);
    read->serve(read);
    assert_true(f->exchanges[0].body_len > full);
    end(f, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_that_begin_together_share_a_turn, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(who_has_more_goes_last, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(who_is_not_listened_to_is_not_read, setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
