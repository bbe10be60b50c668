/*
 * test_cache_store_shared.c: one fetch for all, whoever leads, leaves or fails; bytes bounded;
 * gzip.
 */
#include "base/clock.h"
#include "base/counters_shared.h"
#include "pipeline/cache_store_shared.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
#include <cmocka.h>

static const struct fg_cache_conf conf = {
    .bytes_max = 8 << 20, .object_bytes_max = 1 << 20, .gzip = true, .waiters_max = 100};

struct waiting {
    struct fg_cache_waiter *waiter;
    struct fg_cache_object *object;
    bool is_ready;
    bool is_uncacheable;
};

static void on_ready(void *owner, struct fg_cache_object *object, bool is_uncacheable)
{
    struct waiting *waiting = owner;
    waiting->object = object;
    waiting->is_ready = true;
    waiting->is_uncacheable = is_uncacheable;
}

struct fixture {
    struct fg_cache_store *store;
    struct fg_mailbox box;
    struct fg_cache_waiters waiters;
    struct fg_helper_pool *helper;
};

static struct fixture open_fixture(void)
{
    struct fixture f = {.waiters = {NULL}};
    assert_int_equal(fg_mailbox_init(&f.box), FG_OK);
    f.helper = fg_helper_pool_create(1, 16);
    f.store = fg_cache_store_create(&conf, f.helper);
    assert_non_null(f.store);
    return f;
}

static void close_fixture(struct fixture *f)
{
    fg_helper_pool_destroy(f->helper);
    fg_mailbox_drain(&f->box);
    fg_cache_waiters_fini(&f->waiters);
    fg_cache_store_destroy(f->store);
    fg_mailbox_fini(&f->box);
}

static enum fg_cache_role ask(struct fixture *f, const char *key, uint64_t now_ns,
                              struct fg_cache_flight **flight, struct waiting *waiting)
{
    return fg_cache_store_lead_or_wait(f->store, fg_span_from_string(key), now_ns, true,
                                       &f->waiters, &f->box, on_ready, waiting, flight,
                                       &waiting->waiter);
}

static struct fg_cache_draft draft_of(const char *key, struct fg_span body)
{
    static const struct fg_field fields[] = {
        {FG_SPAN_LITERAL("content-type"), FG_SPAN_LITERAL("text/html")},
        {FG_SPAN_LITERAL("etag"), FG_SPAN_LITERAL("\"v1\"")},
    };
    return (struct fg_cache_draft){.key = fg_span_from_string(key),
                                   .status = 200,
                                   .fields = fields,
                                   .field_count = 2,
                                   .body = body,
                                   .lifetime_s = 60};
}

static void one_fetch_serves_all(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct fg_cache_flight *flight = NULL;
    struct waiting leader = {0}, a = {0}, gone = {0};
    assert_null(fg_cache_store_get(f.store, FG_SPAN("k")));
    assert_int_equal(ask(&f, "k", 0, &flight, &leader), FG_CACHE_LEAD);
    assert_int_equal(ask(&f, "k", 0, &flight, &a), FG_CACHE_WAITING);
    assert_int_equal(ask(&f, "k", 0, &flight, &gone), FG_CACHE_WAITING);
    fg_cache_waiter_abandon(gone.waiter);
    struct fg_cache_draft draft = draft_of("k", FG_SPAN("hello"));
    fg_cache_flight_finish(f.store, flight, &draft, false, 1, &f.box);
    fg_mailbox_drain(&f.box);
    assert_true(a.is_ready);
    assert_false(gone.is_ready);
    struct fg_cache_view view = fg_cache_object_view(a.object);
    assert_true(fg_span_equal(view.body, FG_SPAN("hello")));
    assert_true(fg_span_equal(view.etag, FG_SPAN("\"v1\"")));
    struct fg_cache_object *hit = fg_cache_store_get(f.store, FG_SPAN("k"));
    assert_ptr_equal(hit, a.object);
    /* a purged object lives on for who holds it */
    assert_int_equal(fg_cache_store_purge(f.store, (struct fg_span){NULL, 0}), 1);
    assert_null(fg_cache_store_get(f.store, FG_SPAN("k")));
    assert_true(fg_span_equal(fg_cache_object_view(hit).body, FG_SPAN("hello")));
    fg_cache_object_release(hit);
    fg_cache_object_release(a.object);
    close_fixture(&f);
}

static void a_failed_leader_leaves_the_lead_to_another(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct fg_cache_flight *flight = NULL;
    struct waiting leader = {0}, a = {0};
    assert_int_equal(ask(&f, "k", 0, &flight, &leader), FG_CACHE_LEAD);
    struct fg_cache_flight *mine = flight;
    assert_int_equal(ask(&f, "k", 0, &flight, &a), FG_CACHE_WAITING);
    fg_cache_flight_finish(f.store, mine, NULL, false, 1, &f.box);
    fg_mailbox_drain(&f.box);
    assert_true(a.is_ready);
    assert_null(a.object);
    assert_int_equal(ask(&f, "k", 2, &flight, &a), FG_CACHE_LEAD);
    fg_cache_flight_finish(f.store, flight, NULL, true, 3, &f.box);
    /* known to be uncacheable for a while: nobody queues behind anybody */
    assert_int_equal(ask(&f, "k", 4, &flight, &a), FG_CACHE_ALONE);
    assert_int_equal(ask(&f, "k", 10 * FG_S, &flight, &a), FG_CACHE_LEAD);
    fg_cache_flight_finish(f.store, flight, NULL, false, 11 * FG_S, &f.box);
    close_fixture(&f);
}

