/*
 * test_read_turn.c: dear reads become small and fewer, cheap ones large again, many share one
 * budget, newcomers begin with what others' first reads have shown, a turn ends in time, and who
 * wants more goes last.
 */
#include "policies/read_turn.h"
#include "policy_test.h"

#define US UINT64_C(1000)
#define MOST ((size_t)65536)

static struct fg_read_turn made(uint64_t budget_ns)
{
    struct fg_read_turn reads;
    fg_read_turn_init_for_servers(&reads, budget_ns);
    return reads;
}

/* It is asked for a read in such a turn, and brings so much: is that worth a look at the clock? */
static bool got(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace, size_t bytes)
{
    (void)fg_read_turn_ask(reads, turn, pace, MOST);
    return fg_read_turn_got(reads, turn, pace, bytes);
}

/* Full reads that took so long; how small the next one is. */
static uint8_t after_some(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                          unsigned count, uint64_t took_ns)
{
    for (unsigned i = 0; i < count; i++) {
        size_t bytes = MOST >> pace->halvings;
        pace->asked = pace->left = (uint32_t)bytes;
        (void)fg_read_turn_got(reads, turn, pace, bytes);
        (void)fg_read_turn_note(reads, turn, pace, MOST, bytes, took_ns);
    }
    return pace->halvings;
}

static uint8_t after(struct fg_read_turn *reads, uint64_t turn, uint8_t halvings, uint64_t took_ns)
{
    struct fg_read_pace pace = {.halvings = halvings, .is_known = true};
    return after_some(reads, turn, &pace, 1, took_ns);
}

static uint8_t after_first(struct fg_read_turn *reads, uint64_t turn, uint8_t halvings,
                           uint64_t took_ns)
{
    struct fg_read_pace pace = {.halvings = halvings};
    return after_some(reads, turn, &pace, 1, took_ns);
}

/* The size of its next read, in a turn in which there was no other. */
static size_t next_of(struct fg_read_pace *pace)
{
    const struct fg_read_turn reads = {0};
    return fg_read_turn_ask(&reads, 1, pace, MOST);
}

static void sizes_are_halved(void **state)
{
    (void)state;
    struct fg_read_pace pace = {0};
    assert_int_equal(next_of(&pace), 65536);
    pace.halvings = 1;
    assert_int_equal(next_of(&pace), 32768);
    pace.halvings = FG_READ_TURN_HALVINGS_MAX;
    assert_int_equal(next_of(&pace), 1024);
}

/* One of two slices of 400 us. */
static void a_dear_read_is_halved_until_it_fits(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(400 * US);
    assert_int_equal(after(&reads, 1, 0, 200 * US), 0); /* the exact edge */
    assert_int_equal(after(&reads, 2, 0, 200 * US + 1), 1);
    assert_int_equal(after(&reads, 3, 0, 800 * US), 2);
    assert_int_equal(after(&reads, 4, 0, 6400 * US), 5);
    assert_int_equal(after(&reads, 5, 3, 400 * US), 4);
    assert_int_equal(after(&reads, 6, 0, UINT64_MAX), FG_READ_TURN_HALVINGS_MAX);
    assert_int_equal(after(&reads, 7, FG_READ_TURN_HALVINGS_MAX, UINT64_MAX),
                     FG_READ_TURN_HALVINGS_MAX);
}

static void some_cheap_ones_double_the_next(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(400 * US);
    struct fg_read_pace pace = {.halvings = 4, .is_known = true};
    assert_int_equal(after_some(&reads, 1, &pace, 1, 100 * US), 4);
    assert_int_equal(after_some(&reads, 3, &pace, 9, 100 * US + 1), 4); /* twice would not fit */
    assert_int_equal(after_some(&reads, 5, &pace, 1, 100 * US), 3);
    assert_int_equal(after_some(&reads, 7, &pace, 5, 0), 1);
    assert_int_equal(after_some(&reads, 9, &pace, 1, 0), 0);
    assert_int_equal(after_some(&reads, 11, &pace, 1000, 0), 0);
}

