/*
 * test_room_places.c: marks age, blocks count what is there, the ring comes round.
 */
#include "policies/room_places.h"
#include "policy_test.h"

#define CAPACITY 1024u

static _Alignas(uint64_t) uint8_t memory[CAPACITY + CAPACITY / FG_ROOM_BLOCK_PLACES * 2];

static struct fg_room_places a_ring(void)
{
    assert_int_equal(fg_room_places_bytes(CAPACITY), sizeof(memory));
    memset(memory, 0, sizeof(memory));
    return fg_room_places_over(memory, CAPACITY);
}

static void marks_age(void **state)
{
    (void)state;
    struct fg_room_places ring = a_ring();
    for (uint64_t slot = 0; slot < 1000; slot++) {
        fg_room_places_set(&ring, 5, FG_ROOM_WAITING, slot);
        for (uint64_t age = 0; age < 240; age++)
            assert_int_equal(fg_room_places_get(&ring, 5, slot + age),
                             age <= 8 ? FG_ROOM_WAITING : FG_ROOM_GONE);
    }
    fg_room_places_set(&ring, 5, FG_ROOM_ADMITTED, 3);
    assert_int_equal(fg_room_places_get(&ring, 5, 400), FG_ROOM_ADMITTED); /* these do not */
    fg_room_places_set(&ring, 5, FG_ROOM_USED, 3);
    assert_int_equal(fg_room_places_get(&ring, 5, 400), FG_ROOM_USED);
    assert_int_equal(fg_room_places_waiting(&ring, 0, CAPACITY), 0);
}

static void blocks_count_what_is_there(void **state)
{
    (void)state;
    uint64_t seed = test_seed(2), base = 3000;
    struct fg_room_places ring = a_ring();
    for (int i = 0; i < 20000; i++) {
        uint64_t number = base + test_below(&seed, CAPACITY - FG_ROOM_BLOCK_PLACES);
        fg_room_places_set(&ring, number, (enum fg_room_mark)test_below(&seed, 4), 7);
        if (i % 50 != 0)
            continue;
        uint64_t from = base + test_below(&seed, 500), to = from + test_below(&seed, 268);
        uint64_t count = 0;
        for (uint64_t n = from; n < to; n++)
            count += fg_room_places_get(&ring, n, 7) == FG_ROOM_WAITING;
        assert_int_equal(fg_room_places_waiting(&ring, from, to), count);
    }
    uint64_t all = fg_room_places_waiting(&ring, base, base + CAPACITY);
    fg_room_places_recount(&ring, base, base + CAPACITY);
    assert_int_equal(fg_room_places_waiting(&ring, base, base + CAPACITY), all);
    assert_int_equal(fg_room_places_sweep(&ring, base, base + CAPACITY, 15), 0);
    assert_int_equal(fg_room_places_sweep(&ring, base, base + CAPACITY, 16), all);
    assert_true(fg_room_places_is_block_empty(&ring, base));
}

static void a_reset_ring_is_as_if_each_had_been_set(void **state)
{
    (void)state;
    uint64_t seed = test_seed(3);
    for (int i = 0; i < 300; i++) {
        uint64_t from = 3000 + test_below(&seed, CAPACITY), slot = test_below(&seed, 1000);
        uint64_t to = from + test_below(&seed, CAPACITY + 1);
        uint8_t wanted[sizeof(memory)];
        struct fg_room_places ring = a_ring();
        for (uint64_t n = from; n < to; n++)
            fg_room_places_set(&ring, n, FG_ROOM_WAITING, slot);
        memcpy(wanted, memory, sizeof(memory));
        for (uint64_t n = 0; n < CAPACITY; n++)
            fg_room_places_set(&ring, n, (enum fg_room_mark)test_below(&seed, 4), slot);
        fg_room_places_reset(&ring, from, to, slot);
        assert_memory_equal(memory, wanted, sizeof(memory));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_age),
        cmocka_unit_test(blocks_count_what_is_there),
        cmocka_unit_test(a_reset_ring_is_as_if_each_had_been_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
