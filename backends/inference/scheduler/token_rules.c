/*
 * token_rules.c: a token is drawn first and judged then; only when it may not come is the whole
 * vocabulary judged, once, and another one drawn from what is left. So a model that writes JSON by
 * itself pays for one token, and what is drawn is distributed as if all had been judged before.
 */
#include "inference/scheduler/token_rules.h"

#include <math.h>
#include <stdlib.h>

#define SECOND_DRAW UINT64_C(0xd1b54a32d192ed03) /* another random number for the same position */

/* Of all choices of a request: compiling it may take milliseconds. */
struct shared_schema {
    uint32_t users;
    struct fg_json_schema schema;
};

struct fg_token_rules {
    struct fg_token_bias *biases;
    uint32_t bias_count;
    struct shared_schema *shared; /* NULL: no JSON is asked for */
    struct fg_json_machine machine;
    struct fg_json_machine scratch;
};

static void release_schema(struct shared_schema *shared)
{
    if (shared == NULL || --shared->users > 0)
        return;
    fg_json_schema_fini(&shared->schema);
    free(shared);
}

/* Takes a use of `shared` over, also where it fails. */
static enum fg_status make(struct fg_token_rules **out, const struct fg_token_bias *biases,
                           uint32_t bias_count, struct shared_schema *shared)
{
    struct fg_token_rules *rules = calloc(1, sizeof(*rules));
    struct fg_token_bias *copies = malloc((bias_count + 1) * sizeof(*copies));
    if (rules == NULL || copies == NULL) {
        release_schema(shared);
        free(copies);
        free(rules);
        return FG_ERR_NO_MEMORY;
    }
    if (bias_count > 0)
        memcpy(copies, biases, bias_count * sizeof(*copies));
    rules->biases = copies;
    rules->bias_count = bias_count;
    rules->shared = shared;
    if (shared != NULL)
        fg_json_machine_init(&rules->machine, &shared->schema);
    *out = rules;
    return FG_OK;
}

enum fg_status fg_token_rules_create(struct fg_token_rules **out,
                                     const struct fg_token_rules_options *options,
                                     struct fg_error *error)
{
    struct shared_schema *shared = NULL;
    *out = NULL;
    if (options->bias_count == 0 && !options->is_json)
        return FG_OK;
    if (options->is_json) {
        shared = malloc(sizeof(*shared));
        if (shared == NULL)
            return FG_ERR_NO_MEMORY;
        shared->users = 1;
        if (fg_json_schema_compile(&shared->schema, options->schema, error) != FG_OK) {
            free(shared);
            return FG_ERR_CONFIG;
        }
    }
    return make(out, options->biases, options->bias_count, shared);
}

enum fg_status fg_token_rules_copy(struct fg_token_rules **out, const struct fg_token_rules *rules)
{
    *out = NULL;
    if (rules == NULL)
        return FG_OK;
    if (rules->shared != NULL)
        rules->shared->users++;
    return make(out, rules->biases, rules->bias_count, rules->shared);
}

void fg_token_rules_destroy(struct fg_token_rules *rules)
{
    if (rules == NULL)
        return;
    release_schema(rules->shared);
    free(rules->biases);
    free(rules);
}

static bool mark(const struct fg_token_marks *marks, uint32_t token)
{
    uint64_t bit = UINT64_C(1) << (token % 64);
    bool was_marked = (marks->bits[token / 64] & bit) != 0;
    marks->bits[token / 64] |= bit;
    return !was_marked;
}

static void clear_marks(const struct fg_token_marks *marks, const struct fg_token_history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        if (history->tokens[i] < marks->vocab_count)
            marks->bits[history->tokens[i] / 64] = 0;
    }
}

static bool asks_for_penalties(const struct fg_sampling *sampling)
{
    bool repetition = sampling->repetition_penalty > 0 &&
                      (sampling->repetition_penalty < 1 || sampling->repetition_penalty > 1);
    return repetition || sampling->frequency_penalty < 0 || sampling->frequency_penalty > 0 ||
           sampling->presence_penalty < 0 || sampling->presence_penalty > 0;
}