/* Whoever behaves only to get a large read for dear bytes has to behave longer each time. */
static void patience_does_not_pay(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    struct fg_read_pace pace = {.is_known = true};
    for (unsigned dears = 1; dears < 10; dears++) {
        assert_int_equal(after_some(&reads, dears, &pace, 1, 100 * MS), FG_READ_TURN_HALVINGS_MAX);
        unsigned wanted = 2u << (dears < FG_READ_TURN_DEARS_MAX ? dears : FG_READ_TURN_DEARS_MAX);
        for (uint8_t left = FG_READ_TURN_HALVINGS_MAX; left > 0; left--) {
            assert_int_equal(after_some(&reads, dears, &pace, wanted - 1, 0), left);
            assert_int_equal(after_some(&reads, dears, &pace, 1, 0), left - 1);
        }
    }
    /* One who goes on behaving is forgiven, one by one: 8 reads, then 4. */
    (void)after_some(&reads, 20, &pace, 8 + 4, 0);
    assert_int_equal(pace.dears, 0);
    assert_int_equal(after_some(&reads, 21, &pace, 1, 100 * MS), FG_READ_TURN_HALVINGS_MAX);
    assert_int_equal(after_some(&reads, 21, &pace, 4, 0), FG_READ_TURN_HALVINGS_MAX - 1);
}

/* Then it is the next turn's: but a head fits into what is left for everybody. */
static void a_turn_takes_its_budget_and_little_more(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    struct fg_read_pace known = {.is_known = true}, small = {.halvings = 1, .is_known = true};
    struct fg_read_pace newcomer = {.halvings = 3}, tiny = {.halvings = 6};
    struct fg_read_pace dear = {.is_known = true};
    (void)fg_read_turn_note(&reads, 7, &dear, MOST, MOST, 2 * MS - 1);
    assert_int_equal(fg_read_turn_ask(&reads, 7, &known, MOST), MOST);
    assert_true(fg_read_turn_is_due(&reads, 7, &small));
    (void)fg_read_turn_note(&reads, 7, &dear, MOST, 1, 3);
    assert_int_equal(fg_read_turn_ask(&reads, 7, &known, MOST), FG_READ_TURN_SPARE);
    assert_int_equal(fg_read_turn_ask(&reads, 7, &newcomer, MOST), FG_READ_TURN_SPARE);
    assert_int_equal(fg_read_turn_ask(&reads, 7, &tiny, MOST), 1024);
    assert_true(got(&reads, 7, &newcomer, FG_READ_TURN_SPARE)); /* all that it was given */
    assert_true(fg_read_turn_is_due(&reads, 7, &known));
    assert_true(fg_read_turn_is_due(&reads, 7, &newcomer));
    assert_false(fg_read_turn_is_due(&reads, 7, &small));
    assert_true(fg_read_turn_is_due(&reads, 8, &small));
    assert_int_equal(fg_read_turn_ask(&reads, 8, &known, MOST), MOST);
}

static void many_first_reads_share_one_budget(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    for (unsigned i = 0; i < 100; i++)
        (void)after_first(&reads, 1, 0, 10 * US);
    assert_int_equal(after_first(&reads, 2, 5, 20 * US), 5); /* a hundredth */
    assert_int_equal(after_first(&reads, 2, 5, 21 * US), 6);
    assert_int_equal(after_first(&reads, 3, 0, 200 * US), 0); /* few in the turn before */
    for (unsigned i = 0; i < 100; i++)
        (void)after_first(&reads, 4, 0, 10 * US);
    assert_int_equal(after_first(&reads, 6, 0, 200 * US), 0); /* a turn without any */
    assert_int_equal(after_first(&reads, 1, 0, 200 * US), 0); /* turns from the begin again */
}

