/*
 * test_kv_prefix.c: blocks that sequences share by their tokens, and sequences that change hands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "inference/kv/kv_arena_layout_shared.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCKS 12u
#define TOKENS_MAX (BLOCKS * FG_KV_BLOCK_TOKENS)

static const struct fg_kv_shape shape = {.layer_count = 2, .kv_head_count = 1, .head_dim = 4};

struct fixture {
    int fd;
    struct fg_kv_arena *arena;
    uint64_t next_key;
};

/* One request: its tokens, their hashes, and what the arena gave it. */
struct request {
    struct fg_kv_sequence_id id;
    uint32_t tokens[TOKENS_MAX];
    uint32_t token_count;
    struct fg_kv_hash hashes[BLOCKS];
    uint32_t hash_count;
    uint32_t blocks[BLOCKS];
    uint32_t computed;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct fg_inference_conf conf = {
        .worker_count = 2,
        .kv_bytes = BLOCKS * fg_kv_block_bytes(&shape),
        .sequences_max = 8,
    };
    struct fg_error error = {0};
    f->fd = memfd_create("test-kv", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    *state = f;
    return fg_kv_arena_create(&f->arena, f->fd, &conf, &shape, &error) == FG_OK ? 0 : -1;
}

static void assert_whole(const struct fixture *f)
{
    const char *why = NULL;
    if (!fg_kv_arena_check(f->arena, &why))
        fail_msg("%s", why);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    assert_whole(f);
    fg_kv_arena_detach(f->arena);
    close(f->fd);
    free(f);
    return 0;
}

static struct fg_kv_gauges gauges_of(const struct fixture *f)
{
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(f->arena, &gauges);
    return gauges;
}

/* The first `same` tokens are everybody's, the others follow from `own`. */
static struct request a_request(struct fixture *f, uint32_t count, uint32_t same, uint32_t own,
                                uint64_t salt)
{
    struct request r = {.token_count = count, .hash_count = count / FG_KV_BLOCK_TOKENS};
    for (uint32_t i = 0; i < count; i++)
        r.tokens[i] = i < same ? i : i + own * 1000;
    struct fg_kv_hash parent = {0, 0};
    for (uint32_t i = 0; i < r.hash_count; i++) {
        r.hashes[i] = fg_kv_arena_hash(f->arena, &parent, salt, r.tokens + i * FG_KV_BLOCK_TOKENS);
        parent = r.hashes[i];
    }
    struct fg_kv_sequence_info info = {
        .stream_key = ++f->next_key, .is_resumable = true, .prompt_count = count, .max_tokens = 16};
    assert_int_equal(fg_kv_arena_sequence_open(f->arena, 0, &info, &r.id), FG_OK);
    return r;
}

static enum fg_status admit(struct fixture *f, struct request *r, uint32_t block_count)
{
    struct fg_kv_admission admission = {
        .tokens = r->tokens,
        .token_count = r->token_count,
        .hashes = r->hashes,
        .hash_count = r->hash_count,
        .block_count = block_count,
    };
    return fg_kv_arena_sequence_admit(f->arena, r->id, &admission, r->blocks, &r->computed);
}

static struct fg_kv_claimed claim(struct fixture *f, struct request *r)
{
    uint32_t first = r->computed / FG_KV_BLOCK_TOKENS;
    struct fg_kv_claimed claimed = fg_kv_arena_sequence_claim(
        f->arena, r->id, first, r->hash_count - first, r->hashes + first, r->blocks + first);
    r->computed += claimed.shared * FG_KV_BLOCK_TOKENS;
    return claimed;
}

static void commit(struct fixture *f, struct request *r, uint32_t count)
{
    uint32_t first = r->computed / FG_KV_BLOCK_TOKENS;
    r->computed += count * FG_KV_BLOCK_TOKENS;
    fg_kv_arena_sequence_computed(f->arena, r->id, r->computed);
    fg_kv_arena_sequence_commit(f->arena, r->id, first, count, r->hashes + first);
}

static void run(struct fixture *f, struct request *r)
{
    assert_int_equal(admit(f, r, (r->token_count + 15) / 16), FG_OK);
    commit(f, r, claim(f, r).claimed);
}

static void a_prefix_is_found_after_its_sequence_has_gone(void **state)
{
    struct fixture *f = *state;
    struct request first = a_request(f, 50, 40, 1, 5);
    run(f, &first);
    assert_int_equal(first.computed, 48);
    fg_kv_arena_sequence_close(f->arena, first.id);
    assert_int_equal(gauges_of(f).blocks_cached, 3);
    assert_int_equal(gauges_of(f).blocks_free, BLOCKS - 3);
    struct request second = a_request(f, 60, 40, 2, 5);
    assert_int_equal(admit(f, &second, 4), FG_OK);
    assert_int_equal(second.computed, 32); /* two whole blocks are the same */
    assert_memory_equal(second.blocks, first.blocks, 2 * sizeof(uint32_t));
    assert_int_not_equal(second.blocks[2], first.blocks[2]);
    assert_int_equal(gauges_of(f).blocks_cached, 1);
    fg_kv_arena_sequence_close(f->arena, second.id);
}

static void another_tenant_finds_nothing(void **state)
{
    struct fixture *f = *state;
    struct request first = a_request(f, 50, 50, 0, 5);
    run(f, &first);
    struct request other = a_request(f, 50, 50, 0, 6);
    assert_int_equal(admit(f, &other, 4), FG_OK);
    assert_int_equal(other.computed, 0);
    assert_int_equal(claim(f, &other).claimed, 3);
}

static void the_same_tokens_elsewhere_are_not_the_same(void **state)
{
    struct fixture *f = *state;
    struct request first = a_request(f, 48, 48, 0, 5);
    run(f, &first);
    /* Its second block begins with what the first one's first begins with. */
    struct request shifted = a_request(f, 48, 0, 3, 5);
    memcpy(shifted.tokens + 16, first.tokens, 32 * sizeof(uint32_t));
    struct fg_kv_hash parent = shifted.hashes[0];
    for (uint32_t i = 1; i < 3; i++)
        parent = shifted.hashes[i] =
            fg_kv_arena_hash(f->arena, &parent, 5, shifted.tokens + i * 16);
    assert_int_equal(admit(f, &shifted, 3), FG_OK);
    assert_int_equal(shifted.computed, 0);
    /* A hash that lies about its tokens is not believed. */
    fg_kv_arena_sequence_suspend(f->arena, shifted.id);
    memcpy(shifted.hashes, first.hashes, sizeof(shifted.hashes));
    assert_int_equal(admit(f, &shifted, 3), FG_OK);
    assert_int_equal(shifted.computed, 0);
}

static void two_at_once_compute_it_once(void **state)
{
    struct fixture *f = *state;
    struct request a = a_request(f, 50, 48, 1, 5);
    struct request b = a_request(f, 50, 48, 2, 5);
    assert_int_equal(admit(f, &a, 4), FG_OK);
    assert_int_equal(admit(f, &b, 4), FG_OK);
    assert_int_equal(a.computed + b.computed, 0);
    struct fg_kv_claimed mine =
        fg_kv_arena_sequence_claim(f->arena, a.id, 0, 2, a.hashes, a.blocks);
    assert_int_equal(mine.claimed, 2);
    struct fg_kv_claimed other = claim(f, &b);
    assert_true(other.is_pending && other.claimed == 0 && other.shared == 0);
    uint32_t before = b.blocks[0];
    commit(f, &a, 2);
    other = claim(f, &b); /* the third nobody has yet */
    assert_int_equal(other.shared, 2);
    assert_int_equal(other.claimed, 1);
    assert_false(other.is_pending);
    assert_int_not_equal(b.blocks[0], before);
    assert_int_equal(b.blocks[0], a.blocks[0]);
    assert_int_equal(fg_kv_arena_block_references(f->arena, before), 0);
    assert_int_equal(fg_kv_arena_block_references(f->arena, a.blocks[0]), 2);
    assert_true(claim(f, &a).is_pending); /* now it is the other way round */
    /* The one that computes goes away: whoever waited does it himself. */
    fg_kv_arena_sequence_close(f->arena, b.id);
    assert_int_equal(claim(f, &a).claimed, 1);
    assert_whole(f);
}

static void the_least_recently_used_and_deepest_goes_first(void **state)
{
    struct fixture *f = *state;
    struct request old = a_request(f, 48, 0, 1, 5);
    struct request young = a_request(f, 48, 0, 2, 5);
    run(f, &old);
    run(f, &young);
    fg_kv_arena_sequence_close(f->arena, old.id);
    fg_kv_arena_sequence_close(f->arena, young.id);
    struct request next = a_request(f, 100, 0, 3, 5);
    assert_int_equal(admit(f, &next, 8), FG_OK); /* 6 free ones and two that were cached */
    assert_int_equal(gauges_of(f).blocks_evicted, 2);
    fg_kv_arena_sequence_close(f->arena, next.id);
    struct request again = a_request(f, 60, 0, 1, 5);
    assert_int_equal(admit(f, &again, 4), FG_OK);
    assert_int_equal(again.computed, 16);
    struct request also = a_request(f, 60, 0, 2, 5);
    assert_int_equal(admit(f, &also, 4), FG_OK);
    assert_int_equal(also.computed, 48);
}

static void a_shared_tail_is_copied_on_write(void **state)
{
    struct fixture *f = *state;
    struct fg_kv_store store = fg_kv_arena_store(f->arena);
    size_t bytes = fg_kv_block_bytes(&shape);
    struct request first = a_request(f, 32, 32, 0, 5);
    run(f, &first);
    memset(store.data + first.blocks[1] * bytes, 0x5a, bytes);
    struct request second = a_request(f, 32, 32, 0, 5);
    assert_int_equal(admit(f, &second, 3), FG_OK);
    assert_int_equal(second.computed, 31); /* the last token is computed again, for its logits */
    assert_int_equal(second.blocks[0], first.blocks[0]);
    assert_int_not_equal(second.blocks[1], first.blocks[1]);
    assert_memory_equal(store.data + second.blocks[1] * bytes, store.data + first.blocks[1] * bytes,
                        bytes);
    fg_kv_arena_sequence_close(f->arena, first.id);
    fg_kv_arena_sequence_close(f->arena, second.id);
    /* Without a block for the copy the cached one is used itself. */
    struct request large = a_request(f, 144, 0, 9, 5);
    assert_int_equal(admit(f, &large, 9), FG_OK);
    struct request third = a_request(f, 32, 32, 0, 5);
    assert_int_equal(admit(f, &third, 3), FG_OK);
    assert_int_equal(third.computed, 31);
    assert_int_equal(gauges_of(f).blocks_used, BLOCKS);
}

static void an_admission_that_fails_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct request first = a_request(f, 48, 48, 0, 5);
    run(f, &first);
    struct request large = a_request(f, 190, 0, 1, 5);
    assert_int_equal(admit(f, &large, 12), FG_ERR_NO_MEMORY);
    assert_int_equal(gauges_of(f).blocks_used, 3);
    assert_whole(f);
    fg_kv_arena_sequence_close(f->arena, first.id);
    assert_int_equal(admit(f, &large, 12), FG_OK);
}

