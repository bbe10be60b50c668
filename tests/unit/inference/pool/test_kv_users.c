/*
 * test_kv_users.c: what users have had is one sum for all workers, and survives each of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "inference/kv/kv_arena_shared.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEQUENCES 2u /* so four users have a place */

struct fixture {
    struct fg_kv_arena *arena;
    int fd;
};

static int set_up(void **state)
{
    const struct fg_kv_shape shape = {.layer_count = 1, .kv_head_count = 1, .head_dim = 8};
    const struct fg_inference_conf conf = {
        .worker_count = 3, .kv_bytes = 4 * fg_kv_block_bytes(&shape), .sequences_max = SEQUENCES};
    struct fixture *f = calloc(1, sizeof(*f));
    struct fg_error error = {0};
    f->fd = memfd_create("test-kv", MFD_CLOEXEC);
    assert_int_equal(fg_kv_arena_create(&f->arena, f->fd, &conf, &shape, &error), FG_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    const char *why = NULL;
    if (!fg_kv_arena_check(f->arena, &why))
        fail_msg("%s", why);
    fg_kv_arena_detach(f->arena);
    close(f->fd);
    free(f);
    return 0;
}

static uint32_t enter(struct fixture *f, uint32_t worker, uint64_t user, uint64_t expected_work)
{
    uint64_t work = UINT64_MAX;
    uint32_t handle = fg_kv_arena_user_enter(f->arena, worker, user, &work);
    assert_true(work == expected_work);
    return handle;
}

static void what_one_worker_does_another_sees(void **state)
{
    struct fixture *f = *state;
    uint32_t a = enter(f, 0, 100, 0);
    uint32_t b = enter(f, 1, 200, 0);
    assert_int_equal(enter(f, 1, 100, 0), a);
    struct fg_kv_user_work first[] = {{a, 30, 0}, {a, 12, 0}};
    fg_kv_arena_users_sync(f->arena, 0, first, 2);
    assert_int_equal(first[0].work, 42); /* both charges, whichever stands first */
    assert_int_equal(first[1].work, 42);
    struct fg_kv_user_work second[] = {{a, 8, 0}, {b, 5, 0}};
    fg_kv_arena_users_sync(f->arena, 1, second, 2);
    assert_int_equal(second[0].work, 50);
    assert_int_equal(second[1].work, 5);
    fg_kv_arena_user_leave(f->arena, 1, a, 100);
    assert_int_equal(enter(f, 2, 100, 150), a); /* worker 0 still has one of his */
}

static void who_comes_back_is_lifted_to_the_least_of_all_workers(void **state)
{
    struct fixture *f = *state;
    uint32_t a = enter(f, 0, 100, 0);
    struct fg_kv_user_work work = {a, 1000, 0};
    fg_kv_arena_users_sync(f->arena, 0, &work, 1);
    enter(f, 2, 200, 1000);
    fg_kv_arena_user_leave(f->arena, 0, a, 0);
}

static void a_dead_workers_requests_are_active_no_more(void **state)
{
    struct fixture *f = *state;
    uint32_t a = enter(f, 0, 100, 0);
    uint32_t b = enter(f, 1, 200, 0);
    struct fg_kv_user_work work[] = {{b, 700, 0}};
    fg_kv_arena_users_sync(f->arena, 1, work, 1);
    fg_kv_arena_orphan_worker(f->arena, 0, 0);
    /* Only 200 is active: a third is lifted to what he has had. */
    enter(f, 2, 300, 700);
    /* The dead one's handle is good for nothing, and harms nobody. */
    fg_kv_arena_user_leave(f->arena, 0, a, 5000);
    struct fg_kv_user_work late[] = {{a, 5000, 0}};
    fg_kv_arena_users_sync(f->arena, 0, late, 1);
    assert_int_equal(late[0].work, 0);
}

static void those_without_a_place_pass_for_who_had_least(void **state)
{
    struct fixture *f = *state;
    uint32_t handles[2 * SEQUENCES];
    for (uint32_t i = 0; i < 2 * SEQUENCES; i++) {
        handles[i] = enter(f, 0, 100 + i, 0);
        struct fg_kv_user_work work = {handles[i], 40, 0};
        if (i == 0)
            continue; /* so that nobody is lifted before all are there */
        fg_kv_arena_users_sync(f->arena, 0, &work, 1);
    }
    struct fg_kv_user_work work = {handles[0], 15, 0};
    fg_kv_arena_users_sync(f->arena, 0, &work, 1);
    uint32_t nobody = enter(f, 1, 999, 15);
    assert_int_equal(nobody, FG_VTC_NO_USER);
    work = (struct fg_kv_user_work){nobody, 1000, 0};
    fg_kv_arena_users_sync(f->arena, 1, &work, 1);
    assert_int_equal(work.work, 15);
    fg_kv_arena_user_leave(f->arena, 1, nobody, 1000);
    fg_kv_arena_user_leave(f->arena, 0, handles[0], 0);
    assert_int_equal(enter(f, 1, 999, 40), handles[0]); /* the idle one makes room */
}

int main(void)
{
#define WITH_ARENA(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_ARENA(what_one_worker_does_another_sees),
        WITH_ARENA(who_comes_back_is_lifted_to_the_least_of_all_workers),
        WITH_ARENA(a_dead_workers_requests_are_active_no_more),
        WITH_ARENA(those_without_a_place_pass_for_who_had_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
