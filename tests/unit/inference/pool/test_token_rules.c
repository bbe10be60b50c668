/*
 * test_token_rules.c: biases, penalties and schemas on rows of logits, over a vocabulary of bytes.
 */
#include "inference/scheduler/logprobs.h"
#include "inference/scheduler/token_rules.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* A byte is its own token; the one behind them ends an answer. */
#define END 256u
#define VOCAB 257u

static char bytes[256];

struct fg_span fg_tokenizer_bytes(const struct fg_tokenizer *tokenizer, uint32_t id)
{
    (void)tokenizer;
    return id < END ? fg_span_make(&bytes[id], 1) : fg_span_make(NULL, 0);
}

bool fg_tokenizer_is_end(const struct fg_tokenizer *tokenizer, uint32_t id)
{
    (void)tokenizer;
    return id == END;
}

struct fixture {
    struct fg_sampler_scratch *scratch;
    uint64_t bits[(VOCAB + 63) / 64];
    struct fg_token_marks marks;
    float logits[VOCAB];
    struct fg_sampling sampling;
};

static void setup(struct fixture *f)
{
    *f = (struct fixture){.sampling = {.top_p = 1}};
    f->scratch = fg_sampler_scratch_create(VOCAB);
    f->marks = (struct fg_token_marks){f->bits, VOCAB};
    for (unsigned i = 0; i < 256; i++)
        bytes[i] = (char)i;
}

static uint32_t pick(struct fixture *f, struct fg_token_rules *rules, const uint32_t *tokens,
                     size_t count, size_t prompt_count)
{
    const struct fg_token_history history = {tokens, count, prompt_count};
    uint32_t token =
        fg_token_rules_pick(rules, &f->sampling, NULL, &history, &f->marks, f->logits, f->scratch);
    for (size_t i = 0; i < sizeof(f->bits) / sizeof(f->bits[0]); i++)
        assert_true(f->bits[i] == 0);
    return token;
}

static void penalties_change_what_was_seen(void **state)
{
    (void)state;
    struct fixture f;
    const uint32_t tokens[] = {'a', 'b', 'a', 'a'};
    setup(&f);
    f.logits['a'] = 4;
    f.logits['b'] = -4;
    f.logits['c'] = 1;
    f.sampling.repetition_penalty = 2;
    assert_int_equal(pick(&f, NULL, tokens, 4, 4), 'a');
    assert_true(f.logits['a'] > 1.9f && f.logits['a'] < 2.1f);   /* once, however often seen */
    assert_true(f.logits['b'] < -7.9f && f.logits['b'] > -8.1f); /* away from zero */
    f.sampling.repetition_penalty = 1;
    f.sampling.frequency_penalty = 0.5f;
    f.sampling.presence_penalty = 0.25f;
    f.logits['a'] = 2;
    assert_int_equal(pick(&f, NULL, tokens, 4, 2), 'c'); /* 2 - 2 * 0.5 - 0.25 */
    assert_true(f.logits['a'] > 0.74f && f.logits['a'] < 0.76f);
    assert_true(f.logits['b'] < -7.9f); /* of the prompt */
    fg_sampler_scratch_destroy(f.scratch);
}

static void biases_are_added(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_token_rules *rules;
    struct fg_error error;
    const struct fg_token_bias biases[] = {{'x', 100}, {'y', -100}, {VOCAB + 5, 100}};
    const struct fg_token_rules_options options = {.biases = biases, .bias_count = 3};
    setup(&f);
    f.logits['y'] = 50;
    assert_int_equal(fg_token_rules_create(&rules, &options, &error), FG_OK);
    assert_int_equal(pick(&f, rules, NULL, 0, 0), 'x');
    assert_false(fg_token_rules_take(rules, NULL, 'x'));
    fg_token_rules_destroy(rules);
    fg_sampler_scratch_destroy(f.scratch);
}

/* What comes out when `wish` is the likeliest text that there is. */
static void write_json(struct fixture *f, struct fg_token_rules *rules, const char *wish, char *out)
{
    size_t len = 0;
    bool is_over = false;
    while (!is_over) {
        assert_true(len < 60);
        for (unsigned i = 0; i < VOCAB; i++)
            f->logits[i] = -(float)i / 100;
        f->logits[END] = 5;
        if (len < strlen(wish))
            f->logits[(unsigned char)wish[len]] = 10;
        uint32_t token = pick(f, rules, NULL, 0, 0);
        if (token == END)
            break;
        out[len++] = (char)token;
        is_over = fg_token_rules_take(rules, NULL, token);
    }
    out[len] = '\0';
}

