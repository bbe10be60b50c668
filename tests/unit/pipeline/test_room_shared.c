/*
 * test_room_shared.c: tickets keep their place, let in once, and cannot be forged, changed, lent,
 * or taken to another room; keys rotate; passes.
 */
#include "base/arena.h"
#include "base/clock.h"
#include "pipeline/room_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static struct fg_waiting_room_conf conf;
static struct fg_arena_pool pool;
static struct fg_arena arena;
static struct fg_room *room;
static const unsigned char secret[FG_ROOM_SECRET_BYTES] = "the secret that gateways share!";
static const struct fg_span none = {NULL, 0};

static int set_up(void **state)
{
    (void)state;
    struct fg_error error;
    conf = (struct fg_waiting_room_conf){
        .enabled = true,
        .admit = {1, FG_S},
        .burst = 1,
        .waiting_max = 2,
        .grace_ns = 60 * FG_S,
        .keep_ns = 100 * FG_S,
        .ticket_rotate_ns = 1000 * FG_S,
        .alone_permille = 500,
        .address_places = 3,
    };
    fg_arena_pool_init(&pool, 64);
    fg_arena_init(&arena, &pool, 4000000);
    room = fg_room_create(&conf, "orders", NULL, secret, 0, &error);
    return room == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    fg_room_destroy(room);
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    return 0;
}

static struct fg_room_visit ask(struct fg_room *of, enum fg_room_wish wish, struct fg_span paper,
                                const char *who, uint64_t now_ns, uint64_t now_s)
{
    struct fg_room_visit visit;
    struct fg_room_caller caller = {
        {true, fg_span_from_string(who)}, paper, .now_ns = now_ns, .now_s = now_s};
    fg_room_visit(of, wish, &caller, fg_arena_try_alloc(&arena, FG_ROOM_TICKET_TEXT), &visit);
    return visit;
}

static struct fg_room_visit enter(struct fg_span paper, const char *who, uint64_t now_ns)
{
    return ask(room, FG_ROOM_ENTER, paper, who, now_ns, now_ns / FG_S);
}

