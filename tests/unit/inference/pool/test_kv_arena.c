/*
 * test_kv_arena.c: blocks and sequences in the shared arena, and what a killed worker leaves
 * behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "inference/kv/kv_arena_layout_shared.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS 32u
#define SEQUENCES 8u

static const struct fg_kv_shape shape = {.layer_count = 2, .kv_head_count = 1, .head_dim = 4};

static struct fg_inference_conf conf_of(uint32_t blocks, uint32_t sequences)
{
    return (struct fg_inference_conf){
        .worker_count = 3,
        .kv_bytes = blocks * fg_kv_block_bytes(&shape),
        .sequences_max = sequences,
    };
}

struct fixture {
    int fd;
    struct fg_kv_arena *arena;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct fg_inference_conf conf = conf_of(BLOCKS, SEQUENCES);
    struct fg_error error = {0};
    f->fd = memfd_create("test-kv", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (f->fd == -1 || fg_kv_arena_create(&f->arena, f->fd, &conf, &shape, &error) != FG_OK) {
        printf("%s\n", error.message);
        return -1;
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fg_kv_arena_detach(f->arena);
    close(f->fd);
    free(f);
    return 0;
}

static void assert_whole(struct fg_kv_arena *arena)
{
    const char *why = NULL;
    if (!fg_kv_arena_check(arena, &why))
        fail_msg("%s", why);
}

static struct fg_kv_sequence_id open_sequence(struct fg_kv_arena *arena, uint32_t worker)
{
    struct fg_kv_sequence_info info = {.stream_key = 9, .is_resumable = true, .max_tokens = 5};
    struct fg_kv_sequence_id id;
    assert_int_equal(fg_kv_arena_sequence_open(arena, worker, &info, &id), FG_OK);
    return id;
}

static uint64_t free_blocks(const struct fg_kv_arena *arena)
{
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(arena, &gauges);
    assert_int_equal(gauges.blocks_free + gauges.blocks_cached + gauges.blocks_used,
                     gauges.blocks_total);
    return gauges.blocks_free;
}

static void starts_with_everything_free(void **state)
{
    struct fixture *f = *state;
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(f->arena, &gauges);
    assert_int_equal(gauges.blocks_total, BLOCKS);
    assert_int_equal(gauges.blocks_free, BLOCKS);
    assert_int_equal(gauges.sequences, 0);
    assert_int_equal(gauges.sequences_max, SEQUENCES);
    assert_int_equal(gauges.blocks_released, 0);
    assert_int_equal(gauges.repairs, 0);
    assert_whole(f->arena);
}

static void reserves_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    uint32_t blocks[BLOCKS + 1];
    struct fg_kv_sequence_id a = open_sequence(f->arena, 0);
    struct fg_kv_sequence_id b = open_sequence(f->arena, 1);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, a, BLOCKS - 2, blocks), FG_OK);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, b, 3, blocks), FG_ERR_NO_MEMORY);
    assert_int_equal(free_blocks(f->arena), 2);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, b, 2, blocks), FG_OK);
    assert_int_equal(free_blocks(f->arena), 0);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, b, 1, blocks), FG_ERR_NO_MEMORY);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, b, BLOCKS, blocks), FG_ERR_LIMIT);
    assert_whole(f->arena);
    fg_kv_arena_sequence_close(f->arena, a);
    assert_int_equal(free_blocks(f->arena), BLOCKS - 2);
    fg_kv_arena_sequence_close(f->arena, b);
    assert_int_equal(free_blocks(f->arena), BLOCKS);
    assert_whole(f->arena);
}

static void block_ids_are_distinct_and_in_range(void **state)
{
    struct fixture *f = *state;
    uint32_t blocks[BLOCKS];
    bool seen[BLOCKS] = {false};
    struct fg_kv_sequence_id a = open_sequence(f->arena, 0);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, a, BLOCKS, blocks), FG_OK);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        assert_true(blocks[i] < BLOCKS);
        assert_false(seen[blocks[i]]);
        seen[blocks[i]] = true;
    }
    fg_kv_arena_sequence_close(f->arena, a);
}

static void a_closed_sequence_is_never_found_again(void **state)
{
    struct fixture *f = *state;
    uint32_t blocks[4];
    struct fg_kv_sequence_id old = open_sequence(f->arena, 0);
    fg_kv_arena_sequence_close(f->arena, old);
    struct fg_kv_sequence_id now = open_sequence(f->arena, 0);
    assert_int_equal(now.slot, old.slot);
    assert_int_not_equal(now.generation, old.generation);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, old, 1, blocks), FG_ERR_NOT_FOUND);
    fg_kv_arena_sequence_close(f->arena, old); /* must not close the new one */
    fg_kv_arena_sequence_trim(f->arena, old, 0);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, now, 1, blocks), FG_OK);
    struct fg_kv_sequence_id outside = {UINT32_MAX, 0};
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, outside, 1, blocks), FG_ERR_NOT_FOUND);
    fg_kv_arena_sequence_close(f->arena, now);
    assert_whole(f->arena);
}