static void the_peak_test_looks_ahead(void **state)
{
    struct fixture *f = *state;
    struct request first = a_request(f, 80, 0, 1, 5);
    struct request second = a_request(f, 80, 0, 2, 5);
    run(f, &first); /* 5 blocks of 12, and one more before it ends */
    struct fg_kv_admission admission = {
        .tokens = second.tokens, .token_count = 80, .block_count = 5, .must_fit_at_peak = true};
    assert_int_equal(fg_kv_arena_sequence_admit(f->arena, second.id, &admission, second.blocks,
                                                &second.computed),
                     FG_OK);
    struct request third = a_request(f, 10, 0, 3, 5);
    admission = (struct fg_kv_admission){
        .tokens = third.tokens, .token_count = 10, .block_count = 1, .must_fit_at_peak = true};
    /* 11 are in use, but 13 would be when all three are at their longest. */
    assert_int_equal(
        fg_kv_arena_sequence_admit(f->arena, third.id, &admission, third.blocks, &third.computed),
        FG_ERR_NO_MEMORY);
    assert_int_equal(gauges_of(f).blocks_used, 10);
}

static void an_orphan_is_adopted_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct request r = a_request(f, 40, 0, 1, 5);
    run(f, &r);
    fg_kv_arena_sequence_computed(f->arena, r.id, 40);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, r.id, 1, r.blocks + 3), FG_OK);
    assert_true(fg_kv_arena_sequence_record(f->arena, r.id, 4711, 40));
    struct fg_kv_adopted adopted;
    uint32_t blocks[BLOCKS];
    uint32_t tokens[TOKENS_MAX];
    /* Its worker is not known to be dead: nobody gets it. */
    assert_int_equal(
        fg_kv_arena_adopt(f->arena, 1, f->next_key, &adopted, blocks, tokens, TOKENS_MAX),
        FG_ERR_BUSY);
    assert_int_equal(fg_kv_arena_orphan_worker(f->arena, 0, 100), 1);
    assert_int_equal(fg_kv_arena_reclaim_orphans(f->arena, 99), 0);
    assert_int_equal(
        fg_kv_arena_adopt(f->arena, 1, f->next_key + 1, &adopted, blocks, tokens, TOKENS_MAX),
        FG_ERR_NOT_FOUND);
    assert_int_equal(
        fg_kv_arena_adopt(f->arena, 1, f->next_key, &adopted, blocks, tokens, TOKENS_MAX), FG_OK);
    assert_int_equal(adopted.token_count, 41);
    assert_int_equal(adopted.computed, 40);
    assert_int_equal(adopted.block_count, 4);
    assert_int_equal(adopted.info.prompt_count, 40);
    assert_memory_equal(blocks, r.blocks, 4 * sizeof(uint32_t));
    assert_memory_equal(tokens, r.tokens, 40 * sizeof(uint32_t));
    assert_int_equal(tokens[40], 4711);
    /* The old owner's index means nothing any more, the new one's does. */
    assert_int_equal(fg_kv_arena_reclaim_worker(f->arena, 0), 0);
    assert_int_equal(fg_kv_arena_reclaim_worker(f->arena, 1), 1);
    assert_int_equal(gauges_of(f).adopted, 1);
}