/* Whoever sends a little less than a read can take is not cheaper for it. */
static void a_read_need_not_be_full_to_be_dear(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(400 * US);
    struct fg_read_pace pace = {.is_known = true};
    assert_false(got(&reads, 1, &pace, 4095));
    assert_true(got(&reads, 1, &pace, 4096));
    assert_true(fg_read_turn_note(&reads, 1, &pace, MOST, 8192, 400 * US));
    assert_int_equal(next_of(&pace), 4096);
    assert_true(got(&reads, 8, &pace, 4096));
    /* Cheap, but not full: it says nothing about a larger one. */
    assert_false(got(&reads, 9, &pace, 4095));
    assert_false(fg_read_turn_note(&reads, 9, &pace, MOST, 4095, 1));
    assert_int_equal(next_of(&pace), 4096);
    pace.halvings = FG_READ_TURN_HALVINGS_MAX;
    assert_true(got(&reads, 10, &pace, 1024));
    assert_false(got(&reads, 10, &pace, 1023));
}

/* A read can come in parts, as of TLS records: all of them are what was asked for. */
static void a_read_may_come_in_parts(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(MS);
    struct fg_read_pace pace = {.is_known = true, .halvings = 2};
    for (unsigned i = 0; i < 2; i++) {
        (void)fg_read_turn_ask(&reads, 1, &pace, MOST);
        assert_true(fg_read_turn_got(&reads, 1, &pace, 8192));
        assert_int_equal(pace.left, 8192);
        assert_false(fg_read_turn_goes_last(&reads, 1, &pace));
        (void)fg_read_turn_note(&reads, 1, &pace, MOST, 8192, 1);
        assert_true(fg_read_turn_got(&reads, 1, &pace, 8192));
        assert_int_equal(pace.left, 0);
        assert_true(fg_read_turn_goes_last(&reads, 1, &pace));
        (void)fg_read_turn_note(&reads, 1, &pace, MOST, 8192, 1);
        (void)got(&reads, 2, &pace, 1);
    }
    assert_int_equal(pace.halvings, 1); /* two full ones, cheap */
    (void)fg_read_turn_ask(&reads, 2, &pace, MOST);
    (void)fg_read_turn_got(&reads, 2, &pace, FG_READ_TURN_PIECE - 1);
    assert_false(fg_read_turn_goes_last(&reads, 2, &pace));
    (void)fg_read_turn_got(&reads, 2, &pace, 1); /* much, if not all */
    assert_true(fg_read_turn_goes_last(&reads, 2, &pace));
    (void)got(&reads, 3, &pace, 1);
    fg_read_turn_cut(&pace); /* there was more, in small parts */
    assert_true(fg_read_turn_goes_last(&reads, 3, &pace));
}

/* Forty answers begin in one turn: who has more is not known before. */
static void large_pieces_share_a_turn(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(250 * US);
    size_t bytes = 0;
    for (unsigned i = 0; i < 40; i++) {
        struct fg_read_pace pace = {.is_known = i % 2 == 0};
        size_t most = fg_read_turn_ask(&reads, 7, &pace, MOST);
        assert_int_equal(most, i < 3 ? MOST : FG_READ_TURN_PIECE);
        assert_true(fg_read_turn_got(&reads, 7, &pace, most));
        bytes += most;
    }
    assert_int_equal(bytes, 3 * MOST + 37 * FG_READ_TURN_PIECE);
    struct fg_read_pace last = {.wants_more = true}, small = {.halvings = 3}, other = {0};
    assert_int_equal(fg_read_turn_ask(&reads, 7, &last, MOST), MOST); /* its line has a bound */
    assert_int_equal(fg_read_turn_ask(&reads, 7, &small, MOST), 8192);
    assert_int_equal(fg_read_turn_ask(&reads, 8, &other, MOST), MOST);
    for (unsigned i = 0; i < 1000; i++) /* neither small ones nor those that go last take any */
        (void)got(&reads, 8, &other, FG_READ_TURN_MEASURED - 1);
    (void)got(&reads, 8, &last, MOST);
    (void)got(&reads, 8, &last, MOST);
    assert_int_equal(fg_read_turn_ask(&reads, 8, &other, MOST), MOST);
    reads.large_turn = 8;
    reads.large_bytes = UINT64_MAX; /* saturates */
    (void)got(&reads, 8, &other, MOST);
    assert_int_equal(reads.large_bytes, UINT64_MAX);
    assert_int_equal(fg_read_turn_ask(&reads, 9, &(struct fg_read_pace){0}, MOST), MOST);
}

