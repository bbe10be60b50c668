/*
 * test_waiting_room.c: direct passes, the pace of the line, grace, restarts, and the rate bound.
 */
#include "policies/waiting_room.h"
#include "policies/wide_math.h"
#include "policy_test.h"

static struct fg_waiting_room_config ten_a_second(uint64_t burst)
{
    return (struct fg_waiting_room_config){
        .admit_amount = 10,
        .admit_period_ns = S,
        .admit_burst = burst,
        .waiting_max = 1000,
        .grace_ns = 60 * S,
    };
}

static enum fg_waiting_room_status status_of(struct fg_waiting_room *room, uint64_t ticket,
                                             uint64_t now_ns)
{
    return fg_waiting_room_status(room, ticket, now_ns).status;
}

static void passes_directly_then_forms_a_line(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(2);
    struct fg_waiting_room room;
    fg_waiting_room_init(&room, &config, 1, 0);
    assert_int_equal(fg_waiting_room_join(&room, 0).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(fg_waiting_room_join(&room, 0).status, FG_WAITING_ROOM_ADMITTED);
    struct fg_waiting_room_place place = fg_waiting_room_join(&room, 0);
    assert_int_equal(place.status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(place.ticket, 2);
    assert_int_equal(place.position, 0);
    assert_int_equal(place.eta_ns, 100 * MS);
    place = fg_waiting_room_join(&room, 0);
    assert_int_equal(place.position, 1);
    assert_int_equal(place.eta_ns, 200 * MS);
    assert_int_equal(fg_waiting_room_waiting(&room, 0), 2);
    assert_int_equal(status_of(&room, 2, 100 * MS - 1), FG_WAITING_ROOM_WAITING);
    assert_int_equal(status_of(&room, 2, 100 * MS), FG_WAITING_ROOM_ADMITTED);
    place = fg_waiting_room_status(&room, 3, 150 * MS);
    assert_int_equal(place.position, 0);
    assert_int_equal(place.eta_ns, 50 * MS);
    assert_int_equal(room.direct_total, 2);
    assert_int_equal(status_of(&room, 4, 150 * MS), FG_WAITING_ROOM_UNKNOWN);
}

static void the_line_moves_when_nobody_asks(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(1);
    struct fg_waiting_room room;
    fg_waiting_room_init(&room, &config, 1, 0);
    for (int i = 0; i < 501; i++)
        fg_waiting_room_join(&room, 0);
    /* 30 s without a call: 300 turns, not one burst */
    assert_int_equal(fg_waiting_room_waiting(&room, 30 * S), 200);
    /* and never past the last ticket: an hour later only the burst is saved up */
    assert_int_equal(fg_waiting_room_waiting(&room, 3600 * S), 0);
    assert_int_equal(fg_waiting_room_join(&room, 3600 * S).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(fg_waiting_room_join(&room, 3600 * S).status, FG_WAITING_ROOM_WAITING);
}

static void is_bounded(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(1);
    config.waiting_max = 2;
    struct fg_waiting_room room;
    fg_waiting_room_init(&room, &config, 1, 0);
    for (int i = 0; i < 3; i++)
        assert_int_not_equal(fg_waiting_room_join(&room, 0).status, FG_WAITING_ROOM_FULL);
    struct fg_waiting_room_place place = fg_waiting_room_join(&room, 0);
    assert_int_equal(place.status, FG_WAITING_ROOM_FULL);
    assert_int_equal(place.position, 2);
    assert_int_equal(place.eta_ns, 100 * MS);
    assert_int_equal(room.full_total, 1);
    assert_int_equal(fg_waiting_room_join(&room, 100 * MS - 1).status, FG_WAITING_ROOM_FULL);
    assert_int_equal(fg_waiting_room_join(&room, 100 * MS).status, FG_WAITING_ROOM_WAITING);
}

static void an_admitted_ticket_is_good_for_its_grace(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(1);
    struct fg_waiting_room room;
    fg_waiting_room_init(&room, &config, 1, 0);
    assert_int_equal(fg_waiting_room_join(&room, 5 * S).ticket, 0);
    assert_int_equal(status_of(&room, 0, 65 * S - 1), FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(status_of(&room, 0, 65 * S), FG_WAITING_ROOM_EXPIRED);
    /* a line of 3000 over five minutes: nobody expires early, or more than 1/30 late */
    fg_waiting_room_init(&room, &config, 1, 0);
    room.config.waiting_max = UINT64_MAX;
    for (int i = 0; i < 3000; i++)
        fg_waiting_room_join(&room, 0);
    for (uint64_t now_ns = 0; now_ns <= 400 * S; now_ns += 50 * MS) {
        fg_waiting_room_waiting(&room, now_ns);
        uint64_t turned = now_ns >= 60 * S ? (now_ns - 60 * S) / (100 * MS) + 1 : 0;
        assert_true(room.expired <= turned);
        uint64_t must = now_ns >= 63 * S ? (now_ns - 63 * S) / (100 * MS) : 0;
        assert_true(room.expired >= (must < 3000 ? must : 3000));
    }
    config.grace_ns = 0; /* for ever */
    fg_waiting_room_init(&room, &config, 1, 0);
    fg_waiting_room_join(&room, 0);
    assert_int_equal(status_of(&room, 0, 100 * YEAR), FG_WAITING_ROOM_ADMITTED);
}

static void survives_a_restart(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(3);
    struct fg_waiting_room room;
    struct fg_waiting_room later;
    fg_waiting_room_init(&room, &config, 42, 0);
    for (int i = 0; i < 100; i++)
        fg_waiting_room_join(&room, 0);
    struct fg_waiting_room_snapshot saved = fg_waiting_room_export(&room, S);
    assert_int_equal(saved.head, 13);
    assert_int_equal(saved.tail, 100);
    assert_int_equal(saved.epoch, 42);
    fg_waiting_room_init(&later, &config, 43, 500); /* another boot, another clock */
    assert_true(fg_waiting_room_import(&later, &saved, 500));
    assert_int_equal(later.epoch, 42);
    assert_int_equal(status_of(&later, 12, 500), FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(fg_waiting_room_status(&later, 13, 500).position, 0);
    assert_int_equal(fg_waiting_room_status(&later, 99, 500).position, 86);
    assert_int_equal(fg_waiting_room_join(&later, 500).ticket, 100);
    assert_int_equal(status_of(&later, 12, 500 + 60 * S), FG_WAITING_ROOM_EXPIRED);
    struct fg_waiting_room_snapshot bad = saved;
    bad.head = 101;
    assert_false(fg_waiting_room_import(&later, &bad, 600));
    bad.head = 0;
    bad.expired = 1;
    assert_false(fg_waiting_room_import(&later, &bad, 600));
    assert_int_equal(later.tail, 101);
}

static void the_rate_can_change_on_the_way(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(1);
    struct fg_waiting_room room;
    fg_waiting_room_init(&room, &config, 1, 0);
    for (int i = 0; i < 101; i++)
        fg_waiting_room_join(&room, 0);
    fg_waiting_room_set_rate(&room, 1, S, 50 * MS); /* half a turn is earned already */
    assert_int_equal(fg_waiting_room_status(&room, 1, 50 * MS).eta_ns, 500 * MS);
    fg_waiting_room_set_rate(&room, 0, S, 60 * MS);
    assert_true(fg_waiting_room_status(&room, 1, YEAR).eta_ns == FG_POLICY_NEVER);
    assert_int_equal(fg_waiting_room_waiting(&room, YEAR), 100);
}

static void odd_settings_and_clocks(void **state)
{
    (void)state;
    struct fg_waiting_room_config config = ten_a_second(0); /* no burst: everybody waits a turn */
    struct fg_waiting_room room;
    fg_waiting_room_init(&room, &config, 1, YEAR);
    assert_int_equal(fg_waiting_room_join(&room, 2 * YEAR).status, FG_WAITING_ROOM_WAITING);
    for (uint64_t t = 1; t < 100 * MS; t += MS) /* asking often does not slow it */
        assert_int_equal(status_of(&room, 0, 2 * YEAR + t), FG_WAITING_ROOM_WAITING);
    assert_int_equal(status_of(&room, 0, YEAR), FG_WAITING_ROOM_WAITING); /* back a year */
    assert_int_equal(status_of(&room, 0, 2 * YEAR + 100 * MS), FG_WAITING_ROOM_ADMITTED);

    config = (struct fg_waiting_room_config){UINT64_MAX, 1, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    fg_waiting_room_init(&room, &config, 1, 0);
    assert_int_equal(fg_waiting_room_join(&room, 0).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(status_of(&room, 0, UINT64_MAX - 1), FG_WAITING_ROOM_ADMITTED);

    struct fg_waiting_room_snapshot last = {0, UINT64_MAX, UINT64_MAX, 1};
    assert_true(fg_waiting_room_import(&room, &last, 0));
    assert_int_equal(fg_waiting_room_join(&room, S).status, FG_WAITING_ROOM_FULL);
    assert_string_equal(fg_waiting_room_status_name(FG_WAITING_ROOM_FULL), "full");
}

static void never_admits_more_than_the_rate(void **state)
{
    (void)state;
    uint64_t seed = test_seed(6);
    for (int round = 0; round < 100; round++) {
        struct fg_waiting_room_config config = {
            .admit_amount = 1 + test_below(&seed, 50),
            .admit_period_ns = 1 + test_below(&seed, 3 * S),
            .admit_burst = test_below(&seed, 10),
            .waiting_max = test_below(&seed, 500),
            .grace_ns = test_below(&seed, 10 * S),
        };
        struct fg_waiting_room room;
        uint64_t now_ns = test_below(&seed, S);
        uint64_t start_ns = now_ns;
        fg_waiting_room_init(&room, &config, 1, now_ns);
        for (int i = 0; i < 1000; i++) {
            now_ns += test_below(&seed, 100 * MS);
            uint64_t head = room.head;
            uint64_t expired = room.expired;
            uint64_t jitter = test_below(&seed, 1 + now_ns / 10);
            uint64_t at_ns = test_below(&seed, 20) == 0 ? now_ns - jitter : now_ns;
            if (test_below(&seed, 3))
                fg_waiting_room_join(&room, at_ns);
            else
                fg_waiting_room_status(&room, test_below(&seed, room.tail + 2), at_ns);
            assert_true(room.expired >= expired && room.head >= head);
            assert_true(room.expired <= room.head && room.head <= room.tail);
            assert_true(room.tail - room.head <= config.waiting_max);
            fg_wide bound = (fg_wide)(now_ns - start_ns) * config.admit_amount;
            assert_true(room.head <= bound / config.admit_period_ns + config.admit_burst);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_directly_then_forms_a_line),
        cmocka_unit_test(the_line_moves_when_nobody_asks),
        cmocka_unit_test(is_bounded),
        cmocka_unit_test(an_admitted_ticket_is_good_for_its_grace),
        cmocka_unit_test(survives_a_restart),
        cmocka_unit_test(the_rate_can_change_on_the_way),
        cmocka_unit_test(odd_settings_and_clocks),
        cmocka_unit_test(never_admits_more_than_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
