/*
 * test_waiting_room.c: direct passes, the pace of the line, presence, single use, lots, restarts,
 * and the bound on the rate.
 */
#include "policies/waiting_room.h"
#include "policies/wide_math.h"
#include "policy_test.h"

#define MEMORY_BYTES (1u << 20)

static _Alignas(uint64_t) uint8_t memory[MEMORY_BYTES];
static struct fg_waiting_room_line line;
static struct fg_waiting_room room;

static struct fg_waiting_room_config ten_a_second(uint64_t burst)
{
    return (struct fg_waiting_room_config){
        .admit_amount = 10,
        .admit_period_ns = S,
        .admit_burst = burst,
        .waiting_max = 1000,
        .grace_ns = 60 * S,
        .keep_ns = 300 * S,
    };
}

static void open_room(const struct fg_waiting_room_config *config, uint64_t now_ns)
{
    uint64_t capacity = fg_waiting_room_capacity(config);
    assert_true(fg_room_places_bytes(capacity) <= sizeof(memory));
    memset(memory, 0, sizeof(memory));
    fg_waiting_room_init(&room, &line, memory, capacity, config, 1, 99, now_ns);
}

static void join_many(int count, uint64_t now_ns)
{
    for (int i = 0; i < count; i++)
        fg_waiting_room_join(&room, now_ns);
}

static enum fg_waiting_room_status status_of(uint64_t number, uint64_t now_ns)
{
    return fg_waiting_room_status(&room, number, now_ns).status;
}

