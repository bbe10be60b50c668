/*
 * fake_model.c: fg_executor_step and the tokenizer calls that a scheduler makes, for tests.
 */
#include "fake_model.h"

#include "base/counters_shared.h"

#include <assert.h>
#include <stdlib.h>

#define CONTEXT_MAX 4096u

uint32_t fake_next_letter(const uint32_t *tokens, uint32_t count)
{
    return (tokens[count - 1] + 1) % 26;
}

uint32_t fake_next_hashed(const uint32_t *tokens, uint32_t count)
{
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < count; i++)
        hash = (hash ^ tokens[i]) * 16777619u;
    return (hash >> 8) % 26;
}

static uint32_t *cell(const struct fg_executor *executor, const uint32_t *table, uint32_t position)
{
    uint32_t block = table[position / FG_KV_BLOCK_TOKENS];
    assert(block < executor->store.block_count);
    unsigned char *data = (unsigned char *)fg_kv_keys(&executor->store, block, 0);
    return (uint32_t *)(void *)data + position % FG_KV_BLOCK_TOKENS;
}

static void run_one(const struct fg_executor *executor, const struct fg_batch_run *run)
{
    static uint32_t tokens[CONTEXT_MAX];
    uint32_t end = run->start_position + run->count;
    assert(run->count > 0 && end <= CONTEXT_MAX);
    for (uint32_t i = 0; i < run->count; i++) {
        assert(run->tokens[i] < FAKE_VOCAB);
        *cell(executor, run->block_table, run->start_position + i) = run->tokens[i];
    }
    if (run->logits == NULL)
        return;
    for (uint32_t i = 0; i < end; i++)
        tokens[i] = *cell(executor, run->block_table, i);
    uint32_t next = executor->next(tokens, end);
    for (uint32_t i = 0; i < FAKE_VOCAB; i++)
        run->logits[i] = i == next ? 10.0f : (float)(i % 7);
}

void fg_executor_step(struct fg_executor *executor, const struct fg_batch_run *runs,
                      size_t run_count)
{
    assert(run_count <= FAKE_RUNS_MAX);
    if (executor->step_count < FAKE_STEPS_MAX) {
        struct fake_step *step = &executor->steps[executor->step_count];
        step->run_count = run_count;
        for (size_t i = 0; i < run_count; i++) {
            step->counts[i] = runs[i].count;
            step->starts[i] = runs[i].start_position;
        }
    }
    executor->step_count++;
    fg_counter_add(executor->beats, run_count);
    for (size_t i = 0; i < run_count; i++)
        run_one(executor, &runs[i]);
    if (executor->on_step != NULL)
        executor->on_step();
}

void fg_executor_set_beats(struct fg_executor *executor, struct fg_counter *beats)
{
    executor->beats = beats;
}

bool fg_tokenizer_is_end(const struct fg_tokenizer *tokenizer, uint32_t id)
{
    (void)tokenizer;
    return id == FAKE_END;
}

struct fg_span fg_tokenizer_bytes(const struct fg_tokenizer *tokenizer, uint32_t id)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    (void)tokenizer;
    return id < 26 ? fg_span_make(letters + id, 1) : fg_span_make(NULL, 0);
}

size_t fg_tokenizer_push_bytes_max(const struct fg_tokenizer *tokenizer)
{
    (void)tokenizer;
    return 16;
}

static size_t put(char *text, const char *bytes, size_t count)
{
    memcpy(text, bytes, count);
    return count;
}

size_t fg_detokenizer_push(struct fg_detokenizer *detok, const struct fg_tokenizer *tokenizer,
                           uint32_t id, char *text, size_t text_bytes)
{
    (void)tokenizer;
    assert(text_bytes >= 16);
    if (id < 26) {
        text[0] = (char)('a' + id);
        return 1;
    }
    if (id == 26)
        return put(text, "\xe2\x82\xac", 3);
    if (id == 27) {
        detok->held_count = 2;
        return 0;
    }
    if (id == 28) {
        bool is_whole = detok->held_count == 2;
        detok->held_count = 0;
        return put(text, is_whole ? "\xe2\x82\xac" : "\xef\xbf\xbd", 3);
    }
    return 0;
}

size_t fg_detokenizer_finish(struct fg_detokenizer *detok, char *text, size_t text_bytes)
{
    assert(text_bytes >= 3);
    size_t held = detok->held_count;
    detok->held_count = 0;
    return held > 0 ? put(text, "\xef\xbf\xbd", 3) : 0;
}

void fg_token_list_fini(struct fg_token_list *list)
{
    free(list->ids);
    *list = (struct fg_token_list){0};
}
