/*
 * test_room_shared.c: tickets keep their place, cannot be forged, and cannot be lent.
 */
#include "base/clock.h"
#include "pipeline/room_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static struct fg_arena_pool pool;
static struct fg_arena arena;
static struct fg_jwt_key key;
static struct fg_jwt_signer *signer;
static struct fg_room *room;

static int set_up(void **state)
{
    (void)state;
    static const struct fg_waiting_room_conf conf = {
        .enabled = true,
        .admit = {1, FG_S},
        .burst = 1,
        .waiting_max = 2,
        .grace_ns = 60 * FG_S,
    };
    fg_arena_pool_init(&pool, 64);
    fg_arena_init(&arena, &pool, 100000);
    memset(key.secret, 'k', 40);
    key.secret_bytes = 40;
    signer = fg_jwt_signer_create(&key);
    room = fg_room_create(&conf, "orders", 77, 0);
    return signer == NULL || room == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    fg_room_destroy(room);
    fg_jwt_signer_destroy(signer);
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    return 0;
}

static struct fg_waiting_room_place visit(struct fg_span ticket, const char *who, uint64_t now_ns,
                                          struct fg_span *issued)
{
    return fg_room_visit(room, signer, &arena, ticket, fg_span_from_string(who), now_ns, issued);
}

static void keeps_places_and_admits_in_turn(void **state)
{
    (void)state;
    struct fg_span none = {NULL, 0}, a, b, c;
    assert_int_equal(visit(none, "first", 0, &a).status, FG_WAITING_ROOM_ADMITTED);
    struct fg_waiting_room_place place = visit(none, "a", 1, &a);
    assert_int_equal(place.status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(place.position, 0);
    place = visit(none, "b", 2, &b);
    assert_int_equal(place.position, 1);
    assert_true(place.eta_ns > FG_S && place.eta_ns <= 2 * FG_S);
    assert_int_equal(visit(none, "c", 3, &c).status, FG_WAITING_ROOM_FULL);
    /* asking again keeps the place, and the same ticket comes back */
    assert_int_equal(visit(b, "b", 4, &c).position, 1);
    assert_true(fg_span_equal(b, c));
    assert_int_equal(visit(a, "a", FG_S, &c).status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(visit(b, "b", 2 * FG_S, &c).status, FG_WAITING_ROOM_ADMITTED);
}

static void takes_no_forged_or_borrowed_ticket(void **state)
{
    (void)state;
    struct fg_span none = {NULL, 0}, a, other;
    visit(none, "first", 0, &a);
    assert_int_equal(visit(none, "a", 1, &a).status, FG_WAITING_ROOM_WAITING);
    /* somebody else with a's ticket only gets a new place, behind a's */
    assert_int_equal(visit(a, "thief", 2, &other).position, 1);
    assert_int_equal(visit(FG_SPAN("v1.4d.0.AAAAAAAAAAAAAAAAAAAAAA"), "x", FG_S / 2, &other).status,
                     FG_WAITING_ROOM_FULL);
    for (size_t i = 0; i < a.len; i++) {
        struct fg_span copy = fg_arena_try_copy(&arena, a);
        char *text = (char *)(uintptr_t)copy.data;
        text[i] = text[i] == '0' ? '1' : '0';
        assert_int_equal(visit(copy, "a", 3, &other).status, FG_WAITING_ROOM_FULL);
        assert_int_equal(visit(fg_span_make(a.data, i), "a", 3, &other).status,
                         FG_WAITING_ROOM_FULL);
    }
    assert_int_equal(visit(a, "a", 3, &other).status, FG_WAITING_ROOM_WAITING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keeps_places_and_admits_in_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_no_forged_or_borrowed_ticket, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