static void passes_directly_then_forms_a_line(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(2);
    open_room(&config, 0);
    for (int i = 0; i < 2; i++) {
        struct fg_waiting_room_place place = fg_waiting_room_join(&room, 0);
        assert_int_equal(place.status, FG_WAITING_ROOM_ADMITTED);
        assert_true(place.is_direct);
    }
    struct fg_waiting_room_place place = fg_waiting_room_join(&room, 0);
    assert_int_equal(place.status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(place.number, 0);
    assert_int_equal(place.position, 0);
    assert_int_equal(place.eta_ns, 100 * MS);
    place = fg_waiting_room_join(&room, 0);
    assert_int_equal(place.position, 1);
    assert_int_equal(place.eta_ns, 200 * MS);
    assert_int_equal(fg_waiting_room_waiting(&room, 0), 2);
    assert_int_equal(status_of(0, 100 * MS - 1), FG_WAITING_ROOM_WAITING);
    assert_int_equal(status_of(0, 100 * MS), FG_WAITING_ROOM_ADMITTED);
    place = fg_waiting_room_status(&room, 1, 150 * MS);
    assert_int_equal(place.position, 0);
    assert_int_equal(place.eta_ns, 50 * MS);
    assert_int_equal(line.direct_total, 2);
    assert_int_equal(status_of(2, 150 * MS), FG_WAITING_ROOM_UNKNOWN);
}

static void the_line_moves_when_nobody_asks(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(1);
    open_room(&config, 0);
    join_many(501, 0);
    /* 30 s without a call: 300 turns, not one burst */
    assert_int_equal(fg_waiting_room_waiting(&room, 30 * S), 200);
    /* and never past the last place: an hour later only the burst is saved up */
    assert_int_equal(fg_waiting_room_waiting(&room, 3600 * S), 0);
    assert_int_equal(fg_waiting_room_join(&room, 3600 * S).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(fg_waiting_room_join(&room, 3600 * S).status, FG_WAITING_ROOM_WAITING);
}

static void is_bounded(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(1);
    config.waiting_max = 2;
    open_room(&config, 0);
    for (int i = 0; i < 3; i++)
        assert_int_not_equal(fg_waiting_room_join(&room, 0).status, FG_WAITING_ROOM_FULL);
    struct fg_waiting_room_place place = fg_waiting_room_join(&room, 0);
    assert_int_equal(place.status, FG_WAITING_ROOM_FULL);
    assert_int_equal(place.position, 2);
    assert_int_equal(place.eta_ns, 100 * MS);
    assert_int_equal(line.full_total, 1);
    assert_int_equal(fg_waiting_room_join(&room, 100 * MS - 1).status, FG_WAITING_ROOM_FULL);
    assert_int_equal(fg_waiting_room_join(&room, 100 * MS).status, FG_WAITING_ROOM_WAITING);
}

static void a_place_lets_in_once(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0);
    open_room(&config, 0);
    join_many(1, 0);
    assert_int_equal(fg_waiting_room_enter(&room, 0, 50 * MS).status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(status_of(0, 100 * MS), FG_WAITING_ROOM_ADMITTED); /* looking costs nothing */
    assert_int_equal(fg_waiting_room_enter(&room, 0, S).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(fg_waiting_room_enter(&room, 0, S).status, FG_WAITING_ROOM_USED);
    assert_int_equal(line.used_total, 1);
    fg_waiting_room_give_back(&room, 0, S);
    assert_int_equal(line.used_total, 0);
    assert_int_equal(fg_waiting_room_enter(&room, 0, S).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(fg_waiting_room_enter(&room, 0, 2 * S).status, FG_WAITING_ROOM_USED);
    assert_int_equal(fg_waiting_room_enter(&room, 0, 200 * S).status, FG_WAITING_ROOM_EXPIRED);
    fg_waiting_room_give_back(&room, 0, 200 * S); /* too late */
    assert_int_equal(fg_waiting_room_enter(&room, 0, 200 * S).status, FG_WAITING_ROOM_EXPIRED);
}

static void a_turn_is_kept_for_its_grace(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0);
    config.waiting_max = 3000;
    open_room(&config, 0);
    join_many(1, 0);
    assert_int_equal(status_of(0, 100 * MS), FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(status_of(0, 60 * S), FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(status_of(0, 63 * S), FG_WAITING_ROOM_EXPIRED);
    assert_int_equal(line.unused_total, 1);
    /* a line of 3000: nobody expires early, or more than 1/30 late */
    open_room(&config, 0);
    join_many(3000, 0);
    for (uint64_t now_ns = 0; now_ns <= 400 * S; now_ns += 50 * MS) {
        fg_waiting_room_waiting(&room, now_ns);
        /* from then on turns that were not taken come on top */
        uint64_t turned = now_ns >= 60 * S ? (now_ns - 60 * S) / (100 * MS) + 1 : 0;
        assert_true(now_ns > 120 * S || line.expired <= turned);
        uint64_t must = now_ns >= 63 * S ? (now_ns - 63 * S) / (100 * MS) : 0;
        assert_true(line.expired >= (must < 3000 ? must : 3000));
    }
    config.grace_ns = 0; /* for ever */
    open_room(&config, 0);
    join_many(1, 0);
    assert_int_equal(status_of(0, S), FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(status_of(0, 100 * YEAR), FG_WAITING_ROOM_ADMITTED);
}

static void turns_that_are_not_taken_go_to_others(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0);
    config.grace_ns = 10 * S;
    open_room(&config, 0);
    join_many(1000, 0);
    uint64_t used = 0;
    for (uint64_t now_ns = 0; now_ns < 60 * S; now_ns += 100 * MS) {
        for (uint64_t n = 0; n < 1000; n++) { /* every second one does not come */
            if (n % 2 == 0)
                used += fg_waiting_room_enter(&room, n, now_ns).status == FG_WAITING_ROOM_ADMITTED;
            else if (n >= line.head)
                fg_waiting_room_status(&room, n, now_ns);
        }
    }
    /* 600 turns; those of the last ten seconds may still be taken */
    assert_in_range(used, 480, 500);
    assert_true(line.admitted_total <= 600 + line.unused_total);
}

static void people_who_leave_give_their_place_back(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0);
    config.waiting_max = 100;
    open_room(&config, 0);
    join_many(100, 0);
    assert_int_equal(fg_waiting_room_join(&room, 0).status, FG_WAITING_ROOM_FULL);
    fg_waiting_room_leave(&room, 10, 0);
    fg_waiting_room_leave(&room, 10, 0); /* once */
    assert_int_equal(fg_waiting_room_waiting(&room, 0), 99);
    assert_int_equal(status_of(10, 0), FG_WAITING_ROOM_EXPIRED);
    assert_int_equal(fg_waiting_room_status(&room, 9, 0).position, 9);
    assert_int_equal(fg_waiting_room_status(&room, 11, 0).position, 10);
    assert_int_equal(fg_waiting_room_join(&room, 0).number, 100);
    /* the first eleven turns go to 0..9 and 11 */
    assert_int_equal(status_of(11, 1099 * MS), FG_WAITING_ROOM_WAITING);
    assert_int_equal(status_of(11, 1100 * MS), FG_WAITING_ROOM_ADMITTED);
    fg_waiting_room_leave(&room, 11, 1100 * MS); /* its turn had come: it is the next one's */
    assert_int_equal(status_of(12, 1100 * MS), FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(status_of(13, 1100 * MS), FG_WAITING_ROOM_WAITING);
    fg_waiting_room_leave(&room, 5000, 1100 * MS);
    assert_int_equal(line.left_total, 1);
}

static void a_place_is_kept_while_it_is_asked_for(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0);
    config.admit_amount = 1;
    config.admit_period_ns = 3600 * S;
    open_room(&config, 0);
    join_many(1000, 0);
    uint64_t now_ns = 0;
    for (; now_ns < 300 * S; now_ns += 10 * S) /* one in ten asks */
        for (uint64_t n = 0; n < 1000; n += 10)
            assert_int_equal(status_of(n, now_ns), FG_WAITING_ROOM_WAITING);
    assert_int_equal(line.waiting, 1000); /* nobody is forgotten early */
    for (; now_ns < 400 * S; now_ns += 10 * S)
        for (uint64_t n = 0; n < 1000; n += 10)
            assert_int_equal(status_of(n, now_ns), FG_WAITING_ROOM_WAITING);
    assert_int_equal(line.waiting, 100);
    assert_int_equal(line.left_total, 900);
    assert_int_equal(fg_waiting_room_status(&room, 990, now_ns).position, 99);
    assert_int_equal(status_of(991, now_ns), FG_WAITING_ROOM_EXPIRED);
    assert_int_equal(fg_waiting_room_waiting(&room, now_ns + 1000 * S), 0); /* all of them left */
}

static void says_how_wrong_it_may_be(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0);
    config.waiting_max = 100000;
    open_room(&config, 0);
    join_many(50000, 0);
    struct fg_waiting_room_place early = fg_waiting_room_status(&room, 20000, 0);
    assert_int_equal(early.eta_ns, 2000100 * MS);
    /* the fifth of the line that stands in front gives up bit by bit */
    uint64_t now_ns = 0, gone = 0;
    for (; now_ns < 200 * S; now_ns += S) {
        for (int i = 0; i < 50; i++, gone++)
            fg_waiting_room_leave(&room, gone, now_ns);
        for (uint64_t n = 0; n < 50000; n += 71)
            fg_waiting_room_status(&room, n, now_ns);
    }
    struct fg_waiting_room_place later = fg_waiting_room_status(&room, 20000, now_ns);
    assert_true(later.position < early.position - 10000);
    assert_true(later.eta_ns < early.eta_ns - 1000 * S);
    assert_true(later.eta_error_ns > 0 && later.eta_error_ns < later.eta_ns);
}

static void draws_the_order_within_a_window(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0);
    config.draw_window_ns = 20 * S;
    config.grace_ns = 300 * S;
    open_room(&config, 0);
    join_many(200, 0);
    struct fg_waiting_room_place place = fg_waiting_room_status(&room, 0, 0);
    assert_in_range(place.position, 99, 100); /* its lot may be any */
    assert_int_equal(place.position + place.position_error, 199);
    /* the first turn draws the lots of those who are there; the next ones form a new window */
    assert_int_equal(fg_waiting_room_waiting(&room, 5 * S), 150);
    join_many(200, 5 * S);
    uint64_t early = 0, moved = 0, at_ns = 20 * S;
    fg_waiting_room_waiting(&room, at_ns);
    for (uint64_t n = 0; n < 400; n++) {
        place = fg_waiting_room_status(&room, n, at_ns);
        if (place.status == FG_WAITING_ROOM_ADMITTED)
            early += n < 200;
        moved += place.status == FG_WAITING_ROOM_ADMITTED && n >= 100;
    }
    assert_int_equal(early, 200); /* whoever came in the first window is in before the others */
    assert_in_range(moved, 70, 130);
    uint64_t sum = 0;
    for (uint64_t n = 200; n < 400; n++)
        sum += fg_waiting_room_status(&room, n, at_ns).position;
    assert_in_range(sum / 200, 95, 104);
    for (at_ns = 20 * S; at_ns <= 40 * S; at_ns += 100 * MS)
        fg_waiting_room_waiting(&room, at_ns);
    for (uint64_t n = 200; n < 400; n++)
        assert_int_equal(fg_waiting_room_enter(&room, n, 40 * S).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(line.windows.closed_count, 0);
}

static void goes_on_after_a_restart(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(3);
    open_room(&config, 0);
    join_many(103, 0);
    assert_int_equal(fg_waiting_room_enter(&room, 3, S).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(line.head, 10);
    uint64_t capacity = room.places.capacity;
    /* another boot, another clock; a moment after the death in the middle of a step */
    memory[2 * (capacity / FG_ROOM_BLOCK_PLACES) + 100] = 7;
    line.waiting = 3;
    assert_true(fg_waiting_room_resume(&room, &line, memory, capacity, 500));
    assert_int_equal(line.waiting, 90);
    assert_int_equal(status_of(9, 500), FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(status_of(3, 500), FG_WAITING_ROOM_USED);
    assert_int_equal(fg_waiting_room_status(&room, 10, 500).position, 0);
    assert_int_equal(fg_waiting_room_status(&room, 99, 500).position, 89);
    assert_int_equal(fg_waiting_room_join(&room, 500).number, 100);
    assert_int_equal(fg_waiting_room_status(&room, 100, 500).position, 90);
    assert_int_equal(status_of(10, 500 + 100 * MS), FG_WAITING_ROOM_ADMITTED);
    /* into a larger ring */
    static _Alignas(uint64_t) uint8_t larger[MEMORY_BYTES];
    static struct fg_waiting_room_line moved;
    fg_waiting_room_grow(&room, &moved, larger, 2 * capacity);
    assert_int_equal(fg_waiting_room_status(&room, 100, 500 + 100 * MS).position, 89);
    assert_int_equal(status_of(3, 500 + 100 * MS), FG_WAITING_ROOM_USED);
    /* numbers that contradict each other are refused */
    struct fg_waiting_room_line bad = line;
    bad.head = bad.tail + 1;
    assert_false(fg_waiting_room_resume(&room, &bad, memory, capacity, 600));
    bad = line;
    bad.expired = bad.head + 1;
    assert_false(fg_waiting_room_resume(&room, &bad, memory, capacity, 600));
    bad = line;
    bad.windows.closed_count = 1;
    bad.windows.closed[bad.windows.oldest].first = bad.tail;
    bad.windows.closed[bad.windows.oldest].count = UINT64_MAX;
    assert_false(fg_waiting_room_resume(&room, &bad, memory, capacity, 600));
    assert_ptr_equal(room.line, &moved);
}

static void takes_over_the_places_of_another_line(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(5);
    open_room(&config, 0);
    join_many(20, 0);
    assert_int_equal(fg_waiting_room_adopt(&room, 77, 5000, 5030, S), 5030);
    assert_int_equal(line.epoch, 77);
    assert_int_equal(status_of(3, S), FG_WAITING_ROOM_EXPIRED); /* of the line before */
    assert_int_equal(fg_waiting_room_status(&room, 5029, S).position, 29);
    assert_int_equal(fg_waiting_room_join(&room, S).number, 5030);
    assert_int_equal(fg_waiting_room_enter(&room, 5000, 1100 * MS).status,
                     FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(status_of(5001, 1100 * MS), FG_WAITING_ROOM_WAITING); /* no burst */
    /* no more than the ring has room for, and numbers that contradict each other are none */
    uint64_t most = room.places.capacity - 2 * FG_ROOM_BLOCK_PLACES;
    assert_int_equal(fg_waiting_room_adopt(&room, 78, 10, UINT64_MAX, 2 * S), 10 + most);
    assert_int_equal(fg_waiting_room_waiting(&room, 2 * S), most);
    assert_int_equal(fg_waiting_room_adopt(&room, 79, 10, 5, 2 * S), 5);
    assert_int_equal(fg_waiting_room_waiting(&room, 2 * S), 0);
}

static void settings_can_change_on_the_way(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0);
    open_room(&config, 0);
    join_many(100, 0);
    config.admit_amount = 1;
    fg_waiting_room_configure(&room, &config, 50 * MS); /* half a turn is earned already */
    assert_int_equal(fg_waiting_room_status(&room, 0, 50 * MS).eta_ns, 500 * MS);
    config.admit_amount = 0;
    fg_waiting_room_configure(&room, &config, 60 * MS);
    assert_true(fg_waiting_room_status(&room, 0, S).eta_ns == FG_POLICY_NEVER);
    config.keep_ns = 8 * S;
    fg_waiting_room_configure(&room, &config, 299 * S);
    assert_int_equal(fg_waiting_room_waiting(&room, 306 * S), 100); /* seen when it changed */
    config.draw_window_ns = 5 * S;
    config.admit_amount = 10;
    fg_waiting_room_configure(&room, &config, 306 * S);
    assert_int_equal(fg_waiting_room_status(&room, 7, 306 * S).position, 7); /* as promised */
    uint64_t number = fg_waiting_room_join(&room, 306 * S).number;
    config.draw_window_ns = 0;
    fg_waiting_room_configure(&room, &config, 306 * S);
    assert_int_equal(fg_waiting_room_status(&room, number, 306 * S).position, 100);
    assert_int_equal(fg_waiting_room_join(&room, 306 * S).position, 101);
}

static void odd_settings_and_clocks(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0); /* no burst: everybody waits a turn */
    open_room(&config, YEAR);
    assert_int_equal(fg_waiting_room_join(&room, 2 * YEAR).status, FG_WAITING_ROOM_WAITING);
    for (uint64_t t = 1; t < 100 * MS; t += MS) /* asking often does not slow it */
        assert_int_equal(status_of(0, 2 * YEAR + t), FG_WAITING_ROOM_WAITING);
    assert_int_equal(status_of(0, YEAR), FG_WAITING_ROOM_WAITING); /* back a year */
    assert_int_equal(status_of(0, 2 * YEAR + 100 * MS), FG_WAITING_ROOM_ADMITTED);

    config = (struct fg_waiting_room_config){UINT64_MAX, 1, UINT64_MAX, 10, UINT64_MAX, 1, 0};
    open_room(&config, 0);
    assert_int_equal(fg_waiting_room_join(&room, 0).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(fg_waiting_room_join(&room, 100 * YEAR).status, FG_WAITING_ROOM_ADMITTED);
    line.saved = 0;
    line.config.admit_amount = 0;
    line.head = line.tail = line.expired = line.windows.open_first = UINT64_MAX;
    assert_int_equal(fg_waiting_room_join(&room, 100 * YEAR).status, FG_WAITING_ROOM_FULL);
    assert_string_equal(fg_waiting_room_status_name(FG_WAITING_ROOM_FULL), "full");

    config = ten_a_second(0);
    config.waiting_max = 0;
    open_room(&config, 0);
    assert_int_equal(fg_waiting_room_join(&room, 0).status, FG_WAITING_ROOM_FULL);
}

static struct fg_waiting_room_config any_config(uint64_t *seed)
{
    return (struct fg_waiting_room_config){
        .admit_amount = 1 + test_below(seed, 50),
        .admit_period_ns = 1 + test_below(seed, 3 * S),
        .admit_burst = test_below(seed, 10),
        .waiting_max = test_below(seed, 500),
        .grace_ns = test_below(seed, 10 * S),
        .keep_ns = 1 + test_below(seed, 20 * S),
        .draw_window_ns = test_below(seed, 2) * test_below(seed, 5 * S),
    };
}

static void do_anything(uint64_t *seed, uint64_t at_ns)
{
    uint64_t number = test_below(seed, line.tail + 2);
    switch (test_below(seed, 8)) {
    case 0:
        fg_waiting_room_leave(&room, number, at_ns);
        break;
    case 1:
        fg_waiting_room_give_back(&room, number, at_ns);
        break;
    case 2:
        fg_waiting_room_enter(&room, number, at_ns);
        break;
    case 3:
        fg_waiting_room_status(&room, number, at_ns);
        break;
    default:
        fg_waiting_room_join(&room, at_ns);
    }
}

/* Whatever people do: nobody is let in beyond the rate, and what is counted is what is there. */
static void never_admits_more_than_the_rate(void **state)
{
    (void)state;
    uint64_t seed = test_seed(6);
    for (int round = 0; round < 200; round++) {
        struct fg_waiting_room_config config = any_config(&seed);
        uint64_t now_ns = test_below(&seed, S), start_ns = now_ns;
        open_room(&config, now_ns);
        for (int i = 0; i < 1000; i++) {
            now_ns += test_below(&seed, 100 * MS);
            uint64_t head = line.head, expired = line.expired;
            uint64_t jitter = test_below(&seed, 1 + now_ns / 10);
            uint64_t back_ns = test_below(&seed, 20) == 0 ? jitter : 0;
            do_anything(&seed, now_ns - back_ns);
            assert_true(line.expired >= expired && line.head >= head);
            assert_true(line.expired <= line.head && line.head <= line.tail);
            assert_true(line.waiting <= config.waiting_max);
            fg_wide bound = (fg_wide)(now_ns - start_ns) * config.admit_amount;
            assert_true(line.direct_total + line.admitted_total - line.unused_total <=
                        bound / config.admit_period_ns + config.admit_burst);
            if (i % 100 != 0)
                continue;
            uint64_t waiting = line.waiting;
            fg_waiting_room_repair(&room);
            assert_int_equal(line.waiting, waiting);
        }
    }
}

static void the_pace_can_be_set_while_people_wait(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0);
    config.admit_amount = 0; /* closed, with room for any pace to come */
    assert_true(fg_waiting_room_capacity(&config) >= 3 * config.waiting_max);
    open_room(&config, 0);
    join_many(100, 0);
    assert_int_equal(fg_waiting_room_waiting(&room, 20 * S), 100);
    assert_true(fg_waiting_room_status(&room, 50, 20 * S).eta_ns == FG_POLICY_NEVER);
    fg_waiting_room_set_pace(&room, 2500, 1000 * S, 1, 20 * S); /* one in 400 ms */
    assert_true(fg_waiting_room_status(&room, 50, 20 * S).eta_ns < 30 * S);
    assert_int_equal(fg_waiting_room_waiting(&room, 20 * S + 400 * MS - 1), 100);
    assert_int_equal(fg_waiting_room_waiting(&room, 20 * S + 400 * MS), 99);
    /* half way to the next one: the half is kept, whatever the pace is then */
    fg_waiting_room_set_pace(&room, 25000, 1000 * S, 1, 20 * S + 600 * MS);
    assert_int_equal(fg_waiting_room_waiting(&room, 20 * S + 620 * MS - 1), 99);
    assert_int_equal(fg_waiting_room_waiting(&room, 20 * S + 620 * MS), 98);
    /* little changes leave what is measured alone, another pace altogether does not */
    double measured = line.drain.mean;
    fg_waiting_room_set_pace(&room, 26000, 1000 * S, 1, 20 * S + 620 * MS);
    assert_true(line.drain.mean == measured);
    fg_waiting_room_set_pace(&room, 100, 1000 * S, 1, 20 * S + 620 * MS);
    assert_true(fg_drain_rate_per_s(&line.drain) < 0.11);
}

/* It came in at once, but found no room behind. */
static void who_is_sent_back_has_a_place_and_the_pass_is_back(void **state)
{
    (void)state;
    const struct fg_waiting_room_config config = {.admit_amount = 1,
                                                  .admit_period_ns = 1000 * S,
                                                  .admit_burst = 2,
                                                  .waiting_max = 2,
                                                  .keep_ns = 100 * S};
    uint64_t capacity = fg_waiting_room_capacity(&config);
    assert_true(fg_room_places_bytes(capacity) <= sizeof(memory));
    memset(memory, 0, sizeof(memory));
    fg_waiting_room_init(&room, &line, memory, capacity, &config, 1, 2, 0);
    assert_true(fg_waiting_room_join(&room, 0).is_direct);
    assert_true(fg_waiting_room_join(&room, 0).is_direct);
    struct fg_waiting_room_place back = fg_waiting_room_send_back(&room, 1);
    assert_int_equal(back.status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(line.direct_total, 1);
    /* the pass is its own: nobody else comes in before */
    assert_int_equal(fg_waiting_room_enter(&room, back.number, 2).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(line.direct_total + line.used_total, 2);
    assert_int_equal(fg_waiting_room_join(&room, 3).status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(fg_waiting_room_join(&room, 3).status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(fg_waiting_room_send_back(&room, 4).position, 1); /* one came in for it */
    assert_int_equal(line.waiting, 2);
    assert_int_equal(line.direct_total, 0);
    assert_int_equal(fg_waiting_room_send_back(&room, 5).status, FG_WAITING_ROOM_FULL);
    assert_int_equal(line.direct_total, 0);
}

/* As many passes are there already as may be: it has not come in all the same. */
static void who_is_sent_back_is_not_counted_as_let_in(void **state)
{
    (void)state;
    const struct fg_waiting_room_config config = {.admit_amount = 1,
                                                  .admit_period_ns = S,
                                                  .admit_burst = 2,
                                                  .waiting_max = 2,
                                                  .keep_ns = 100 * S};
    uint64_t capacity = fg_waiting_room_capacity(&config);
    assert_true(fg_room_places_bytes(capacity) <= sizeof(memory));
    memset(memory, 0, sizeof(memory));
    fg_waiting_room_init(&room, &line, memory, capacity, &config, 1, 2, 0);
    assert_true(fg_waiting_room_join(&room, 0).is_direct);
    fg_waiting_room_set_pace(&room, 100, 1000 * S, 1, 1);
    assert_int_equal(line.saved, 1);
    assert_int_equal(fg_waiting_room_send_back(&room, 2).status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(line.direct_total, 0);
    assert_int_equal(line.saved, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_directly_then_forms_a_line),
        cmocka_unit_test(the_line_moves_when_nobody_asks),
        cmocka_unit_test(is_bounded),
        cmocka_unit_test(the_pace_can_be_set_while_people_wait),
        cmocka_unit_test(a_place_lets_in_once),
        cmocka_unit_test(a_turn_is_kept_for_its_grace),
        cmocka_unit_test(turns_that_are_not_taken_go_to_others),
        cmocka_unit_test(people_who_leave_give_their_place_back),
        cmocka_unit_test(a_place_is_kept_while_it_is_asked_for),
        cmocka_unit_test(says_how_wrong_it_may_be),
        cmocka_unit_test(draws_the_order_within_a_window),
        cmocka_unit_test(goes_on_after_a_restart),
        cmocka_unit_test(takes_over_the_places_of_another_line),
        cmocka_unit_test(settings_can_change_on_the_way),
        cmocka_unit_test(odd_settings_and_clocks),
        cmocka_unit_test(who_is_sent_back_has_a_place_and_the_pass_is_back),
        cmocka_unit_test(who_is_sent_back_is_not_counted_as_let_in),
        cmocka_unit_test(never_admits_more_than_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
