/*
 * scheduler_fixture.c: see scheduler_fixture.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "scheduler_fixture.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const struct fg_kv_shape fixture_shape = {.layer_count = 1, .kv_head_count = 1, .head_dim = 4};
uint64_t clock_now;

static uint64_t fake_clock(void)
{
    return clock_now;
}

static void on_token(const struct fg_scheduler_key *key, const struct fg_channel_token *token,
                     void *owner)
{
    struct fixture *f = owner;
    struct outcome *o = &f->outcomes[key->request_id];
    assert_false(o->is_done || o->is_refused);
    assert_true(o->token_count < OUTPUT_MAX);
    if (o->token_count == 0) {
        o->order = f->first_tokens++;
        o->token_count = token->index; /* a resumed one starts further on */
    }
    assert_int_equal(token->index, o->token_count);
    o->text_bytes[o->token_count] = strlen(o->text);
    o->tokens[o->token_count++] = token->token;
    strncat(o->text, token->text.data, token->text.len);
}

static void on_done(const struct fg_scheduler_key *key, const struct fg_channel_done *done,
                    void *owner)
{
    struct outcome *o = &((struct fixture *)owner)->outcomes[key->request_id];
    assert_false(o->is_done || o->is_refused);
    o->is_done = true;
    o->done = *done;
    if (o->prompt_tokens != 0) /* what was resumed at its end begins nothing */
        assert_int_equal(o->prompt_tokens, done->prompt_tokens);
    strncat(o->text, done->text.data, done->text.len);
}

static void on_refused(const struct fg_scheduler_key *key, const struct fg_channel_refused *refused,
                       void *owner)
{
    struct outcome *o = &((struct fixture *)owner)->outcomes[key->request_id];
    assert_false(o->is_done || o->is_refused);
    o->is_refused = true;
    o->refused = *refused;
    snprintf(o->message, sizeof(o->message), "%.*s", FG_SPAN_ARGS(refused->message));
    assert_true(refused->message.len > 10);
}

static void on_begun(const struct fg_scheduler_key *key, uint32_t prompt_tokens, void *owner)
{
    struct outcome *o = &((struct fixture *)owner)->outcomes[key->request_id];
    assert_false(o->is_done || o->is_refused);
    o->prompt_tokens = prompt_tokens;
}

int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->fd = -1;
    f->executor.next = fake_next_hashed;
    f->conf = (struct fg_inference_conf){
        .worker_count = 2,
        .kv_bytes = 64 * fg_kv_block_bytes(&fixture_shape),
        .sequences_max = 32,
        .step_tokens_max = 32,
        .prefill_chunk = 16,
        .batch_max = 4,
        .waiting_max = 8,
        .wait_max_ns = 10 * FG_S,
        .worker_hang_ns = FG_S,
        .admission = FG_KV_ADMIT_RESERVE,
        .prefix_sharing = FG_PREFIX_OFF,
        .orphan_keep_ns = 5 * FG_S,
    };
    clock_now = 1000 * FG_S;
    *state = f;
    return 0;
}

static struct fg_scheduler *make(struct fixture *f, uint32_t worker_index)
{
    struct fg_error error = {0};
    struct fg_scheduler *scheduler = NULL;
    struct fg_scheduler_options options = {
        .conf = &f->conf,
        .context_max = 512,
        .vocab_count = FAKE_VOCAB,
        .worker_index = worker_index,
        .hands_over_after_prefill = f->hands_over_after_prefill,
        .arena = f->arena,
        .executor = &f->executor,
        .events = {on_token, on_done, on_refused, on_begun, f},
        .clock_ns = fake_clock,
    };
    assert_int_equal(fg_scheduler_create(&scheduler, &options, &error), FG_OK);
    return scheduler;
}

void start(struct fixture *f)
{
    fg_scheduler_destroy(f->scheduler);
    fg_scheduler_destroy(f->other);
    f->other = NULL;
    fg_kv_arena_detach(f->arena);
    if (f->fd != -1)
        close(f->fd);
    memset(f->outcomes, 0, sizeof(f->outcomes));
    f->first_tokens = 0;
    f->executor.step_count = 0;
    f->fd = memfd_create("test-kv", MFD_CLOEXEC);
    struct fg_error error = {0};
    assert_int_equal(fg_kv_arena_create(&f->arena, f->fd, &f->conf, &fixture_shape, &error), FG_OK);
    f->executor.store = fg_kv_arena_store(f->arena);
    f->scheduler = make(f, 1);
}