static void json_is_kept_to(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_token_rules *rules;
    struct fg_error error;
    char out[64];
    const struct fg_token_rules_options options = {
        .is_json = true,
        .schema =
            FG_SPAN("{\"type\":\"object\",\"properties\":{\"n\":{\"enum\":[\"tea\",\"milk\"]}},"
                    "\"required\":[\"n\"]}")};
    setup(&f);
    assert_int_equal(fg_token_rules_create(&rules, &options, &error), FG_OK);
    write_json(&f, rules, "{\"n\":\"milk\"}", out);
    assert_string_equal(out, "{\"n\":\"milk\"}");
    fg_token_rules_destroy(rules);
    assert_int_equal(fg_token_rules_create(&rules, &options, &error), FG_OK);
    write_json(&f, rules, "{\"n\":\"mock\"}", out);
    assert_string_equal(out, "{\"n\":\"milk\"}");
    fg_token_rules_destroy(rules);
    fg_sampler_scratch_destroy(f.scratch);
}

/* Choices of one request: what one has written says nothing to the others, nor that it has gone. */
static void copies_share_a_schema(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_token_rules *first, *second, *none;
    struct fg_error error;
    char out[64];
    const struct fg_token_bias bias = {'x', 1};
    const struct fg_token_rules_options options = {
        .biases = &bias, .bias_count = 1, .is_json = true, .schema = FG_SPAN("{\"enum\":[1,22]}")};
    setup(&f);
    assert_int_equal(fg_token_rules_create(&first, &options, &error), FG_OK);
    assert_int_equal(fg_token_rules_copy(&second, first), FG_OK);
    write_json(&f, first, "1", out);
    assert_string_equal(out, "1");
    fg_token_rules_destroy(first);
    write_json(&f, second, "29", out);
    assert_string_equal(out, "22");
    fg_token_rules_destroy(second);
    assert_int_equal(fg_token_rules_copy(&none, NULL), FG_OK);
    assert_null(none);
    fg_sampler_scratch_destroy(f.scratch);
}

/* A vocabulary without a byte that has to come: the answer cannot go on, and is not whole. */
static void an_answer_that_cannot_go_on_is_not_whole(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_token_rules *rules;
    struct fg_error error;
    const struct fg_token_rules_options options = {.is_json = true,
                                                   .schema = FG_SPAN("{\"const\":\"}\"}")};
    setup(&f);
    for (unsigned i = 0; i < VOCAB; i++)
        f.logits[i] = i == '}' ? NAN : 0;
    assert_true(fg_token_rules_may_end(NULL));
    assert_int_equal(fg_token_rules_create(&rules, &options, &error), FG_OK);
    f.sampling.temperature = 1;
    assert_false(fg_token_rules_take(rules, NULL, '"'));
    assert_int_equal(pick(&f, rules, NULL, 0, 0), UINT32_MAX);
    assert_false(fg_token_rules_may_end(rules));
    assert_false(fg_token_rules_take(rules, NULL, '}'));
    assert_true(fg_token_rules_take(rules, NULL, '"'));
    assert_true(fg_token_rules_may_end(rules));
    fg_token_rules_destroy(rules);
    fg_sampler_scratch_destroy(f.scratch);
}

static void bad_schemas_are_told(void **state)
{
    (void)state;
    struct fg_token_rules *rules;
    struct fg_error error;
    const struct fg_token_rules_options none = {0};
    const struct fg_token_rules_options bad = {.is_json = true,
                                               .schema = FG_SPAN("{\"type\":\"tea\"}")};
    assert_int_equal(fg_token_rules_create(&rules, &none, &error), FG_OK);
    assert_null(rules);
    assert_int_equal(fg_token_rules_create(&rules, &bad, &error), FG_ERR_CONFIG);
    assert_null(rules);
    assert_non_null(strstr(error.message, "'type'"));
}

static void logprobs_add_up(void **state)
{
    (void)state;
    const float logits[] = {1, NAN, 3, 2, 3, -INFINITY};
    struct fg_logprobs logprobs;
    fg_logprobs_compute(&logprobs, logits, 6, 3);
    assert_int_equal(logprobs.count, 3);
    assert_int_equal(logprobs.top[0].token, 2);
    assert_int_equal(logprobs.top[1].token, 4);
    assert_int_equal(logprobs.top[2].token, 3);
    double sum = 0;
    for (size_t i = 0; i < 6; i++)
        sum += isnan(logits[i]) ? 0 : exp((double)fg_logprobs_of(&logprobs, logits[i]));
    assert_true(fabs(sum - 1) < 1e-6);
    assert_true(fg_logprobs_of(&logprobs, -INFINITY) <= -9999);
    fg_logprobs_compute(&logprobs, logits, 6, 0);
    assert_int_equal(logprobs.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(penalties_change_what_was_seen),
        cmocka_unit_test(biases_are_added),
        cmocka_unit_test(json_is_kept_to),
        cmocka_unit_test(copies_share_a_schema),
        cmocka_unit_test(an_answer_that_cannot_go_on_is_not_whole),
        cmocka_unit_test(bad_schemas_are_told),
        cmocka_unit_test(logprobs_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