static void sequences_run_out_politely(void **state)
{
    struct fixture *f = *state;
    struct fg_kv_sequence_id ids[SEQUENCES];
    struct fg_kv_sequence_info info = {0};
    for (uint32_t i = 0; i < SEQUENCES; i++)
        ids[i] = open_sequence(f->arena, 0);
    struct fg_kv_sequence_id more;
    assert_int_equal(fg_kv_arena_sequence_open(f->arena, 0, &info, &more), FG_ERR_LIMIT);
    for (uint32_t i = 0; i < SEQUENCES; i++)
        fg_kv_arena_sequence_close(f->arena, ids[i]);
    assert_whole(f->arena);
}

static void tokens_are_kept_with_their_blocks(void **state)
{
    struct fixture *f = *state;
    uint32_t blocks[2];
    uint32_t got[40] = {0};
    struct fg_kv_sequence_info info;
    struct fg_kv_sequence_id id = open_sequence(f->arena, 0);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, id, 2, blocks), FG_OK);
    for (uint32_t i = 0; i < 25; i++)
        assert_true(fg_kv_arena_sequence_record(f->arena, id, 100 + i, i));
    assert_int_equal(fg_kv_arena_sequence_read(f->arena, id, &info, got, 40), 25);
    for (uint32_t i = 0; i < 25; i++)
        assert_int_equal(got[i], 100 + i);
    assert_int_equal(info.stream_key, 9);
    /* No further than the blocks reach. */
    for (uint32_t i = 25; i < 40; i++)
        assert_int_equal(fg_kv_arena_sequence_record(f->arena, id, i, i), i < 32);
    assert_int_equal(fg_kv_arena_sequence_read(f->arena, id, &info, got, 0), 32);
    fg_kv_arena_sequence_close(f->arena, id);
    assert_false(fg_kv_arena_sequence_record(f->arena, id, 1, 1));
    assert_int_equal(fg_kv_arena_sequence_read(f->arena, id, &info, got, 40), UINT32_MAX);
}

static void data_of_two_blocks_does_not_overlap(void **state)
{
    struct fixture *f = *state;
    struct fg_kv_store store = fg_kv_arena_store(f->arena);
    size_t bytes = fg_kv_block_bytes(&shape);
    assert_int_equal((uintptr_t)store.data % 64, 0);
    for (uint32_t i = 0; i < store.block_count; i++)
        memset(store.data + i * bytes, (int)i + 1, bytes);
    for (uint32_t i = 0; i < store.block_count; i++) {
        assert_int_equal(*(unsigned char *)fg_kv_keys(&store, i, 0), i + 1);
        assert_int_equal(store.data[(i + 1) * bytes - 1], i + 1);
    }
    assert_whole(f->arena); /* nor does it touch the tables */
}