static void what_nobody_adopts_comes_free(void **state)
{
    struct fixture *f = *state;
    struct request r = a_request(f, 40, 0, 1, 5);
    struct request idle = a_request(f, 40, 0, 2, 5); /* waits: closed at once */
    run(f, &r);
    fg_kv_arena_sequence_hand_over(f->arena, r.id, 100);
    assert_int_equal(fg_kv_arena_orphan_worker(f->arena, 0, 100), 0);
    assert_int_equal(gauges_of(f).sequences, 1);
    assert_int_equal(gauges_of(f).blocks_used, 3);
    assert_int_equal(fg_kv_arena_reclaim_orphans(f->arena, 100), 1);
    assert_int_equal(gauges_of(f).blocks_used, 0);
    assert_int_equal(gauges_of(f).blocks_cached, 2);
    assert_int_equal(gauges_of(f).orphans_expired, 1);
    fg_kv_arena_sequence_close(f->arena, idle.id);
}

static void a_broken_orphan_is_closed_not_adopted(void **state)
{
    struct fixture *f = *state;
    struct request r = a_request(f, 40, 0, 1, 5);
    struct fg_kv_adopted adopted;
    uint32_t blocks[BLOCKS];
    uint32_t tokens[TOKENS_MAX];
    run(f, &r);
    fg_kv_arena_orphan_worker(f->arena, 0, UINT64_MAX);
    atomic_store(&f->arena->slots[r.id.slot].computed, 400);
    assert_int_equal(
        fg_kv_arena_adopt(f->arena, 1, f->next_key, &adopted, blocks, tokens, TOKENS_MAX),
        FG_ERR_NOT_FOUND);
    assert_int_equal(gauges_of(f).sequences, 0);
    struct request fits_not = a_request(f, 40, 0, 1, 5);
    run(f, &fits_not);
    fg_kv_arena_orphan_worker(f->arena, 0, UINT64_MAX);
    assert_int_equal(fg_kv_arena_adopt(f->arena, 1, f->next_key, &adopted, blocks, tokens, 39),
                     FG_ERR_NOT_FOUND);
    assert_int_equal(fg_kv_arena_reclaim_orphans(f->arena, 0), 0);
    assert_int_equal(gauges_of(f).orphaned, gauges_of(f).orphans_expired);
}