/* Each token once for repetition, in the whole text; what was generated, for the other two. */
static void apply_penalties(const struct fg_sampling *sampling,
                            const struct fg_token_history *history,
                            const struct fg_token_marks *marks, float *logits)
{
    float repetition = sampling->repetition_penalty > 0 ? sampling->repetition_penalty : 1;
    for (size_t i = 0; i < history->count; i++) {
        uint32_t token = history->tokens[i];
        if (token < marks->vocab_count && mark(marks, token))
            logits[token] =
                logits[token] > 0 ? logits[token] / repetition : logits[token] * repetition;
    }
    clear_marks(marks, history);
    for (size_t i = history->prompt_count; i < history->count; i++) {
        uint32_t token = history->tokens[i];
        if (token >= marks->vocab_count)
            continue;
        logits[token] -= sampling->frequency_penalty;
        if (mark(marks, token))
            logits[token] -= sampling->presence_penalty;
    }
    clear_marks(marks, history);
}

static bool may_come(struct fg_token_rules *rules, const struct fg_tokenizer *tokenizer,
                     uint32_t token)
{
    if (fg_tokenizer_is_end(tokenizer, token))
        return fg_json_machine_may_end(&rules->machine);
    return fg_json_machine_allows(&rules->machine, fg_tokenizer_bytes(tokenizer, token),
                                  &rules->scratch);
}

/* Which bytes may come next, and which behind a space, with which a third of all tokens begin: most
 * tokens need no other look. */
struct first_bytes {
    bool allowed[256];
    bool allowed_behind_space[256];
};

static void judge_bytes(struct fg_token_rules *rules, struct first_bytes *first)
{
    for (unsigned i = 0; i < 256; i++) {
        const char bytes[2] = {' ', (char)i};
        first->allowed[i] =
            fg_json_machine_allows(&rules->machine, fg_span_make(bytes + 1, 1), &rules->scratch);
        first->allowed_behind_space[i] =
            fg_json_machine_allows(&rules->machine, fg_span_make(bytes, 2), &rules->scratch);
    }
}

static bool begins_well(const struct first_bytes *first, struct fg_span bytes)
{
    return bytes.len == 0 || (bytes.len > 1 && bytes.data[0] == ' '
                                  ? first->allowed_behind_space[(unsigned char)bytes.data[1]]
                                  : first->allowed[(unsigned char)bytes.data[0]]);
}

/* False when nothing may come. */
static bool forbid_the_rest(struct fg_token_rules *rules, const struct fg_tokenizer *tokenizer,
                            uint32_t vocab_count, float *logits)
{
    bool is_any_left = false;
    struct first_bytes first;
    judge_bytes(rules, &first);
    for (uint32_t token = 0; token < vocab_count; token++) {
        if (!begins_well(&first, fg_tokenizer_bytes(tokenizer, token)) || isnan(logits[token]) ||
            !may_come(rules, tokenizer, token))
            logits[token] = -INFINITY;
        else
            is_any_left |= logits[token] > -INFINITY;
    }
    return is_any_left;
}

uint32_t fg_token_rules_pick(struct fg_token_rules *rules, const struct fg_sampling *sampling,
                             const struct fg_tokenizer *tokenizer,
                             const struct fg_token_history *history,
                             const struct fg_token_marks *marks, float *logits,
                             struct fg_sampler_scratch *scratch)
{
    uint32_t vocab_count = marks->vocab_count;
    for (uint32_t i = 0; rules != NULL && i < rules->bias_count; i++) {
        if (rules->biases[i].token < vocab_count)
            logits[rules->biases[i].token] += rules->biases[i].bias;
    }
    if (asks_for_penalties(sampling))
        apply_penalties(sampling, history, marks, logits);
    uint32_t token = fg_sampler_pick(sampling, logits, vocab_count, history->count, scratch);
    if (rules == NULL || rules->shared == NULL || may_come(rules, tokenizer, token))
        return token;
    if (!forbid_the_rest(rules, tokenizer, vocab_count, logits))
        return UINT32_MAX;
    struct fg_sampling again = *sampling;
    again.seed ^= SECOND_DRAW;
    return fg_sampler_pick(&again, logits, vocab_count, history->count, scratch);
}

bool fg_token_rules_may_end(const struct fg_token_rules *rules)
{
    return rules == NULL || rules->shared == NULL || fg_json_machine_may_end(&rules->machine);
}

bool fg_token_rules_take(struct fg_token_rules *rules, const struct fg_tokenizer *tokenizer,
                         uint32_t token)
{
    if (rules == NULL || rules->shared == NULL)
        return false;
    bool is_taken = fg_json_machine_take(&rules->machine, fg_tokenizer_bytes(tokenizer, token));
    return !is_taken || fg_json_machine_is_over(&rules->machine);
}
