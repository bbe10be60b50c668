/*
 * test_gate_shared.c: slots, queue, turns through the mailbox, and that no interleaving of threads
 * lets more in than the limit or leaves a slot behind.
 */
#include "base/counters_shared.h"
#include "upstream/gate_conf.h"
#include "upstream/gate_shared.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static struct fg_backend_conf conf_of(uint32_t limit, uint32_t queue)
{
    return (struct fg_backend_conf){
        .name = "b",
        .concurrency = {.kind = FG_CONCURRENCY_FIXED, .limit = limit},
        .queue = {.requests_max = queue, .wait_max_ns = 10 * FG_S},
        .breaker = {.enabled = true,
                    .consecutive_failures = 2,
                    .min_requests = 10,
                    .half_open_probes = 1,
                    .window_ns = 10 * FG_S,
                    .open_ns = FG_S,
                    .open_max_ns = 4 * FG_S},
    };
}

static struct fg_gate_policy_config config_of(uint32_t limit, uint32_t queue)
{
    struct fg_backend_conf conf = conf_of(limit, queue);
    return fg_gate_policy_config_of(&conf);
}

static const uint32_t normal = FG_PRIORITY_NORMAL * FG_PRIORITY_COHORT_COUNT;

struct waiter {
    struct fg_gate_ticket *ticket;
    enum fg_gate_verdict verdict;
    bool had_turn;
};

static void on_turn(void *object, enum fg_gate_verdict verdict, const struct fg_gate_place *place)
{
    (void)place;
    struct waiter *waiter = object;
    waiter->verdict = verdict;
    waiter->had_turn = true;
}

struct fixture {
    struct fg_gate *gate;
    struct fg_mailbox box;
    struct fg_gate_tickets tickets;
};

static struct fixture open_fixture(uint32_t limit, uint32_t queue)
{
    struct fixture f = {.tickets = {NULL}};
    struct fg_gate_policy_config config = config_of(limit, queue);
    assert_int_equal(fg_mailbox_init(&f.box), FG_OK);
    f.gate = fg_gate_create(&config, 0);
    assert_non_null(f.gate);
    return f;
}

static void close_fixture(struct fixture *f)
{
    fg_mailbox_drain(&f->box);
    fg_gate_destroy(f->gate);
    fg_gate_tickets_fini(&f->tickets);
    fg_mailbox_fini(&f->box);
}

static enum fg_gate_verdict enter(struct fixture *f, struct waiter *w, enum fg_priority priority,
                                  uint64_t now_ns, uint64_t deadline_ns)
{
    struct fg_gate_place place;
    const struct fg_gate_arrival arrival = {.compound = fg_priority_compound(priority, 0),
                                            .deadline_ns = deadline_ns};
    return fg_gate_enter(f->gate, &f->tickets, &f->box, &arrival, now_ns, on_turn, w, &w->ticket,
                         &place);
}

static void leave(struct fixture *f, uint64_t now_ns)
{
    fg_gate_leave(f->gate, now_ns, FG_MS, FG_CONCURRENCY_SUCCESS, false, false, FG_BREAKER_SUCCESS);
}