static void reclaim_takes_only_the_dead_workers_sequences(void **state)
{
    struct fixture *f = *state;
    uint32_t blocks[8];
    struct fg_kv_sequence_id mine = open_sequence(f->arena, 0);
    struct fg_kv_sequence_id dead = open_sequence(f->arena, 1);
    struct fg_kv_sequence_id waiting = open_sequence(f->arena, 1);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, mine, 4, blocks), FG_OK);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, dead, 5, blocks), FG_OK);
    assert_int_equal(fg_kv_arena_reclaim_worker(f->arena, 1), 2);
    assert_int_equal(free_blocks(f->arena), BLOCKS - 4);
    assert_whole(f->arena);
    fg_kv_arena_sequence_close(f->arena, waiting);
    assert_int_equal(fg_kv_arena_reclaim_worker(f->arena, 1), 0);
    fg_kv_arena_worker_begin(f->arena, 0, 4711, 5, 6); /* worker 0 starts anew */
    assert_int_equal(free_blocks(f->arena), BLOCKS);   /* nothing was computed: nothing is kept */
    struct fg_kv_worker_record *record = fg_kv_arena_worker(f->arena, 0);
    assert_int_equal(fg_counter_get(&record->pid), 4711);
    assert_int_equal(fg_counter_get(&record->generation), 1);
    assert_null(fg_kv_arena_worker(f->arena, 3));
    assert_whole(f->arena);
}

static void another_process_sees_the_same(void **state)
{
    struct fixture *f = *state;
    struct fg_kv_arena *other = NULL;
    struct fg_error error = {0};
    assert_int_equal(fg_kv_arena_attach(&other, f->fd, &error), FG_OK);
    uint32_t blocks[3];
    struct fg_kv_sequence_id id = open_sequence(other, 2);
    assert_int_equal(fg_kv_arena_sequence_reserve(other, id, 3, blocks), FG_OK);
    assert_int_equal(free_blocks(f->arena), BLOCKS - 3);
    fg_kv_arena_sequence_close(f->arena, id);
    assert_int_equal(free_blocks(other), BLOCKS);
    fg_kv_arena_detach(other);
    fg_kv_arena_detach(NULL);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct fg_inference_conf conf = conf_of(BLOCKS, SEQUENCES);
    assert_true(fg_kv_arena_bytes(&conf, &shape) > conf.kv_bytes);
    conf.context_max = 17;
    struct fg_inference_conf bad = conf;
    bad.kv_bytes = fg_kv_block_bytes(&shape) - 1;
    assert_int_equal(fg_kv_arena_bytes(&bad, &shape), 0);
    bad = conf;
    bad.worker_count = 0;
    assert_int_equal(fg_kv_arena_bytes(&bad, &shape), 0);
    bad.worker_count = FG_KV_WORKERS_MAX + 1;
    assert_int_equal(fg_kv_arena_bytes(&bad, &shape), 0);
    bad = conf;
    bad.sequences_max = 0;
    assert_int_equal(fg_kv_arena_bytes(&bad, &shape), 0);
    bad = conf;
    bad.kv_bytes = UINT64_MAX;
    assert_int_equal(fg_kv_arena_bytes(&bad, &shape), 0);
    struct fg_kv_shape no_heads = {.layer_count = 2, .head_dim = 4};
    assert_int_equal(fg_kv_arena_bytes(&conf, &no_heads), 0);
    int fd = memfd_create("test-kv", MFD_CLOEXEC);
    struct fg_kv_arena *arena;
    struct fg_error error = {0};
    assert_int_equal(fg_kv_arena_create(&arena, fd, &bad, &shape, &error), FG_ERR_CONFIG);
    assert_null(arena);
    assert_non_null(strstr(error.message, "kv_bytes"));
    close(fd);
}

/* Overwrites one 32-bit word of a created arena's head and expects attach to notice. */
static void assert_head_refused(int fd, off_t at, uint32_t value)
{
    uint32_t before;
    struct fg_kv_arena *arena;
    struct fg_error error = {0};
    assert_int_equal(pread(fd, &before, sizeof(before), at), sizeof(before));
    assert_int_equal(pwrite(fd, &value, sizeof(value), at), sizeof(value));
    assert_int_equal(fg_kv_arena_attach(&arena, fd, &error), FG_ERR_CONFIG);
    assert_null(arena);
    assert_int_equal(pwrite(fd, &before, sizeof(before), at), sizeof(before));
}