/* However many there are: smaller reads would only make large pieces dearer. */
static void large_pieces_are_never_dear(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * US);
    for (unsigned i = 0; i < 1000; i++)
        (void)after(&reads, 1, 0, 40 * US);
    assert_int_equal(after(&reads, 1, 0, 131072), 0); /* 2 ns a byte */
    assert_int_equal(after(&reads, 2, 3, 8192), 3);
    struct fg_read_pace pace = {.halvings = 3, .is_known = true};
    assert_int_equal(after_some(&reads, 2, &pace, 2, 8192), 2);
    assert_int_equal(after(&reads, 2, 3, 16384), 3);
    assert_int_equal(after(&reads, 2, 0, 131073), FG_READ_TURN_HALVINGS_MAX);
}

static void newcomers_begin_with_what_others_have_shown(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    struct fg_read_pace pace;
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(pace.halvings, 0);
    (void)fg_read_turn_note(&reads, 1, &pace, MOST, MOST, 6400 * US);
    (void)fg_read_turn_note(&reads, 50, &pace, MOST, MOST, 6400 * US); /* no first read */
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(pace.halvings, 5);
    (void)fg_read_turn_note(&reads, 60, &pace, MOST, 2048, 150 * US); /* neither dear nor cheap */
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(pace.halvings, 5);
    for (unsigned i = 5 * FG_READ_TURN_WELCOMES; i > 0; i--) { /* some that are cheap double it */
        fg_read_turn_greet(&reads, &pace);
        assert_int_equal(pace.halvings, (i + FG_READ_TURN_WELCOMES - 1) / FG_READ_TURN_WELCOMES);
        (void)fg_read_turn_note(&reads, 70, &pace, MOST, MOST >> pace.halvings, 1);
    }
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(pace.halvings, 0);
    (void)fg_read_turn_note(&reads, 80, &pace, MOST, MOST, 200 * US + 1);
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(pace.halvings, 1);
}

static void clients_begin_small(void **state)
{
    (void)state;
    struct fg_read_turn reads;
    struct fg_read_pace pace;
    fg_read_turn_init_for_clients(&reads, 2 * MS);
    for (unsigned i = 0; i < 100; i++) { /* cheap: no larger; dear: smaller */
        fg_read_turn_greet(&reads, &pace);
        assert_int_equal(next_of(&pace), 8192);
        (void)fg_read_turn_note(&reads, i, &pace, MOST, 8192, 1);
    }
    fg_read_turn_greet(&reads, &pace);
    (void)fg_read_turn_note(&reads, 200, &pace, MOST, 8192, 800 * US);
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(next_of(&pace), 2048);
    fg_read_turn_init_for_clients(&reads, 0);
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(fg_read_turn_ask(&reads, 1, &pace, MOST), MOST); /* off */
}

/* Large bodies are no reason to read anybody else by 2 KiB. */
static void what_is_cheap_spends_no_turn(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(MS);
    struct fg_read_pace pace = {.is_known = true};
    (void)after_some(&reads, 1, &pace, 100, 131072); /* 2 ns a byte: 13 ms in all */
    assert_int_equal(fg_read_turn_ask(&reads, 1, &pace, MOST), MOST);
    (void)after_some(&reads, 1, &pace, 1, 32 * MS);
    assert_int_equal(fg_read_turn_ask(&reads, 1, &pace, MOST), 2048 >> 1); /* halved to the least */
    struct fg_read_pace other = {.is_known = true};
    assert_int_equal(fg_read_turn_ask(&reads, 1, &other, MOST), FG_READ_TURN_SPARE);
}

/* Greeted, and read as often as newcomers go last. */
static void make_old(struct fg_read_turn *reads, struct fg_read_pace *pace)
{
    fg_read_turn_greet(reads, pace);
    for (unsigned i = 0; i < FG_READ_TURN_NEW; i++)
        fg_read_turn_served(reads, 1, pace, 1);
}

