/*
 * fake_model.h: an executor and a tokenizer for scheduler tests, in place of the real ones.
 * Job      "computes" by writing each token into its KV block and predicting from all tokens that
 * the block table leads to, so that a wrong table, position or chunk gives another answer.
 *
 *    token 0..25 is a letter, 26 the euro sign, 27 and 28 its first two bytes and its last one,
 *    30 ends a generation, 31 is silent
 */
#ifndef FG_TEST_FAKE_MODEL_H
#define FG_TEST_FAKE_MODEL_H

#include "inference/model/executor.h"
#include "inference/tokenizer/tokenizer.h"

#define FAKE_VOCAB 32u
#define FAKE_END 30u
#define FAKE_STEPS_MAX 512u
#define FAKE_RUNS_MAX 16u

/* The next token after `tokens` (count). */
typedef uint32_t (*fake_next_fn)(const uint32_t *tokens, uint32_t count);

struct fake_step {
    size_t run_count;
    uint32_t counts[FAKE_RUNS_MAX];
    uint32_t starts[FAKE_RUNS_MAX];
};

struct fg_executor {
    struct fg_kv_store store;
    struct fg_counter *beats; /* one a run */
    fake_next_fn next;
    size_t step_count;
    struct fake_step steps[FAKE_STEPS_MAX]; /* the first ones */
    void (*on_step)(void);                  /* NULL: nothing */
};

/* Letters in turn: the one after the last token. */
uint32_t fake_next_letter(const uint32_t *tokens, uint32_t count);
/* A letter that depends on every token before it. */
uint32_t fake_next_hashed(const uint32_t *tokens, uint32_t count);

#endif