static void a_head_that_lies_is_not_mapped(void **state)
{
    struct fixture *f = *state;
    struct fg_kv_arena *arena;
    struct fg_error error = {0};
    assert_head_refused(f->fd, offsetof(struct fg_kv_head, magic), 1);
    assert_head_refused(f->fd, offsetof(struct fg_kv_head, version), 99);
    assert_head_refused(f->fd, offsetof(struct fg_kv_head, layout_bytes), 1);
    off_t geometry = offsetof(struct fg_kv_head, geometry);
    off_t block_count = geometry + (off_t)offsetof(struct fg_kv_geometry, block_count);
    off_t table_max = geometry + (off_t)offsetof(struct fg_kv_geometry, table_max);
    const uint32_t lies[] = {0, 1, BLOCKS + 4096, UINT32_MAX};
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        assert_head_refused(f->fd, block_count, lies[i]);
        assert_head_refused(f->fd, geometry, lies[i] == 1 ? 77 : lies[i]); /* layer_count */
        if (lies[i] != 1)
            assert_head_refused(f->fd, table_max, lies[i]);
    }
    int empty = memfd_create("test-kv-empty", MFD_CLOEXEC);
    assert_int_equal(fg_kv_arena_attach(&arena, empty, &error), FG_ERR_CONFIG);
    close(empty);
    assert_int_equal(fg_kv_arena_attach(&arena, -1, &error), FG_ERR_CONFIG);
}

static void check_notices_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    const char *why;
    uint32_t blocks[3];
    struct fg_kv_sequence_id id = open_sequence(f->arena, 0);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, id, 3, blocks), FG_OK);
    f->arena->blocks[blocks[1]].references = 2;
    assert_false(fg_kv_arena_check(f->arena, &why));
    f->arena->blocks[blocks[1]].references = 1;
    fg_kv_table(f->arena, id.slot)[2] = blocks[0];
    assert_false(fg_kv_arena_check(f->arena, &why));
    fg_kv_table(f->arena, id.slot)[2] = blocks[2];
    uint32_t first = f->arena->head->lru_first;
    f->arena->head->lru_first = f->arena->blocks[first].lru_next; /* a leak */
    assert_false(fg_kv_arena_check(f->arena, &why));
    f->arena->head->lru_first = first;
    assert_whole(f->arena);
    atomic_store(&f->arena->blocks[first].mark, FG_KV_MARK_COMMITTED); /* in no bucket */
    assert_false(fg_kv_arena_check(f->arena, &why));
    atomic_store(&f->arena->blocks[first].mark, FG_KV_MARK_NONE);
    assert_whole(f->arena);
    f->arena->blocks[first].lru_next = first; /* a loop */
    assert_false(fg_kv_arena_check(f->arena, &why));
    fg_kv_lock(f->arena);
    fg_kv_repair(f->arena);
    fg_kv_unlock(f->arena);
    assert_whole(f->arena);
    fg_kv_arena_sequence_close(f->arena, id);
}

static void indices_that_lie_do_no_harm(void **state)
{
    struct fixture *f = *state;
    uint32_t blocks[BLOCKS];
    struct fg_kv_sequence_info info;
    struct fg_kv_sequence_id id = open_sequence(f->arena, 0);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, id, 3, blocks), FG_OK);
    fg_kv_table(f->arena, id.slot)[0] = 0xfffffff0;
    assert_false(fg_kv_arena_sequence_record(f->arena, id, 1, 1));
    atomic_store(&f->arena->slots[id.slot].token_count, 1000);
    assert_int_equal(fg_kv_arena_sequence_read(f->arena, id, &info, blocks, BLOCKS), 0);
    atomic_store(&f->arena->slots[id.slot].table_count, 0xffffffff);
    assert_false(fg_kv_arena_sequence_record(f->arena, id, 1, 1));
    fg_kv_arena_sequence_close(f->arena, id);
    f->arena->head->lru_first = 0xfffffff0;
    f->arena->head->free_slot = 0xfffffff0;
    id = open_sequence(f->arena, 0); /* repairs both lists on the way */
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, id, BLOCKS, blocks), FG_OK);
    assert_whole(f->arena);
    fg_kv_arena_sequence_close(f->arena, id);
    assert_int_equal(free_blocks(f->arena), BLOCKS);
}

static void dies_at(enum fg_kv_point point, void *owner)
{
    if (point == *(enum fg_kv_point *)owner)
        kill(getpid(), SIGKILL);
}

