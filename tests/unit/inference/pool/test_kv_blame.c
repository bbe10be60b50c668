/*
 * test_kv_blame.c: who is marked when a worker dies is blamed, and whoever takes a sequence over
 * knows of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "inference/kv/kv_arena_shared.h"

#include <sys/mman.h>
#include <unistd.h>

#define KEYS 8u
#define PROMPT 20u

static const struct fg_kv_shape shape = {1, 1, 8, FG_KV_F16};

struct fixture {
    int fd;
    struct fg_kv_arena *arena;
    struct fg_kv_sequence_id ids[KEYS];
    struct fg_kv_adopted adopted; /* by the last try */
};

static int set_up(void **state)
{
    static struct fixture f;
    struct fg_inference_conf conf = {
        .kv_bytes = 32 * fg_kv_block_bytes(&shape), .worker_count = 2, .sequences_max = 16};
    struct fg_error error;
    f.fd = memfd_create("test-kv", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(fg_kv_arena_create(&f.arena, f.fd, &conf, &shape, &error), FG_OK);
    *state = &f;
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
    return 0;
}

/* The stream `key` at a worker, waiting. */
static void open_stream(struct fixture *f, uint32_t worker, uint64_t key,
                        const struct fg_blame *blame)
{
    struct fg_kv_sequence_info info = {.stream_key = key,
                                       .is_resumable = key != 7, /* that one is an embedding */
                                       .prompt_count = PROMPT,
                                       .max_tokens = 10};
    if (blame != NULL)
        info.blame = *blame;
    assert_int_equal(fg_kv_arena_sequence_open(f->arena, worker, &info, &f->ids[key]), FG_OK);
}

/* And with its blocks; `computed` positions are done. */
static void run_stream(struct fixture *f, uint32_t worker, uint64_t key, uint32_t computed)
{
    uint32_t tokens[PROMPT] = {1, 2, 3};
    uint32_t blocks[2];
    uint32_t shared;
    const struct fg_kv_admission admission = {
        .tokens = tokens, .token_count = PROMPT, .block_count = 2};
    open_stream(f, worker, key, NULL);
    assert_int_equal(fg_kv_arena_sequence_admit(f->arena, f->ids[key], &admission, blocks, &shared),
                     FG_OK);
    fg_kv_arena_sequence_computed(f->arena, f->ids[key], computed);
}

static void step(struct fixture *f, const uint64_t *keys, uint32_t count)
{
    struct fg_kv_step_part parts[KEYS];
    for (uint32_t i = 0; i < count; i++)
        parts[i] = (struct fg_kv_step_part){f->ids[keys[i]], PROMPT};
    fg_kv_arena_step_begin(f->arena, parts, count);
}

static void crash(struct fixture *f, uint32_t worker)
{
    fg_counter_set(&fg_kv_arena_worker(f->arena, worker)->crashed, 1);
    fg_kv_arena_orphan_worker(f->arena, worker, UINT64_MAX);
    assert_true(fg_counter_get(&fg_kv_arena_worker(f->arena, worker)->crashed) == 0);
}

static enum fg_status adopt(struct fixture *f, uint32_t worker, uint64_t key)
{
    uint32_t blocks[32];
    uint32_t tokens[32 * FG_KV_BLOCK_TOKENS];
    enum fg_status status = fg_kv_arena_adopt(f->arena, worker, key, &f->adopted, blocks, tokens,
                                              32 * FG_KV_BLOCK_TOKENS);
    if (status == FG_OK)
        f->ids[key] = f->adopted.id;
    return status;
}

static uint64_t suspects(const struct fixture *f)
{
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(f->arena, &gauges);
    return gauges.suspects;
}

static void close_all(struct fixture *f)
{
    fg_kv_arena_reclaim_orphans(f->arena, UINT64_MAX);
    for (uint32_t worker = 0; worker < 2; worker++)
        fg_kv_arena_reclaim_worker(f->arena, worker);
}

static struct fg_blame blame_of(struct fixture *f, uint64_t key)
{
    struct fg_blame blame;
    assert_int_equal(fg_kv_arena_prepare_blame(f->arena, 1, key, &blame), FG_OK);
    return blame;
}

static void who_was_being_prepared_is_blamed(void **state)
{
    struct fixture *f = *state;
    struct fg_blame blame;
    uint32_t first = fg_kv_arena_prepare_begin(f->arena, 0, 101);
    (void)fg_kv_arena_prepare_begin(f->arena, 0, 102);
    assert_true(fg_kv_arena_is_preparing(f->arena, 101));
    /* Another worker does not know whether that one is dead. */
    assert_int_equal(fg_kv_arena_prepare_blame(f->arena, 1, 102, &blame), FG_ERR_BUSY);
    assert_true(fg_blame_is_suspect(&blame) && blame.guilt == 0);
    fg_kv_arena_prepare_end(f->arena, 0, first);
    assert_false(fg_kv_arena_is_preparing(f->arena, 101));
    (void)fg_kv_arena_prepare_begin(f->arena, 0, 103);
    uint64_t before = suspects(f);
    crash(f, 0);
    assert_int_equal(blame_of(f, 101).suspicion, 0);
    assert_true(fg_blame_is_suspect(&(struct fg_blame){.suspicion = blame_of(f, 102).suspicion}));
    assert_int_equal(blame_of(f, 102).guilt, 0); /* there were two */
    assert_int_equal(suspects(f), before + 2);
    for (int i = 0; i < 2; i++) {
        blame = blame_of(f, 102);
        assert_false(fg_blame_is_guilty(&blame));
        (void)fg_kv_arena_prepare_begin(f->arena, 0, 102);
        crash(f, 0);
    }
    blame = blame_of(f, 102);
    assert_true(fg_blame_is_guilty(&blame));
    fg_kv_arena_prepare_forgive(f->arena, 102);
    assert_int_equal(blame_of(f, 102).suspicion, 0);
    assert_true(blame_of(f, 103).suspicion > 0);
    /* The places are free again, and a stream without a key takes none. */
    assert_int_equal(fg_kv_arena_prepare_begin(f->arena, 0, 0), UINT32_MAX);
    fg_kv_arena_prepare_end(f->arena, 0, UINT32_MAX);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(fg_kv_arena_prepare_begin(f->arena, 0, 200 + i), i);
    assert_int_equal(fg_kv_arena_prepare_begin(f->arena, 0, 204), UINT32_MAX);
    for (uint32_t i = 0; i < 4; i++)
        fg_kv_arena_prepare_end(f->arena, 0, i);
}

/* In both ways of being marked a death tells of one alone only when there was no other mark. */
static void a_step_beside_a_preparation_tells_of_neither(void **state)
{
    struct fixture *f = *state;
    run_stream(f, 0, 1, 16);
    step(f, (const uint64_t[]){1}, 1);
    (void)fg_kv_arena_prepare_begin(f->arena, 0, 300);
    crash(f, 0);
    assert_int_equal(blame_of(f, 300).guilt, 0);
    assert_int_equal(adopt(f, 1, 1), FG_OK);
    assert_true(fg_blame_is_suspect(&f->adopted.info.blame));
    assert_int_equal(f->adopted.info.blame.guilt, 0);
    fg_kv_arena_prepare_forgive(f->arena, 300);
    close_all(f);
}

/* More than there is room for: the oldest is forgotten, and nothing breaks. */
static void blame_without_sequences_is_bounded(void **state)
{
    struct fixture *f = *state;
    for (uint64_t key = 1000; key < 1000 + 600; key++) {
        (void)fg_kv_arena_prepare_begin(f->arena, 0, key);
        crash(f, 0);
    }
    assert_int_equal(blame_of(f, 1000).suspicion, 0);
    assert_true(blame_of(f, 1599).suspicion > 0);
    assert_true(blame_of(f, 1300).suspicion > 0);
    for (uint64_t key = 1000; key < 1000 + 600; key++)
        fg_kv_arena_prepare_forgive(f->arena, key);
    assert_int_equal(blame_of(f, 1599).suspicion, 0);
}

static void only_who_was_in_the_step_is_blamed(void **state)
{
    struct fixture *f = *state;
    for (uint64_t key = 1; key <= 4; key++)
        run_stream(f, 0, key, 16);
    run_stream(f, 1, 5, 16); /* another worker's, in its step */
    step(f, (const uint64_t[]){5}, 1);
    step(f, (const uint64_t[]){1, 2, 3}, 3);
    assert_true(fg_kv_arena_is_in_step(f->arena, 1) && !fg_kv_arena_is_in_step(f->arena, 4));
    assert_false(fg_kv_arena_step_end(f->arena, f->ids[1], PROMPT)); /* nothing to be cleared of */
    assert_int_equal(adopt(f, 1, 2), FG_ERR_BUSY);
    assert_true(fg_blame_is_suspect(&f->adopted.info.blame)); /* as far as can be seen */
    assert_int_equal(adopt(f, 1, 1), FG_ERR_BUSY);
    assert_false(fg_blame_is_suspect(&f->adopted.info.blame));
    crash(f, 0);
    for (uint64_t key = 1; key <= 4; key++) {
        assert_int_equal(adopt(f, 1, key), FG_OK);
        assert_int_equal(fg_blame_is_suspect(&f->adopted.info.blame), key == 2 || key == 3);
        assert_false(fg_blame_is_guilty(&f->adopted.info.blame));
    }
    assert_int_equal(suspects(f), 2);
    assert_true(fg_kv_arena_is_in_step(f->arena, 5) && !fg_kv_arena_is_in_step(f->arena, 2));
    close_all(f);
}

static void who_dies_alone_twice_is_guilty_unless_it_got_on(void **state)
{
    struct fixture *f = *state;
    run_stream(f, 0, 1, 16);
    for (uint32_t death = 0; death < 4; death++) {
        uint32_t worker = death % 2;
        assert_false(fg_blame_is_guilty(&f->adopted.info.blame));
        step(f, (const uint64_t[]){1}, 1);
        if (death == 1) { /* this time it survives */
            assert_true(fg_kv_arena_step_end(f->arena, f->ids[1], PROMPT));
            step(f, (const uint64_t[]){1}, 1);
        }
        crash(f, worker);
        assert_int_equal(adopt(f, 1 - worker, 1), FG_OK);
        if (death == 2)
            break;
    }
    assert_true(fg_blame_is_guilty(&f->adopted.info.blame));
    close_all(f);
}

static void a_kill_from_outside_isolates_nobody(void **state)
{
    struct fixture *f = *state;
    run_stream(f, 0, 1, 16);
    step(f, (const uint64_t[]){1}, 1);
    fg_kv_arena_worker_begin(f->arena, 0, 4711, 1, UINT64_MAX); /* who did it is not known */
    assert_int_equal(adopt(f, 1, 1), FG_OK);
    assert_int_equal(f->adopted.info.blame.suspicion, 1);
    assert_false(fg_blame_is_suspect(&f->adopted.info.blame));
    assert_int_equal(suspects(f), 0);
    close_all(f);
}

static void what_is_of_no_other_use_still_tells(void **state)
{
    struct fixture *f = *state;
    /* One that had computed nothing; an embedding; one that waits for blocks, blamed before. */
    struct fg_blame before = {.suspicion = 4, .guilt = 4, .position = 16};
    run_stream(f, 0, 1, 0);
    run_stream(f, 0, 7, 16);
    open_stream(f, 0, 3, &before);
    open_stream(f, 0, 4, NULL);
    step(f, (const uint64_t[]){1, 7}, 2);
    crash(f, 0);
    assert_int_equal(adopt(f, 1, 1), FG_OK);
    assert_true(f->adopted.block_count == 2 && f->adopted.computed == 0);
    assert_true(fg_blame_is_suspect(&f->adopted.info.blame));
    assert_int_equal(adopt(f, 1, 7), FG_ERR_NOT_FOUND);
    assert_true(fg_blame_is_suspect(&f->adopted.info.blame));
    assert_int_equal(adopt(f, 1, 7), FG_ERR_NOT_FOUND); /* gone */
    assert_false(fg_blame_is_suspect(&f->adopted.info.blame));
    assert_int_equal(adopt(f, 1, 3), FG_ERR_NOT_FOUND);
    assert_int_equal(f->adopted.info.blame.guilt, 4);
    assert_int_equal(adopt(f, 1, 4), FG_ERR_NOT_FOUND);
    assert_int_equal(f->adopted.info.blame.suspicion, 0);
    close_all(f);
}

static void a_mark_goes_with_its_slot(void **state)
{
    struct fixture *f = *state;
    run_stream(f, 0, 1, 16);
    step(f, (const uint64_t[]){1}, 1);
    fg_kv_arena_sequence_hand_over(f->arena, f->ids[1], UINT64_MAX);
    crash(f, 0); /* it is nobody's by now */
    assert_int_equal(adopt(f, 1, 1), FG_OK);
    assert_int_equal(f->adopted.info.blame.suspicion, 0);
    step(f, (const uint64_t[]){1}, 1);
    struct fg_kv_sequence_id old = f->ids[1];
    fg_kv_arena_sequence_close(f->arena, old);
    assert_false(fg_kv_arena_step_end(f->arena, old, PROMPT));
    run_stream(f, 1, 2, 16); /* in the same slot */
    assert_false(fg_kv_arena_is_in_step(f->arena, 2));
    close_all(f);
}

int main(void)
{
#define IN_ARENA(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        IN_ARENA(who_was_being_prepared_is_blamed),
        IN_ARENA(a_step_beside_a_preparation_tells_of_neither),
        IN_ARENA(blame_without_sequences_is_bounded),
        IN_ARENA(only_who_was_in_the_step_is_blamed),
        IN_ARENA(who_dies_alone_twice_is_guilty_unless_it_got_on),
        IN_ARENA(a_kill_from_outside_isolates_nobody),
        IN_ARENA(what_is_of_no_other_use_still_tells),
        IN_ARENA(a_mark_goes_with_its_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
