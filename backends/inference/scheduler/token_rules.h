/*
 * token_rules.h: what a request asks of its tokens beyond how they are drawn: biases, penalties for
 * repetition, JSON that keeps to a schema.
 * Job      change a row of logits before it is sampled, forbid what may not come, and follow what
 *          did.
 * Thread   the worker's loop, but for create, which may run on a helper.
 * Memory   one object a sequence that has rules, with its biases; a compiled schema a request.
 * Source   repetition penalty: Keskar et al. 2019 (CTRL); frequency and presence penalty: the
 * OpenAI API reference; order of application as in vLLM (bias, penalties, then temperature).
 */
#ifndef FG_INFERENCE_TOKEN_RULES_H
#define FG_INFERENCE_TOKEN_RULES_H

#include "inference/grammar/json_machine.h"
#include "inference/scheduler/sampler.h"
#include "inference/tokenizer/tokenizer.h"

struct fg_token_bias {
    uint32_t token;
    float bias; /* added to the logit */
};

struct fg_token_rules;

struct fg_token_rules_options {
    const struct fg_token_bias *biases; /* (bias_count), copied */
    uint32_t bias_count;
    bool is_json;
    struct fg_span schema; /* is_json: JSON Schema; empty: any object */
};

/* *out stays NULL when nothing is asked for. FG_ERR_CONFIG with *error, FG_ERR_NO_MEMORY. */
FG_MUST_USE enum fg_status fg_token_rules_create(struct fg_token_rules **out,
                                                 const struct fg_token_rules_options *options,
                                                 struct fg_error *error);
/*
 * The same for another answer to the same request, none of whose tokens have come. They share the
 * schema, so both are the same thread's. FG_ERR_NO_MEMORY. NULL makes NULL.
 */
FG_MUST_USE enum fg_status fg_token_rules_copy(struct fg_token_rules **out,
                                               const struct fg_token_rules *rules);
/* NULL is fine. */
void fg_token_rules_destroy(struct fg_token_rules *rules);

/* What came before the token that is to be drawn. */
struct fg_token_history {
    const uint32_t *tokens; /* (count) the prompt, then what was generated */
    size_t count;
    size_t prompt_count;
};

/* A bit for each token of the vocabulary, all clear between calls. */
struct fg_token_marks {
    uint64_t *bits; /* (vocab_count + 63) / 64 */
    uint32_t vocab_count;
};

/*
 * Draw the next token under `rules` (NULL: penalties alone). `logits` is changed. UINT32_MAX: no
 * token of the vocabulary may come, and the answer is over.
 */
uint32_t fg_token_rules_pick(struct fg_token_rules *rules, const struct fg_sampling *sampling,
                             const struct fg_tokenizer *tokenizer,
                             const struct fg_token_history *history,
                             const struct fg_token_marks *marks, float *logits,
                             struct fg_sampler_scratch *scratch);

/* `token` has come. True when nothing may follow it. NULL rules: never. */
bool fg_token_rules_take(struct fg_token_rules *rules, const struct fg_tokenizer *tokenizer,
                         uint32_t token);

/* Whether what has come may be the whole answer. */
bool fg_token_rules_may_end(const struct fg_token_rules *rules);

#endif