/* What all sequences of these tests begin with: three full blocks and a bit. */
static void make_tokens(uint32_t *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = 1000 + i;
}

static uint32_t hash_all(const struct fg_kv_arena *arena, const uint32_t *tokens, uint32_t count,
                         struct fg_kv_hash *hashes)
{
    struct fg_kv_hash parent = {0, 0};
    for (uint32_t i = 0; i < count / FG_KV_BLOCK_TOKENS; i++) {
        hashes[i] = fg_kv_arena_hash(arena, &parent, 5, tokens + i * FG_KV_BLOCK_TOKENS);
        parent = hashes[i];
    }
    return count / FG_KV_BLOCK_TOKENS;
}

static bool try_begin(struct fg_kv_arena *arena, struct fg_kv_sequence_id id, uint32_t token_count,
                      uint32_t block_count, uint32_t *blocks, uint32_t *computed)
{
    uint32_t tokens[BLOCKS * FG_KV_BLOCK_TOKENS];
    struct fg_kv_hash hashes[BLOCKS];
    make_tokens(tokens, token_count);
    struct fg_kv_admission admission = {
        .tokens = tokens,
        .token_count = token_count,
        .hashes = hashes,
        .hash_count = hash_all(arena, tokens, token_count, hashes),
        .block_count = block_count,
        .must_fit_at_peak = true,
    };
    return fg_kv_arena_sequence_admit(arena, id, &admission, blocks, computed) == FG_OK;
}

/* Claims and commits the blocks from `first` on, as a worker does around its steps. */
static void compute(struct fg_kv_arena *arena, struct fg_kv_sequence_id id, uint32_t first,
                    uint32_t count)
{
    uint32_t tokens[BLOCKS * FG_KV_BLOCK_TOKENS];
    uint32_t blocks[BLOCKS];
    struct fg_kv_hash hashes[BLOCKS];
    make_tokens(tokens, count * FG_KV_BLOCK_TOKENS);
    hash_all(arena, tokens, count * FG_KV_BLOCK_TOKENS, hashes);
    struct fg_kv_claimed claimed =
        fg_kv_arena_sequence_claim(arena, id, first, count - first, hashes + first, blocks);
    first += claimed.shared;
    fg_kv_arena_sequence_computed(arena, id, (first + claimed.claimed) * FG_KV_BLOCK_TOKENS);
    fg_kv_arena_sequence_commit(arena, id, first, claimed.claimed, hashes + first);
}

/*
 * What worker 1 does in the child until it dies at its point; exits 0 when it never met it. Before
 * it, `shared` of worker 0 holds 4 blocks of which 2 are committed, and an orphan waits.
 */
static void live_and_die(struct fg_kv_arena *arena, enum fg_kv_point point)
{
    uint32_t blocks[BLOCKS];
    uint32_t tokens[BLOCKS * FG_KV_BLOCK_TOKENS];
    uint32_t computed;
    struct fg_kv_sequence_info info = {
        .stream_key = 77, .is_resumable = true, .prompt_count = 32, .max_tokens = 40};
    struct fg_kv_sequence_id id;
    struct fg_kv_adopted adopted;
    uint64_t work;
    fg_kv_arena_set_on_point(arena, dies_at, &point);
    uint32_t user = fg_kv_arena_user_enter(arena, 1, 5, &work);
    fg_kv_arena_user_enter(arena, 1, 6, &work); /* is there when it dies */
    fg_kv_arena_user_leave(arena, 1, user, 100);
    if (fg_kv_arena_sequence_open(arena, 1, &info, &id) != FG_OK ||
        !try_begin(arena, id, 32, 3, blocks, &computed) || /* all cached: the tail is copied */
        fg_kv_arena_sequence_reserve(arena, id, 2, blocks) != FG_OK)
        _exit(3);
    compute(arena, id, 1, 4);
    fg_kv_arena_sequence_trim(arena, id, 4);
    fg_kv_arena_sequence_suspend(arena, id);
    if (fg_kv_arena_sequence_reserve(arena, id, BLOCKS - 4, blocks) != FG_OK)
        _exit(4); /* evicts what was cached */
    fg_kv_arena_sequence_suspend(arena, id);
    if (!try_begin(arena, id, 70, 6, blocks, &computed))
        _exit(4);
    fg_kv_arena_sequence_hand_over(arena, id, 1);
    if (fg_kv_arena_adopt(arena, 1, 77, &adopted, blocks, tokens, 512) != FG_OK)
        _exit(5);
    fg_kv_arena_sequence_close(arena, id);
    _exit(0);
}