static void who_wants_more_goes_last(void **state)
{
    (void)state;
    struct fg_read_turn reads;
    struct fg_read_pace pace;
    fg_read_turn_init_for_clients(&reads, 2 * MS);
    make_old(&reads, &pace);
    assert_false(fg_read_turn_goes_last(&reads, 1, &pace));
    assert_int_equal(next_of(&pace), 8192);
    assert_false(got(&reads, 1, &pace, 300)); /* a head */
    assert_false(fg_read_turn_goes_last(&reads, 1, &pace));
    assert_true(got(&reads, 1, &pace, 8192)); /* all that it was given */
    assert_true(fg_read_turn_goes_last(&reads, 1, &pace));
    (void)fg_read_turn_note(&reads, 1, &pace, MOST, 8192, 1);
    assert_true(got(&reads, 1, &pace, 8191)); /* the rest */
    assert_false(fg_read_turn_goes_last(&reads, 1, &pace));
    fg_read_turn_init_for_clients(&reads, 0);
    (void)got(&reads, 1, &pace, 8192);
    assert_false(fg_read_turn_goes_last(&reads, 1, &pace));
}

/* However many there are: the turn has a bound. Until it is forgiven, it stays last. */
static void who_goes_last_has_slices(void **state)
{
    (void)state;
    struct fg_read_turn reads;
    fg_read_turn_init_for_clients(&reads, 2 * MS);
    struct fg_read_pace pace = {.is_known = true};
    for (unsigned i = 0; i < 100; i++) {
        struct fg_read_pace other = {.is_known = true};
        (void)after_some(&reads, 1, &other, 1, MS);
    }
    assert_int_equal(after_some(&reads, 1, &pace, 1, MS), 0); /* half a turn */
    assert_int_equal(after_some(&reads, 1, &pace, 1, MS + 1), 1);
    assert_true(fg_read_turn_is_due(&reads, 2, &pace));
    (void)got(&reads, 2, &pace, 1);
    assert_true(fg_read_turn_goes_last(&reads, 1, &pace));
    assert_int_equal(after_some(&reads, 2, &pace, 4, MS / 2), 0);
    (void)got(&reads, 2, &pace, 1);
    assert_true(fg_read_turn_goes_last(&reads, 1, &pace));
    assert_int_equal(after_some(&reads, 2, &pace, 4, MS / 2), 0);
    (void)got(&reads, 2, &pace, 1);
    assert_false(fg_read_turn_goes_last(&reads, 1, &pace));
}

/* A newcomer's first read is not put in order, so it is measured by its part of a turn. */
static void a_first_read_is_judged_by_its_share(void **state)
{
    (void)state;
    struct fg_read_turn reads;
    struct fg_read_pace pace;
    fg_read_turn_init_for_clients(&reads, 2 * MS);
    fg_read_turn_greet(&reads, &pace);
    assert_true(fg_read_turn_note(&reads, 1, &pace, MOST, 8192, 200 * US + 1));
    assert_int_equal(next_of(&pace), 4096);
    assert_true(fg_read_turn_is_due(&reads, 2, &pace)); /* it goes last instead */
    assert_false(fg_read_turn_note(&reads, 2, &pace, MOST, 4096, MS));
}

static void newcomers_and_who_asks_for_much_go_last(void **state)
{
    (void)state;
    struct fg_read_turn reads;
    struct fg_read_pace pace;
    fg_read_turn_init_for_clients(&reads, MS);
    fg_read_turn_greet(&reads, &pace);
    for (unsigned i = 0; i < FG_READ_TURN_NEW; i++) {
        assert_true(fg_read_turn_goes_last(&reads, 1, &pace));
        fg_read_turn_served(&reads, 1, &pace, FG_READ_TURN_MANY - 1);
    }
    assert_false(fg_read_turn_goes_last(&reads, 1, &pace));
    fg_read_turn_served(&reads, 1, &pace, FG_READ_TURN_MANY);
    for (unsigned i = 0; i < FG_READ_TURN_DOUBTS; i++) {
        assert_true(fg_read_turn_goes_last(&reads, 2, &pace));
        fg_read_turn_served(&reads, 2, &pace, 0);
    }
    assert_false(fg_read_turn_goes_last(&reads, 2, &pace));
    fg_read_turn_init_for_clients(&reads, 0); /* off */
    fg_read_turn_greet(&reads, &pace);
    fg_read_turn_served(&reads, 1, &pace, UINT64_MAX);
    assert_false(fg_read_turn_goes_last(&reads, 1, &pace));
}