static void queues_and_hands_the_slot_on(void **state)
{
    (void)state;
    struct fixture f = open_fixture(1, 2);
    struct waiter a = {0}, b = {0}, c = {0}, d = {0};
    assert_int_equal(enter(&f, &a, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_ADMITTED);
    assert_int_equal(enter(&f, &b, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_QUEUED);
    assert_int_equal(enter(&f, &c, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_QUEUED);
    assert_int_equal(enter(&f, &d, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_FULL);
    leave(&f, 2);
    assert_false(b.had_turn); /* only from its own loop's mailbox */
    fg_mailbox_drain(&f.box);
    assert_true(b.had_turn);
    assert_int_equal(b.verdict, FG_GATE_ADMITTED);
    assert_false(c.had_turn);
    fg_gate_abandon(c.ticket, 3);
    leave(&f, 4);
    fg_mailbox_drain(&f.box);
    assert_false(c.had_turn);
    assert_int_equal(fg_gate_gauges(f.gate, 5).in_flight, 0);
    close_fixture(&f);
}

static void a_turn_on_its_way_to_nobody_gives_the_slot_back(void **state)
{
    (void)state;
    struct fixture f = open_fixture(1, 2);
    struct waiter a = {0}, b = {0};
    assert_int_equal(enter(&f, &a, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_ADMITTED);
    assert_int_equal(enter(&f, &b, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_QUEUED);
    leave(&f, 2); /* b's message is posted */
    fg_gate_abandon(b.ticket, 3);
    assert_int_equal(fg_gate_gauges(f.gate, 3).in_flight, 1);
    fg_mailbox_drain(&f.box);
    assert_false(b.had_turn);
    assert_int_equal(fg_gate_gauges(f.gate, 4).in_flight, 0);
    close_fixture(&f);
}

static void refuses_who_waited_too_long(void **state)
{
    (void)state;
    struct fixture f = open_fixture(1, 2);
    struct waiter a = {0}, b = {0};
    assert_int_equal(enter(&f, &a, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_ADMITTED);
    assert_int_equal(enter(&f, &b, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_QUEUED);
    assert_true(fg_gate_next_expiry_ns(f.gate) == FG_S); /* the deadline, before queue.wait_max */
    fg_gate_expire(f.gate, FG_S - 1);
    fg_mailbox_drain(&f.box);
    assert_false(b.had_turn);
    fg_gate_expire(f.gate, FG_S);
    fg_mailbox_drain(&f.box);
    assert_int_equal(b.verdict, FG_GATE_EXPIRED);
    leave(&f, FG_S);
    close_fixture(&f);
}

static void the_more_important_displaces(void **state)
{
    (void)state;
    struct fixture f = open_fixture(1, 1);
    struct waiter a = {0}, low = {0}, critical = {0};
    assert_int_equal(enter(&f, &a, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_ADMITTED);
    assert_int_equal(enter(&f, &low, FG_PRIORITY_LOW, 1, FG_S), FG_GATE_QUEUED);
    assert_int_equal(enter(&f, &critical, FG_PRIORITY_CRITICAL, 2, FG_S), FG_GATE_QUEUED);
    fg_mailbox_drain(&f.box);
    assert_int_equal(low.verdict, FG_GATE_DISPLACED);
    leave(&f, 3);
    fg_mailbox_drain(&f.box);
    assert_int_equal(critical.verdict, FG_GATE_ADMITTED);
    leave(&f, 4);
    close_fixture(&f);
}

static void what_waits_is_weighed(void **state)
{
    (void)state;
    struct fixture f = {.tickets = {NULL}};
    struct fg_gate_policy_config config = config_of(1, 8);
    struct fg_gate_place place;
    struct waiter a = {0}, b = {0}, c = {0};
    struct fg_gate_arrival arrival = {
        .compound = normal, .deadline_ns = FG_S, .weight = {.bytes = 60, .tokens = 10}};
    config.queue.bytes_max = 100;
    config.queue.tokens_max = 15;
    assert_int_equal(fg_mailbox_init(&f.box), FG_OK);
    f.gate = fg_gate_create(&config, 0);
    assert_int_equal(enter(&f, &a, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_ADMITTED);
    assert_int_equal(
        fg_gate_enter(f.gate, &f.tickets, &f.box, &arrival, 1, on_turn, &b, &b.ticket, &place),
        FG_GATE_QUEUED);
    assert_int_equal(
        fg_gate_enter(f.gate, &f.tickets, &f.box, &arrival, 1, on_turn, &c, &c.ticket, &place),
        FG_GATE_FULL_BYTES);
    assert_true(place.held.bytes == 60 && place.held.tokens == 10 && place.position == 1);
    arrival.weight.bytes = 0;
    assert_int_equal(
        fg_gate_enter(f.gate, &f.tickets, &f.box, &arrival, 1, on_turn, &c, &c.ticket, &place),
        FG_GATE_FULL_TOKENS);
    const struct fg_queue_weight heavier = {.bytes = 100, .tokens = 15}, too_heavy = {.bytes = 101};
    assert_int_equal(fg_gate_reweigh(b.ticket, heavier, 2, &place), FG_GATE_QUEUED);
    assert_int_equal(fg_gate_reweigh(b.ticket, too_heavy, 2, &place), FG_GATE_FULL_BYTES);
    leave(&f, 3); /* b's turn is on its way: what it weighs is nobody's business any more */
    assert_int_equal(fg_gate_reweigh(b.ticket, too_heavy, 4, &place), FG_GATE_QUEUED);
    fg_mailbox_drain(&f.box);
    assert_int_equal(b.verdict, FG_GATE_ADMITTED);
    leave(&f, 5);
    close_fixture(&f);
}

static void breaks_and_probes(void **state)
{
    (void)state;
    struct fixture f = open_fixture(8, 0);
    struct waiter w = {0};
    uint64_t retry_ns;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(enter(&f, &w, FG_PRIORITY_NORMAL, 1, FG_S), FG_GATE_ADMITTED);
        assert_int_equal(fg_gate_breaker_try_pass(f.gate, normal, 1, &retry_ns), FG_BREAKER_PASS);
        fg_gate_leave(f.gate, 2, 0, FG_CONCURRENCY_DROPPED, true, false, FG_BREAKER_FAILURE);
    }
    assert_int_equal(fg_gate_breaker_try_pass(f.gate, normal, 3, &retry_ns), FG_BREAKER_REFUSE);
    assert_true(retry_ns > 0 && retry_ns <= FG_S);
    assert_int_equal(fg_gate_gauges(f.gate, 3).breaker, FG_BREAKER_OPEN);
    assert_int_equal(enter(&f, &w, FG_PRIORITY_NORMAL, 2 * FG_S, 9 * FG_S), FG_GATE_ADMITTED);
    assert_int_equal(fg_gate_breaker_try_pass(f.gate, normal, 2 * FG_S, &retry_ns),
                     FG_BREAKER_PROBE);
    fg_gate_leave(f.gate, 2 * FG_S + 1, 1, FG_CONCURRENCY_SUCCESS, true, true, FG_BREAKER_SUCCESS);
    assert_int_equal(fg_gate_gauges(f.gate, 2 * FG_S + 2).breaker, FG_BREAKER_CLOSED);
    uint32_t level;
    bool has_passed;
    assert_true(fg_gate_try_enter(f.gate, normal, 2 * FG_S + 3, &level, &has_passed));
    assert_true(has_passed);
    fg_gate_leave(f.gate, 2 * FG_S + 4, 1, FG_CONCURRENCY_SUCCESS, true, false, FG_BREAKER_SUCCESS);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(enter(&f, &w, FG_PRIORITY_NORMAL, 3 * FG_S, 9 * FG_S), FG_GATE_ADMITTED);
        assert_int_equal(fg_gate_breaker_try_pass(f.gate, normal, 3 * FG_S, &retry_ns),
                         FG_BREAKER_PASS);
        fg_gate_leave(f.gate, 4 * FG_S, 0, FG_CONCURRENCY_DROPPED, true, false, FG_BREAKER_FAILURE);
    }
    assert_true(fg_gate_try_enter(f.gate, normal, 4 * FG_S, &level, &has_passed));
    assert_false(has_passed); /* a slot, and nothing is said of the breaker yet */
    fg_gate_leave(f.gate, 4 * FG_S, 0, FG_CONCURRENCY_IGNORED, false, false, FG_BREAKER_CANCELLED);
    close_fixture(&f);
}

/* ---- many threads ---- */

#define THREADS 4
#define ROUNDS 3000
#define LIMIT 3
#define ROUTE_LIMIT 2

/* A gate that threads share, and how many are inside by their own count. */
struct crowd {
    struct fg_gate *gate;
    uint64_t limit;
    struct fg_counter inside;
};

static struct crowd backend, route;

static void open_crowd(struct crowd *crowd, uint32_t limit)
{
    struct fg_gate_policy_config config = config_of(limit, 64);
    config.queue.bytes_max = 64;
    crowd->gate = fg_gate_create(&config, fg_clock_monotonic_ns());
    crowd->limit = limit;
    fg_counter_set(&crowd->inside, 0);
}

static void close_crowd(struct crowd *crowd)
{
    assert_int_equal(fg_gate_gauges(crowd->gate, 0).in_flight, 0);
    assert_int_equal(fg_gate_gauges(crowd->gate, 0).queued, 0);
    assert_int_equal(fg_gate_gauges(crowd->gate, 0).held.bytes, 0);
    assert_int_equal(fg_counter_get(&crowd->inside), 0);
    fg_gate_destroy(crowd->gate);
}

static void check_out(struct crowd *crowd)
{
    fg_counter_sub(&crowd->inside, 1);
    fg_gate_leave(crowd->gate, fg_clock_monotonic_ns(), 1, FG_CONCURRENCY_SUCCESS, false, false,
                  FG_BREAKER_SUCCESS);
}

struct visitor {
    struct fg_mailbox box;
    struct fg_gate_tickets tickets;
    uint32_t seed;
};

static uint32_t draw(struct visitor *v)
{
    v->seed = v->seed * 1103515245u + 12345u;
    return v->seed >> 16;
}

/* A slot, after a wait or at once; false: refused, or it left while it waited. */
static bool check_in(struct visitor *v, struct crowd *crowd)
{
    struct waiter w = {0};
    struct fg_gate_place place;
    uint64_t now_ns = fg_clock_monotonic_ns();
    uint32_t random = draw(v);
    const struct fg_gate_arrival arrival = {.compound = random & 511,
                                            .deadline_ns = now_ns + 100 * FG_S,
                                            .weight = {random >> 9 & 3, 0}};
    enum fg_gate_verdict verdict = fg_gate_enter(crowd->gate, &v->tickets, &v->box, &arrival,
                                                 now_ns, on_turn, &w, &w.ticket, &place);
    if (verdict == FG_GATE_QUEUED && (random >> 12 & 7) == 0) {
        fg_gate_abandon(w.ticket, now_ns); /* the client left */
        fg_mailbox_drain(&v->box);
        return false;
    }
    while (verdict == FG_GATE_QUEUED) {
        struct pollfd fd = {.fd = v->box.event_fd, .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 60000), 1);
        fg_mailbox_drain(&v->box);
        verdict = w.had_turn ? w.verdict : verdict;
    }
    if (verdict != FG_GATE_ADMITTED)
        return false;
    fg_counter_add(&crowd->inside, 1);
    assert_true(fg_counter_get(&crowd->inside) <= crowd->limit);
    return true;
}

/* Every second visitor is of the route that has a limit of its own, and takes that slot first. */
static void visit(struct visitor *v, bool is_of_route)
{
    if (is_of_route && !check_in(v, &route))
        return;
    if (check_in(v, &backend))
        check_out(&backend);
    if (is_of_route)
        check_out(&route);
}

static void *use_gates(void *arg)
{
    struct visitor v = {.seed = *(uint32_t *)arg};
    assert_int_equal(fg_mailbox_init(&v.box), FG_OK);
    for (unsigned i = 0; i < ROUNDS; i++)
        visit(&v, (i & 1) == 0);
    /* Turns that were on their way to abandoned tickets arrive before the gates are idle. */
    while (fg_gate_gauges(backend.gate, 0).in_flight + fg_gate_gauges(route.gate, 0).in_flight >
           0) {
        struct pollfd fd = {.fd = v.box.event_fd, .events = POLLIN};
        poll(&fd, 1, 1);
        fg_mailbox_drain(&v.box);
    }
    fg_mailbox_drain(&v.box);
    fg_gate_tickets_fini(&v.tickets);
    fg_mailbox_fini(&v.box);
    return NULL;
}

static void neither_gate_lets_in_one_too_many(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    uint32_t seeds[THREADS];
    open_crowd(&backend, LIMIT);
    open_crowd(&route, ROUTE_LIMIT);
    for (unsigned i = 0; i < THREADS; i++) {
        seeds[i] = i * 7919 + 1;
        assert_int_equal(pthread_create(&threads[i], NULL, use_gates, &seeds[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    close_crowd(&route);
    close_crowd(&backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queues_and_hands_the_slot_on),
        cmocka_unit_test(a_turn_on_its_way_to_nobody_gives_the_slot_back),
        cmocka_unit_test(refuses_who_waited_too_long),
        cmocka_unit_test(the_more_important_displaces),
        cmocka_unit_test(what_waits_is_weighed),
        cmocka_unit_test(breaks_and_probes),
        cmocka_unit_test(neither_gate_lets_in_one_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