static void assert_killed(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status))
        fail_msg("it went on and ended with %d", WEXITSTATUS(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static pid_t fork_and_die(struct fg_kv_arena *arena, enum fg_kv_point point)
{
    pid_t child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0)
        live_and_die(arena, point);
    return child;
}

/* A sequence of worker 0 with 4 blocks, the first 2 of them committed. */
static struct fg_kv_sequence_id open_shared(struct fixture *f, uint32_t *blocks)
{
    uint32_t computed;
    struct fg_kv_sequence_id id = open_sequence(f->arena, 0);
    assert_true(try_begin(f->arena, id, 50, 4, blocks, &computed));
    compute(f->arena, id, computed / FG_KV_BLOCK_TOKENS, 2);
    return id;
}

/* After a death: the dead's sequences go, worker 0's stay as they are. */
static void assert_only_shared_is_left(struct fixture *f, const uint32_t *blocks)
{
    fg_kv_arena_orphan_worker(f->arena, 1, 0);
    assert_whole(f->arena);
    fg_kv_arena_reclaim_orphans(f->arena, 1);
    assert_whole(f->arena);
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(f->arena, &gauges);
    assert_int_equal(gauges.blocks_used, 4);
    assert_int_equal(gauges.sequences, 1);
    assert_int_equal(gauges.orphaned, gauges.adopted + gauges.orphans_expired);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(fg_kv_arena_block_references(f->arena, blocks[i]), 1);
    uint32_t tokens[BLOCKS * FG_KV_BLOCK_TOKENS];
    struct fg_kv_hash hashes[BLOCKS];
    make_tokens(tokens, 32);
    hash_all(f->arena, tokens, 32, hashes);
    fg_kv_lock(f->arena); /* its committed blocks are still found */
    assert_int_equal(fg_kv_find_committed(f->arena, &hashes[0], tokens), blocks[0]);
    assert_int_equal(fg_kv_find_committed(f->arena, &hashes[1], tokens + 16), blocks[1]);
    fg_kv_unlock(f->arena);
}

static void a_death_at_any_point_is_repaired(void **state)
{
    struct fixture *f = *state;
    uint32_t blocks[4];
    struct fg_kv_sequence_id shared = open_shared(f, blocks);
    for (enum fg_kv_point point = 0; point < FG_KV_POINT_REPAIR_COUNTED; point++) {
        struct fg_kv_gauges gauges;
        fg_kv_arena_gauges(f->arena, &gauges);
        uint64_t repairs = gauges.repairs;
        assert_killed(fork_and_die(f->arena, point));
        assert_whole(f->arena); /* takes the lock of the dead */
        fg_kv_arena_gauges(f->arena, &gauges);
        assert_int_equal(gauges.repairs, repairs + 1);
        assert_only_shared_is_left(f, blocks);
    }
    fg_kv_arena_sequence_close(f->arena, shared);
    assert_whole(f->arena);
}

static void a_death_while_repairing_is_repaired_too(void **state)
{
    struct fixture *f = *state;
    uint32_t blocks[4];
    struct fg_kv_sequence_id shared = open_shared(f, blocks);
    for (enum fg_kv_point first = 0; first < FG_KV_POINT_REPAIR_COUNTED; first++) {
        assert_killed(fork_and_die(f->arena, first));
        for (enum fg_kv_point point = FG_KV_POINT_REPAIR_COUNTED; point < FG_KV_POINT_COUNT;
             point++)
            assert_killed(fork_and_die(f->arena, point));
        assert_only_shared_is_left(f, blocks);
    }
    fg_kv_arena_sequence_close(f->arena, shared);
    assert_whole(f->arena);
}

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

static void maybe_dies(enum fg_kv_point point, void *owner)
{
    (void)point;
    if (next_random(owner) % 3001 == 0)
        kill(getpid(), SIGKILL);
}

/* One worker's random life; ids it holds are checked for being its own by a mark in the KV data. */
static void live_at_random(struct fg_kv_arena *arena, uint32_t worker, uint64_t seed)
{
    struct fg_kv_store store = fg_kv_arena_store(arena);
    size_t bytes = fg_kv_block_bytes(&shape);
    uint64_t death_seed = seed ^ 0xdead;
    fg_kv_arena_set_on_point(arena, maybe_dies, &death_seed);
    for (int round = 0; round < 300; round++) {
        uint32_t blocks[BLOCKS];
        struct fg_kv_sequence_info info = {0};
        struct fg_kv_sequence_id id;
        if (fg_kv_arena_sequence_open(arena, worker, &info, &id) != FG_OK)
            continue;
        uint32_t count = 1 + next_random(&seed) % 12;
        uint32_t computed;
        uint64_t work;
        uint32_t user = fg_kv_arena_user_enter(arena, worker, next_random(&seed) % 20, &work);
        if (next_random(&seed) % 2 == 0) {
            if (try_begin(arena, id, count * FG_KV_BLOCK_TOKENS, count, blocks, &computed))
                compute(arena, id, computed / FG_KV_BLOCK_TOKENS, count);
        } else if (fg_kv_arena_sequence_reserve(arena, id, count, blocks) == FG_OK) {
            for (uint32_t i = 0; i < count; i++)
                memset(store.data + blocks[i] * bytes, (int)worker + 1, bytes);
            for (uint32_t i = 0; i < count; i++) {
                if (store.data[blocks[i] * bytes] != worker + 1)
                    _exit(4); /* somebody else has it too */
                fg_kv_arena_sequence_record(arena, id, i, i);
            }
            fg_kv_arena_sequence_trim(arena, id, count / 2);
        }
        fg_kv_arena_sequence_close(arena, id);
        fg_kv_arena_user_leave(arena, worker, user, count);
    }
    _exit(0);
}

static void workers_that_die_at_random_leave_it_whole(void **state)
{
    struct fixture *f = *state;
    pid_t children[3] = {0};
    uint64_t seed = 20260206;
    for (int life = 0; life < 24; life++) {
        uint32_t worker = (uint32_t)life % 3;
        if (life >= 3) {
            int status;
            assert_int_equal(waitpid(children[worker], &status, 0), children[worker]);
            assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
            fg_kv_arena_reclaim_worker(f->arena, worker);
            assert_whole(f->arena); /* while the other two go on */
        }
        children[worker] = fork();
        assert_int_not_equal(children[worker], -1);
        if (children[worker] == 0)
            live_at_random(f->arena, worker, seed + (uint64_t)life);
    }
    for (uint32_t worker = 0; worker < 3; worker++) {
        int status;
        assert_int_equal(waitpid(children[worker], &status, 0), children[worker]);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        fg_kv_arena_reclaim_worker(f->arena, worker);
    }
    assert_whole(f->arena);
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(f->arena, &gauges);
    assert_int_equal(gauges.blocks_used, 0);
}

int main(void)
{
#define WITH_ARENA(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_ARENA(starts_with_everything_free),
        WITH_ARENA(reserves_all_or_nothing),
        WITH_ARENA(block_ids_are_distinct_and_in_range),
        WITH_ARENA(a_closed_sequence_is_never_found_again),
        WITH_ARENA(sequences_run_out_politely),
        WITH_ARENA(tokens_are_kept_with_their_blocks),
        WITH_ARENA(data_of_two_blocks_does_not_overlap),
        WITH_ARENA(reclaim_takes_only_the_dead_workers_sequences),
        WITH_ARENA(another_process_sees_the_same),
        cmocka_unit_test(sizes_that_cannot_be_are_refused),
        WITH_ARENA(a_head_that_lies_is_not_mapped),
        WITH_ARENA(check_notices_what_is_wrong),
        WITH_ARENA(indices_that_lie_do_no_harm),
        WITH_ARENA(a_death_at_any_point_is_repaired),
        WITH_ARENA(a_death_while_repairing_is_repaired_too),
        WITH_ARENA(workers_that_die_at_random_leave_it_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