static void keeps_to_its_bytes(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    static char body[200000];
    for (int i = 0; i < 200; i++) {
        char key[32];
        struct fg_cache_flight *flight = NULL;
        struct waiting w = {0};
        snprintf(key, sizeof(key), "h\n/%d", i);
        assert_int_equal(ask(&f, key, 0, &flight, &w), FG_CACHE_LEAD);
        struct fg_cache_draft draft = draft_of(key, fg_span_make(body, sizeof(body)));
        fg_cache_flight_finish(f.store, flight, &draft, false, 1, &f.box);
    }
    struct fg_cache_store_stats stats = fg_cache_store_stats(f.store);
    assert_true(stats.bytes <= conf.bytes_max);
    assert_true(stats.evicted_total > 100);
    close_fixture(&f);
}

static void makes_a_gzip_variant_beside(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    static char body[50000], back[50000];
    memset(body, 'x', sizeof(body));
    struct fg_cache_flight *flight = NULL;
    struct waiting w = {0};
    assert_int_equal(ask(&f, "k", 0, &flight, &w), FG_CACHE_LEAD);
    struct fg_cache_draft draft = draft_of("k", fg_span_make(body, sizeof(body)));
    draft.is_compressible = true;
    fg_cache_flight_finish(f.store, flight, &draft, false, 1, &f.box);
    struct pollfd fd = {.fd = f.box.event_fd, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 30000), 1);
    fg_mailbox_drain(&f.box);
    struct fg_cache_object *object = fg_cache_store_get(f.store, FG_SPAN("k"));
    struct fg_span gzip = fg_cache_object_view(object).gzip;
    assert_non_null(gzip.data);
    assert_true(gzip.len < 1000);
    z_stream stream = {0};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    stream.next_in = (unsigned char *)(uintptr_t)gzip.data;
    stream.avail_in = (uInt)gzip.len;
    stream.next_out = (unsigned char *)back;
    stream.avail_out = sizeof(back);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    inflateEnd(&stream);
    assert_memory_equal(back, body, sizeof(body));
    fg_cache_object_release(object);
    close_fixture(&f);
}

/* ---- many threads ---- */

#define THREADS 4
#define ROUNDS 400

static struct fg_cache_store *shared_store;
static struct fg_counter fetches;

/* Outlives its thread: a turn may be on its way to a waiter that the thread abandoned. */
struct user {
    pthread_t thread;
    unsigned seed;
    struct fg_mailbox box;
    struct fg_cache_waiters waiters;
};

static void *use_store(void *arg)
{
    struct user *user = arg;
    unsigned seed = user->seed;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char key[16];
        struct waiting w = {0};
        struct fg_cache_flight *flight = NULL;
        seed = seed * 1103515245u + 12345u;
        int len = snprintf(key, sizeof(key), "h\n/%u", seed >> 16 & 3);
        struct fg_span span = fg_span_make(key, (size_t)len);
        struct fg_cache_object *object = fg_cache_store_get(shared_store, span);
        if (object != NULL) {
            assert_true(fg_span_equal(fg_cache_object_view(object).body, span));
            fg_cache_object_release(object);
            if ((seed >> 24 & 15) == 0)
                fg_cache_store_purge(shared_store, (struct fg_span){NULL, 0});
            continue;
        }
        enum fg_cache_role role =
            fg_cache_store_lead_or_wait(shared_store, span, 0, true, &user->waiters, &user->box,
                                        on_ready, &w, &flight, &w.waiter);
        if (role == FG_CACHE_LEAD) {
            struct fg_cache_draft draft = draft_of(key, span);
            fg_counter_add(&fetches, 1);
            fg_cache_flight_finish(shared_store, flight, (seed >> 25 & 7) == 0 ? NULL : &draft,
                                   false, 1, &user->box);
        } else if (role == FG_CACHE_WAITING && (seed >> 26 & 3) == 0) {
            fg_cache_waiter_abandon(w.waiter);
        } else if (role == FG_CACHE_WAITING) {
            while (!w.is_ready) {
                struct pollfd fd = {.fd = user->box.event_fd, .events = POLLIN};
                assert_int_equal(poll(&fd, 1, 60000), 1);
                fg_mailbox_drain(&user->box);
            }
            fg_cache_object_release(w.object);
        }
    }
    return NULL;
}

static void threads_share_it(void **state)
{
    (void)state;
    static struct user users[THREADS];
    shared_store = fg_cache_store_create(&conf, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        users[i].seed = i * 7919 + 3;
        assert_int_equal(fg_mailbox_init(&users[i].box), FG_OK);
        assert_int_equal(pthread_create(&users[i].thread, NULL, use_store, &users[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(users[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        fg_mailbox_drain(&users[i].box);
        fg_cache_waiters_fini(&users[i].waiters);
        fg_mailbox_fini(&users[i].box);
    }
    assert_true(fg_counter_get(&fetches) > 0);
    fg_cache_store_destroy(shared_store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_fetch_serves_all),
        cmocka_unit_test(a_failed_leader_leaves_the_lead_to_another),
        cmocka_unit_test(keeps_to_its_bytes),
        cmocka_unit_test(makes_a_gzip_variant_beside),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