void start_other(struct fixture *f)
{
    fg_scheduler_destroy(f->other);
    f->other = make(f, 0);
}

uint64_t free_blocks(const struct fixture *f)
{
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(f->arena, &gauges);
    return gauges.blocks_free + gauges.blocks_cached;
}

int tear_down(void **state)
{
    struct fixture *f = *state;
    fg_scheduler_destroy(f->scheduler);
    fg_scheduler_destroy(f->other);
    if (f->arena != NULL) {
        const char *why = NULL;
        if (!fg_kv_arena_check(f->arena, &why))
            fail_msg("%s", why);
        assert_int_equal(free_blocks(f), f->executor.store.block_count);
        fg_kv_arena_detach(f->arena);
        close(f->fd);
    }
    free(f);
    return 0;
}

uint32_t a_number(enum fg_priority priority, uint32_t cohort)
{
    return fg_priority_compound(priority, cohort);
}

/* A request with defaults; tests change what they are about. */
struct fg_channel_submit *a_submit(uint32_t max_tokens)
{
    static struct fg_channel_submit submit;
    memset(&submit, 0, sizeof(submit));
    submit.priority_number = a_number(FG_PRIORITY_NORMAL, 64);
    submit.max_tokens = max_tokens;
    submit.sampling.top_p = 1;
    submit.choice_count = 1;
    return &submit;
}

struct fg_token_list prompt_of(uint32_t count, uint32_t seed)
{
    struct fg_token_list list = {.ids = malloc((count + 1) * sizeof(uint32_t)), .count = count};
    assert_non_null(list.ids);
    for (uint32_t i = 0; i < count; i++)
        list.ids[i] = (seed + i * 5) % 26;
    return list;
}

struct fg_scheduler_ticket enter(struct fixture *f, uint64_t id,
                                 const struct fg_channel_submit *submit)
{
    struct fg_scheduler_key key = {1, id};
    struct fg_scheduler_ticket ticket = {0, 0};
    enum fg_status status = fg_scheduler_enter(f->scheduler, &key, submit, &ticket);
    assert_int_equal(status, f->outcomes[id].is_refused ? FG_ERR_BUSY : FG_OK);
    return ticket;
}

void submit_as(struct fixture *f, uint64_t id, uint32_t prompt_count,
               const struct fg_channel_submit *submit)
{
    struct fg_scheduler_ticket ticket = enter(f, id, submit);
    if (f->outcomes[id].is_refused)
        return;
    struct fg_token_list prompt = prompt_of(prompt_count, (uint32_t)id);
    fg_scheduler_submit(f->scheduler, ticket, &prompt, submit->resumed, submit->resumed_count);
    assert_null(prompt.ids);
}

void submit_tokens(struct fixture *f, struct fg_scheduler *scheduler, uint64_t id,
                   const uint32_t *tokens, uint32_t count, const struct fg_channel_submit *submit)
{
    struct fg_scheduler_key key = {1, id};
    struct fg_scheduler_ticket ticket;
    enum fg_status status = fg_scheduler_enter(scheduler, &key, submit, &ticket);
    assert_int_equal(status, f->outcomes[id].is_refused ? FG_ERR_BUSY : FG_OK);
    if (status != FG_OK)
        return;
    struct fg_token_list prompt = {.ids = malloc(count * sizeof(*tokens)), .count = count};
    assert_non_null(prompt.ids);
    memcpy(prompt.ids, tokens, count * sizeof(*tokens));
    fg_scheduler_submit(scheduler, ticket, &prompt, submit->resumed, submit->resumed_count);
}

void submit(struct fixture *f, uint64_t id, uint32_t prompt_count, uint32_t max_tokens)
{
    submit_as(f, id, prompt_count, a_submit(max_tokens));
}

void cancel(struct fixture *f, uint64_t id)
{
    struct fg_scheduler_key key = {1, id};
    fg_scheduler_cancel(f->scheduler, &key);
}

void run_dry(struct fixture *f)
{
    for (int i = 0; i < 2000 && fg_scheduler_step(f->scheduler); i++)
        clock_now += FG_MS;
}

void assert_same_outcome(const struct outcome *a, const struct outcome *b)
{
    assert_true(a->is_done && b->is_done);
    assert_int_equal(a->token_count, b->token_count);
    assert_memory_equal(a->tokens, b->tokens, a->token_count * sizeof(a->tokens[0]));
    assert_string_equal(a->text, b->text);
}