/* Each of a crowd may be as good as any: when they have taken a turn, the others are not behind. */
static void bursts_are_counted_for_the_turn(void **state)
{
    (void)state;
    struct fg_read_turn reads;
    fg_read_turn_init_for_clients(&reads, MS);
    struct fg_read_pace good = {0};
    for (unsigned i = 0; i < FG_READ_TURN_BURSTS / FG_READ_TURN_BURST; i++) {
        struct fg_read_pace other = {0};
        assert_false(fg_read_turn_goes_last(&reads, 7, &good));
        fg_read_turn_served(&reads, 7, &other, FG_READ_TURN_BURST);
        fg_read_turn_served(&reads, 7, &other, FG_READ_TURN_BURST - 1); /* none */
    }
    assert_true(fg_read_turn_goes_last(&reads, 7, &good) && fg_read_turn_is_crowded(&reads, 7));
    assert_false(fg_read_turn_goes_last(&reads, 8, &good) || fg_read_turn_is_crowded(&reads, 8));
    struct fg_read_pace other = {0};
    fg_read_turn_served(&reads, 8, &other, FG_READ_TURN_BURST);
    assert_false(fg_read_turn_goes_last(&reads, 8, &good));
    reads.bursts = 0;
    fg_read_turn_served(&reads, 8, &other, UINT64_MAX); /* saturates */
    fg_read_turn_served(&reads, 8, &other, UINT64_MAX);
    assert_true(fg_read_turn_goes_last(&reads, 8, &good));
    reads.budget_ns = 0;
    assert_false(fg_read_turn_is_crowded(&reads, 8));
}

static void without_a_budget_all_reads_are_large(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(0);
    assert_int_equal(after(&reads, 1, 0, UINT64_MAX), 0);
    reads = made(UINT64_MAX);
    assert_int_equal(after(&reads, UINT64_MAX, 0, UINT64_MAX / 2), 0);
    reads = made(1); /* less than there are shares */
    assert_int_equal(after(&reads, 1, 0, MOST * FG_READ_TURN_PLAIN_NS), 0);
    assert_int_equal(after(&reads, 1, 0, MOST * FG_READ_TURN_PLAIN_NS + 1),
                     FG_READ_TURN_HALVINGS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_halved),
        cmocka_unit_test(a_dear_read_is_halved_until_it_fits),
        cmocka_unit_test(some_cheap_ones_double_the_next),
        cmocka_unit_test(patience_does_not_pay),
        cmocka_unit_test(a_turn_takes_its_budget_and_little_more),
        cmocka_unit_test(many_first_reads_share_one_budget),
        cmocka_unit_test(a_read_need_not_be_full_to_be_dear),
        cmocka_unit_test(a_read_may_come_in_parts),
        cmocka_unit_test(large_pieces_share_a_turn),
        cmocka_unit_test(large_pieces_are_never_dear),
        cmocka_unit_test(newcomers_begin_with_what_others_have_shown),
        cmocka_unit_test(clients_begin_small),
        cmocka_unit_test(what_is_cheap_spends_no_turn),
        cmocka_unit_test(who_wants_more_goes_last),
        cmocka_unit_test(who_goes_last_has_slices),
        cmocka_unit_test(newcomers_and_who_asks_for_much_go_last),
        cmocka_unit_test(bursts_are_counted_for_the_turn),
        cmocka_unit_test(a_first_read_is_judged_by_its_share),
        cmocka_unit_test(without_a_budget_all_reads_are_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