static void keeps_places_and_admits_in_turn(void **state)
{
    (void)state;
    assert_int_equal(enter(none, "first", 0).place.status, FG_WAITING_ROOM_ADMITTED);
    struct fg_room_visit a = enter(none, "a", 1), b = enter(none, "b", 2);
    assert_int_equal(a.place.status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(a.place.position, 0);
    assert_int_equal(b.place.position, 1);
    assert_true(a.paper.len > 0 && a.retry_after_ns > 0 && a.paper_for_ns == conf.keep_ns);
    assert_int_equal(enter(none, "c", 3).place.status, FG_WAITING_ROOM_FULL);
    /* asking again keeps the place, and the same ticket comes back */
    struct fg_room_visit again = enter(b.paper, "b", 4);
    assert_int_equal(again.place.position, 1);
    assert_true(fg_span_equal(again.paper, b.paper));
    assert_int_equal(enter(a.paper, "a", FG_S).place.status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(enter(b.paper, "b", 2 * FG_S).place.status, FG_WAITING_ROOM_ADMITTED);
    struct fg_room_stats stats = fg_room_stats(room, 2 * FG_S);
    assert_int_equal(stats.used_total, 2);
    assert_int_equal(stats.issued_total, 2);
}

static void a_ticket_lets_in_once(void **state)
{
    (void)state;
    enter(none, "first", 0);
    struct fg_room_visit a = enter(none, "a", 1);
    struct fg_room_visit look = ask(room, FG_ROOM_LOOK, a.paper, "a", FG_S, 1);
    assert_int_equal(look.place.status, FG_WAITING_ROOM_ADMITTED); /* looking does not use it */
    assert_true(fg_span_equal(look.paper, a.paper) && look.retry_after_ns == 0);
    struct fg_room_visit in = enter(a.paper, "a", FG_S);
    assert_int_equal(in.place.status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(in.paper.len, 0);
    /* again: to the end of the line, with another place */
    struct fg_room_visit again = enter(a.paper, "a", FG_S);
    assert_int_equal(again.place.status, FG_WAITING_ROOM_WAITING);
    assert_int_not_equal(again.place.number, a.place.number);
    assert_int_equal(ask(room, FG_ROOM_LOOK, a.paper, "a", FG_S, 1).place.status,
                     FG_WAITING_ROOM_USED);
    /* unless it was sent away again */
    fg_room_give_back(room, in.place.number, FG_S);
    assert_int_equal(enter(a.paper, "a", FG_S).place.status, FG_WAITING_ROOM_ADMITTED);
}

static void leaving_and_joining_at_the_desk(void **state)
{
    (void)state;
    struct fg_room_visit open = ask(room, FG_ROOM_JOIN, none, "a", 0, 0);
    assert_true(open.place.status == FG_WAITING_ROOM_ADMITTED && open.place.is_direct);
    assert_int_equal(open.paper.len, 0);
    assert_int_equal(enter(none, "first", 0).place.status, FG_WAITING_ROOM_ADMITTED);
    assert_int_equal(ask(room, FG_ROOM_LOOK, none, "a", 0, 0).place.status,
                     FG_WAITING_ROOM_UNKNOWN);
    struct fg_room_visit a = ask(room, FG_ROOM_JOIN, none, "a", 1, 0);
    struct fg_room_visit b = ask(room, FG_ROOM_JOIN, none, "b", 1, 0);
    assert_int_equal(b.place.position, 1);
    assert_int_equal(ask(room, FG_ROOM_LEAVE, a.paper, "b", 1, 0).place.status,
                     FG_WAITING_ROOM_UNKNOWN); /* not b's: nothing happens */
    assert_int_equal(ask(room, FG_ROOM_LOOK, b.paper, "b", 1, 0).place.position, 1);
    ask(room, FG_ROOM_LEAVE, a.paper, "a", 2, 0);
    assert_int_equal(ask(room, FG_ROOM_LOOK, b.paper, "b", 2, 0).place.position, 0);
    assert_int_equal(enter(b.paper, "b", FG_S).place.status, FG_WAITING_ROOM_ADMITTED);
}

/* Without the ticket, with a wrong one, with one that is used up, from a second device. */
static void a_user_has_one_place(void **state)
{
    (void)state;
    struct fg_error error;
    for (uint64_t i = 0; i < 3; i++) /* where many people are one user, each has a place */
        enter(none, "shop", i);
    assert_int_equal(fg_room_stats(room, 3).waiting, 2);
    fg_room_destroy(room);
    conf.is_one_for_user = true;
    room = fg_room_create(&conf, "orders", NULL, secret, 0, &error);
    enter(none, "first", 0);
    struct fg_room_visit a = enter(none, "a", 1), b = enter(none, "b", 2);
    struct fg_room_visit again = enter(none, "a", 3);
    assert_int_equal(again.place.number, a.place.number);
    assert_true(fg_span_equal(again.paper, a.paper) && again.fate == FG_ROOM_FATE_NONE);
    assert_int_equal(enter(b.paper, "a", 4).place.number, a.place.number);
    assert_int_equal(ask(room, FG_ROOM_LOOK, none, "b", 4, 0).place.number, b.place.number);
    assert_int_equal(fg_room_stats(room, 5).waiting, 2);
    /* it comes in with it, and has none then; nor has who left */
    assert_int_equal(enter(none, "a", FG_S).place.status, FG_WAITING_ROOM_ADMITTED);
    struct fg_room_visit next = enter(a.paper, "a", FG_S);
    assert_int_equal(next.place.status, FG_WAITING_ROOM_WAITING);
    assert_int_not_equal(next.place.number, a.place.number);
    assert_int_equal(next.fate, FG_ROOM_FATE_USED);
    assert_int_equal(enter(a.paper, "a", FG_S + 1).place.number, next.place.number);
    ask(room, FG_ROOM_LEAVE, none, "b", FG_S, 1);
    assert_int_equal(ask(room, FG_ROOM_LOOK, none, "b", FG_S, 1).place.status,
                     FG_WAITING_ROOM_EXPIRED);
}

static void an_address_gets_so_many_new_places(void **state)
{
    (void)state;
    static const struct fg_span addresses[] = {
        FG_SPAN_LITERAL("192.0.2.1"), FG_SPAN_LITERAL("2001:db8::1"),
        FG_SPAN_LITERAL("2001:db8::ffff:1"), FG_SPAN_LITERAL("2001:db8:0:1::1")};
    struct fg_error error;
    struct fg_room_visit visit;
    char text[FG_ROOM_TICKET_TEXT], first[FG_ROOM_TICKET_TEXT];
    struct fg_room_caller caller = {{false, addresses[0]}, none, .address = addresses[0]};
    conf.waiting_max = 100;
    conf.admit.period_ns = 1000 * FG_S;
    struct fg_room *large = fg_room_create(&conf, "large", NULL, secret, 0, &error);
    for (unsigned i = 0; i < 5; i++) { /* the burst, three places, and no more */
        fg_room_visit(large, FG_ROOM_ENTER, &caller, i == 1 ? first : text, &visit);
        assert_int_equal(visit.is_address_full, i == 4);
    }
    assert_int_equal(visit.place.status, FG_WAITING_ROOM_FULL);
    assert_true(visit.retry_after_ns > 30 * FG_S && visit.retry_after_ns <= 100 * FG_S / 3 + 1);
    caller.paper = fg_span_make(first, FG_ROOM_TICKET_TEXT); /* who has one keeps it */
    fg_room_visit(large, FG_ROOM_ENTER, &caller, text, &visit);
    assert_int_equal(visit.place.status, FG_WAITING_ROOM_WAITING);
    caller.paper = none;
    for (unsigned i = 1; i < 4; i++) { /* others are others, but of one /64 */
        for (unsigned j = 0; j < 3; j++) {
            caller.address = addresses[i];
            fg_room_visit(large, FG_ROOM_JOIN, &caller, text, &visit);
            assert_int_equal(visit.is_address_full, i == 2);
        }
    }
    caller.now_ns = 34 * FG_S; /* a third of the time brings one of three */
    caller.address = addresses[0];
    for (unsigned j = 0; j < 2; j++) {
        fg_room_visit(large, FG_ROOM_JOIN, &caller, text, &visit);
        assert_int_equal(visit.is_address_full, j == 1);
    }
    fg_room_destroy(large);
}

/* Every bit of a ticket matters. */
static void takes_no_changed_ticket(void **state)
{
    (void)state;
    enter(none, "first", 0);
    struct fg_room_visit a = enter(none, "a", 1);
    for (size_t i = 0; i < a.paper.len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct fg_span copy = fg_arena_try_copy(&arena, a.paper);
            ((char *)copy.data)[i] ^= (char)(1u << bit);
            assert_int_equal(ask(room, FG_ROOM_LOOK, copy, "a", 3, 0).place.status,
                             FG_WAITING_ROOM_UNKNOWN);
        }
        assert_int_equal(
            ask(room, FG_ROOM_LOOK, fg_span_make(a.paper.data, i), "a", 3, 0).place.status,
            FG_WAITING_ROOM_UNKNOWN);
    }
    struct fg_span longer = fg_arena_try_printf(&arena, "%.*sA", FG_SPAN_ARGS(a.paper));
    assert_int_equal(ask(room, FG_ROOM_LOOK, longer, "a", 3, 0).place.status,
                     FG_WAITING_ROOM_UNKNOWN);
    assert_int_equal(enter(a.paper, "a", 3).place.status, FG_WAITING_ROOM_WAITING);
}

static void takes_no_borrowed_ticket(void **state)
{
    (void)state;
    struct fg_error error;
    enter(none, "first", 0);
    struct fg_room_visit a = enter(none, "a", 1);
    static const char *const others[] = {"b", "", "aa", "a ", "A"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(ask(room, FG_ROOM_LOOK, a.paper, others[i], 2, 0).place.status,
                         FG_WAITING_ROOM_UNKNOWN);
    /* an address is nobody's name */
    struct fg_room_caller nobody = {{false, FG_SPAN("a")}, a.paper, .now_ns = 2};
    struct fg_room_visit visit;
    char text[FG_ROOM_TICKET_TEXT];
    fg_room_visit(room, FG_ROOM_LOOK, &nobody, text, &visit);
    assert_int_equal(visit.place.status, FG_WAITING_ROOM_UNKNOWN);
    /* another line of the same route, and another route of the same line's secret */
    struct fg_room *later = fg_room_create(&conf, "orders", NULL, secret, 0, &error);
    struct fg_room *other = fg_room_create(&conf, "claims", NULL, secret, 0, &error);
    assert_int_equal(ask(later, FG_ROOM_LOOK, a.paper, "a", 2, 0).place.status,
                     FG_WAITING_ROOM_UNKNOWN);
    assert_int_equal(ask(other, FG_ROOM_LOOK, a.paper, "a", 2, 0).place.status,
                     FG_WAITING_ROOM_UNKNOWN);
    fg_room_destroy(later);
    fg_room_destroy(other);
    assert_int_equal(ask(room, FG_ROOM_LOOK, a.paper, "a", 2, 0).place.status,
                     FG_WAITING_ROOM_WAITING);
}

static void keys_rotate(void **state)
{
    (void)state;
    enter(none, "first", 0);
    enter(none, "a", 1);
    /* as late as can be under the first key */
    struct fg_room_visit b = ask(room, FG_ROOM_ENTER, none, "b", 2, 999);
    /* the next key: the old one is taken, and renewed */
    struct fg_room_visit renewed = ask(room, FG_ROOM_LOOK, b.paper, "b", 3, 1000);
    assert_int_equal(renewed.place.status, FG_WAITING_ROOM_WAITING);
    assert_false(fg_span_equal(renewed.paper, b.paper));
    assert_int_equal(ask(room, FG_ROOM_LOOK, b.paper, "b", 3, 1999).place.status,
                     FG_WAITING_ROOM_WAITING);
    /* and the one after it: only who asked in between has a ticket */
    assert_int_equal(ask(room, FG_ROOM_LOOK, b.paper, "b", 4, 2000).place.status,
                     FG_WAITING_ROOM_UNKNOWN);
    assert_int_equal(ask(room, FG_ROOM_LOOK, renewed.paper, "b", 4, 2000).place.status,
                     FG_WAITING_ROOM_WAITING);
    /* another gateway whose clock is behind by one key takes it too */
    assert_int_equal(ask(room, FG_ROOM_LOOK, renewed.paper, "b", 5, 100).place.status,
                     FG_WAITING_ROOM_WAITING);
    /* another secret: nothing is taken */
    struct fg_error error;
    static const unsigned char wrong[FG_ROOM_SECRET_BYTES] = "some other secret of 32 bytes..";
    struct fg_room *stranger = fg_room_create(&conf, "orders", NULL, wrong, 0, &error);
    assert_int_equal(ask(stranger, FG_ROOM_LOOK, renewed.paper, "b", 4, 2000).place.status,
                     FG_WAITING_ROOM_UNKNOWN);
    fg_room_destroy(stranger);
}

static void a_pass_is_good_for_the_session(void **state)
{
    (void)state;
    conf.session_ns = 50 * FG_S;
    struct fg_room_visit first = enter(none, "a", 0);
    assert_true(first.paper.len > 0 && first.paper_for_ns == conf.session_ns);
    for (uint64_t s = 0; s < 50; s += 7) {
        struct fg_room_visit again = enter(first.paper, "a", s * FG_S);
        assert_true(again.has_pass && again.place.status == FG_WAITING_ROOM_ADMITTED);
    }
    enter(none, "b", 49 * FG_S);
    assert_int_equal(enter(first.paper, "b", 49 * FG_S).place.status, FG_WAITING_ROOM_WAITING);
    struct fg_room_visit over = enter(first.paper, "a", 50 * FG_S);
    assert_false(over.has_pass);
    /* a pass is no ticket, nor the other way round */
    struct fg_span copy = fg_arena_try_copy(&arena, first.paper);
    ((char *)copy.data)[0] = 't';
    assert_int_equal(ask(room, FG_ROOM_LOOK, copy, "a", 0, 1).place.status,
                     FG_WAITING_ROOM_UNKNOWN);
}

/* A shared line whose Redis has too much to answer, and then is away. */
static void keeps_places_while_redis_is_busy_or_away(void **state)
{
    (void)state;
    const struct fg_room_news news = {.epoch = 5, .waiting = 3, .tail = 13, .first = 10};
    const struct fg_waiting_room_place there = {
        .status = FG_WAITING_ROOM_WAITING, .number = 12, .position = 2};
    struct fg_room_caller caller = {{true, FG_SPAN("a")}, none, .now_ns = FG_S, .now_s = 1};
    struct fg_room_visit visit = {.has_pass = false};
    struct fg_room_claim claim;
    char ticket[FG_ROOM_TICKET_TEXT], text[FG_ROOM_TICKET_TEXT];
    struct fg_room_claim none_yet = {.may_join = true};
    fg_room_conclude(room, FG_ROOM_ENTER, &caller, &none_yet, &there, &news, ticket, &visit);
    caller.paper = visit.paper;
    assert_false(fg_room_read(room, &caller, &claim, &visit));
    assert_int_equal(visit.fate, FG_ROOM_FATE_ENDED); /* as long as its line has not been asked */
    assert_true(claim.has_number && claim.epoch == 5 && claim.number == 12);
    fg_room_visit_busy(room, FG_ROOM_ENTER, &caller, &claim, text, &visit);
    assert_int_equal(visit.place.status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(visit.place.position, 2);
    assert_true(fg_span_equal(visit.paper, caller.paper) && visit.retry_after_ns > 0);
    assert_false(fg_room_stats(room, FG_S).is_alone);
    struct fg_room_claim nothing = {.has_number = false};
    struct fg_room_visit other = {.has_pass = false};
    fg_room_visit_busy(room, FG_ROOM_ENTER, &caller, &nothing, text, &other);
    assert_int_equal(other.place.status, FG_WAITING_ROOM_FULL);
    assert_int_equal(other.paper.len, 0);
    /* away: the same place in this gateway's line, and the ticket is still that of the shared one
     */
    fg_room_visit_alone(room, FG_ROOM_ENTER, &caller, &claim, text, &visit);
    assert_int_equal(visit.place.status, FG_WAITING_ROOM_WAITING);
    assert_int_equal(visit.place.position, 2);
    assert_true(fg_span_equal(visit.paper, caller.paper));
    assert_true(fg_room_stats(room, FG_S).is_alone);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(keeps_places_and_admits_in_turn),
        TEST(a_ticket_lets_in_once),
        TEST(a_user_has_one_place),
        TEST(an_address_gets_so_many_new_places),
        TEST(leaving_and_joining_at_the_desk),
        TEST(takes_no_changed_ticket),
        TEST(takes_no_borrowed_ticket),
        TEST(keys_rotate),
        TEST(a_pass_is_good_for_the_session),
        TEST(keeps_places_while_redis_is_busy_or_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