static void waste_is_what_no_token_fills(void **state)
{
    struct fixture *f = *state;
    struct request r = a_request(f, 40, 0, 1, 5);
    assert_int_equal(admit(f, &r, 4), FG_OK);
    assert_int_equal(fg_kv_arena_slots(f->arena).wasted, 24);
    fg_kv_arena_sequence_record(f->arena, r.id, 1, 40);
    assert_int_equal(fg_kv_arena_slots(f->arena).wasted, 23);
}

int main(void)
{
#define WITH_ARENA(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_ARENA(a_prefix_is_found_after_its_sequence_has_gone),
        WITH_ARENA(another_tenant_finds_nothing),
        WITH_ARENA(the_same_tokens_elsewhere_are_not_the_same),
        WITH_ARENA(two_at_once_compute_it_once),
        WITH_ARENA(the_least_recently_used_and_deepest_goes_first),
        WITH_ARENA(a_shared_tail_is_copied_on_write),
        WITH_ARENA(an_admission_that_fails_changes_nothing),
        WITH_ARENA(the_peak_test_looks_ahead),
        WITH_ARENA(an_orphan_is_adopted_as_it_was),
        WITH_ARENA(what_nobody_adopts_comes_free),
        WITH_ARENA(a_broken_orphan_is_closed_not_adopted),
        WITH_ARENA(waste_is_what_no_token_fills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
