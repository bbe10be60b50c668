/*
 * test_cache_near.c: a loop asks the store once a turn for a page, and still never gives what has
 * gone from it or has been replaced; what requests use stays as long as they use it.
 */
#include "pipeline/cache_key.h"
#include "pipeline/cache_near.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct fg_cache_conf conf = {.bytes_max = 8 << 20, .object_bytes_max = 256 << 10};

struct fixture {
    struct fg_cache_store *store;
    struct fg_loop *loop;
    struct fg_cache_near near;
    struct fg_exchange ex;
    struct fg_field kind; /* of the request */
};

static void open_fixture(struct fixture *f)
{
    *f = (struct fixture){.kind = {FG_SPAN("x-kind"), FG_SPAN("a")}};
    f->loop = fg_loop_create(0, 64);
    f->store = fg_cache_store_create(&conf);
    assert_non_null(f->store);
    f->ex.fields = &f->kind;
    f->ex.field_count = 1;
    fg_cache_near_init(&f->near, f->store, f->loop);
}

static void close_fixture(struct fixture *f)
{
    fg_cache_near_fini(&f->near);
    fg_cache_store_destroy(f->store);
    fg_loop_destroy(f->loop);
}

/* As the answer to the fixture's request: to this kind of requests, or to all. */
static void put(struct fixture *f, const char *key, unsigned status, bool varies)
{
    struct fg_span vary = varies ? FG_SPAN("x-kind") : FG_SPAN("");
    char selects[FG_CACHE_SELECTS_MAX];
    size_t len = fg_cache_key_selects(&f->ex, vary, selects);
    struct fg_cache_draft draft = {.key = fg_span_from_string(key),
                                   .status = status,
                                   .vary = vary,
                                   .selects = fg_span_make(selects, len),
                                   .lifetime_s = 60};
    struct fg_cache_object *object = fg_cache_object_create(&draft);
    fg_cache_object_set_body(object, fg_cache_body_create(4));
    assert_true(fg_cache_store_restore(f->store, object));
    fg_cache_object_release(object);
}

static struct fg_cache_lease *get(struct fixture *f, const char *key)
{
    struct fg_cache_ask ask = {.ex = &f->ex, .key = fg_span_from_string(key)};
    return fg_cache_near_get(&f->near, &ask);
}

/* Of what is given; 0: nothing is. */
static unsigned status_of(struct fixture *f, const char *key)
{
    struct fg_cache_lease *lease = get(f, key);
    if (lease == NULL)
        return 0;
    unsigned status = lease->object->head.status;
    fg_cache_lease_release(lease);
    return status;
}

static void the_store_is_asked_once_a_turn(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    put(&f, "sh\n/a", 200, false);
    struct fg_cache_lease *first = get(&f, "sh\n/a"), *second = get(&f, "sh\n/a");
    assert_ptr_equal(first, second);
    assert_int_equal(first->users, 3); /* with the turn's own */
    assert_int_equal(first->object->entry.frequency, 1);
    assert_null(get(&f, "sh\n/b"));
    fg_loop_run_deferred(f.loop);
    assert_int_equal(first->users, 2);
    struct fg_cache_lease *later = get(&f, "sh\n/a"); /* the next turn asks again */
    assert_ptr_not_equal(later, first);
    assert_ptr_equal(later->object, first->object);
    assert_int_equal(first->object->entry.frequency, 2);
    fg_cache_lease_release(first);
    fg_cache_lease_release(second);
    fg_cache_lease_release(later);
    close_fixture(&f);
}

static void what_has_gone_is_not_given(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    put(&f, "sh\n/a", 200, false);
    put(&f, "sh\n/b", 200, false);
    struct fg_cache_lease *used = get(&f, "sh\n/a");
    assert_int_equal(status_of(&f, "sh\n/b"), 200);
    put(&f, "sh\n/a", 404, false);
    assert_int_equal(status_of(&f, "sh\n/a"), 404);
    assert_int_equal(used->object->head.status, 200); /* who has it keeps it */
    assert_int_equal(status_of(&f, "sh\n/b"), 200);
    fg_cache_store_invalidate(f.store, FG_SPAN("sh\n/b"));
    assert_int_equal(status_of(&f, "sh\n/b"), 0);
    assert_int_equal(status_of(&f, "sh\n/a"), 404);
    assert_int_equal(fg_cache_store_purge(f.store, FG_CACHE_PURGE_ALL, FG_SPAN("")), 1);
    assert_int_equal(status_of(&f, "sh\n/a"), 0);
    fg_cache_lease_release(used);
    close_fixture(&f);
}

static void what_depends_on_the_request_is_asked_for_each_time(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    put(&f, "sh\n/a", 201, true);
    f.kind.value = FG_SPAN("b");
    put(&f, "sh\n/a", 202, true);
    assert_int_equal(status_of(&f, "sh\n/a"), 202);
    f.kind.value = FG_SPAN("a");
    assert_int_equal(status_of(&f, "sh\n/a"), 201);
    f.kind.value = FG_SPAN("c");
    assert_int_equal(status_of(&f, "sh\n/a"), 0);
    put(&f, "sh\n/a", 200, false); /* for all that nothing is stored for, and not for others */
    assert_int_equal(status_of(&f, "sh\n/a"), 200);
    f.kind.value = FG_SPAN("a");
    put(&f, "sh\n/a", 203, true);
    assert_int_equal(status_of(&f, "sh\n/a"), 203);
    f.kind.value = FG_SPAN("c");
    assert_int_equal(status_of(&f, "sh\n/a"), 200);
    assert_int_equal(f.near.page_count, 0);
    close_fixture(&f);
}

static void a_turn_of_many_pages_and_users(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct fg_cache_lease *leases[100];
    char key[16];
    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "sh\n/%u", i);
        put(&f, key, 200 + i, false);
    }
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 100; i++) {
            snprintf(key, sizeof(key), "sh\n/%u", i);
            leases[i] = get(&f, key);
            assert_int_equal(leases[i]->object->head.status, 200 + i);
        }
        assert_true(f.near.page_count <= FG_CACHE_NEAR_MAX);
        assert_int_equal(f.near.lease_count, 100);
        for (unsigned i = 0; i < 100; i++)
            fg_cache_lease_release(leases[i]);
        fg_loop_run_deferred(f.loop);
        assert_int_equal(f.near.lease_count, 0);
    }
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_store_is_asked_once_a_turn),
        cmocka_unit_test(what_has_gone_is_not_given),
        cmocka_unit_test(what_depends_on_the_request_is_asked_for_each_time),
        cmocka_unit_test(a_turn_of_many_pages_and_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
