/*
 * test_executor.c: recorded outputs, float64 on odd shapes, and the same numbers in any batch.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden_models.h"
#include "reference_forward.h"
#include "tiny_gguf.h"

/* Calls that succeed before one fails; negative: all do. */
static struct fg_batch_run a_run(const uint32_t *tokens, uint32_t count, uint32_t start,
                                 const uint32_t *block_table, float *logits)
{
    return (struct fg_batch_run){.tokens = tokens,
                                 .count = count,
                                 .start_position = start,
                                 .block_table = block_table,
                                 .logits = logits};
}

static long calls_until_failure = -1;

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);

static bool fails_now(void)
{
    return calls_until_failure >= 0 && calls_until_failure-- == 0;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails_now() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails_now() ? NULL : __real_aligned_alloc(alignment, bytes);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    return fails_now() ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}

/* Rows of logits kept at a time: a step of this many one-token runs. */
#define WINDOW 32
#define BLOCKS 32

/* How far a type may be from what was recorded, with the F16 KV cache's part in it. */
struct bound {
    const char *type;
    const char *against; /* "top" or "exact" */
    double largest;
    double rms;
    double gap; /* beyond flip_margin: what the F16 cache, or activations rounded in blocks of other
                   sizes than the recorder's, may do to the distance of two logits */
};

static const struct bound bounds[] = {
    {"F32", "top", 2e-3 + 0.05, 0.01, 0.04},  {"F16", "exact", 0.1 + 0.05, 0.02, 0},
    {"BF16", "exact", 0.1 + 0.05, 0.02, 0},   {"Q8_0", "top", 0.8 + 0.05, 0.12, 0},
    {"Q4_0", "top", 0.8 + 0.05, 0.12, 0},     {"Q4_1", "top", 0.8 + 0.05, 0.12, 0},
    {"Q5_0", "top", 0.8 + 0.05, 0.12, 0},     {"Q5_1", "top", 0.8 + 0.05, 0.12, 0},
    {"Q4_K", "exact", 1.2 + 0.05, 0.25, 0.3}, {"Q5_K", "exact", 1.2 + 0.05, 0.25, 0.3},
    {"Q6_K", "exact", 1.2 + 0.05, 0.25, 0.3},
};

struct tally {
    double largest;
    double square_sum;
    size_t count;
    size_t greedy_count;
};

static const struct bound *bound_of(json_t *golden)
{
    const char *type = json_string_value(json_object_get(golden, "type"));
    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        if (strcmp(bounds[i].type, type) == 0)
            return &bounds[i];
    }
    fail_msg("no bound for %s", type);
    return NULL;
}

/* The prompt and its continuation; `count` tokens. The caller frees it. */
static uint32_t *sequence_of(json_t *prompt, uint32_t *prompt_count, uint32_t *count)
{
    json_t *ids = json_object_get(prompt, "ids"), *greedy = json_object_get(prompt, "greedy");
    *prompt_count = (uint32_t)json_array_size(ids);
    *count = *prompt_count + (uint32_t)json_array_size(greedy);
    uint32_t *tokens = calloc(*count, sizeof(tokens[0]));
    for (uint32_t i = 0; i < *count; i++) {
        json_t *id =
            i < *prompt_count ? json_array_get(ids, i) : json_array_get(greedy, i - *prompt_count);
        tokens[i] = (uint32_t)json_integer_value(id);
    }
    return tokens;
}

static uint32_t best_of(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++) {
        if (logits[i] > logits[best])
            best = i;
    }
    return best;
}

static void compare_row(json_t *prompt, const struct bound *bound, uint32_t position,
                        const float *logits, struct tally *tally)
{
    size_t index;
    json_t *record;
    json_array_foreach(json_object_get(prompt, "logits"), index, record)
    {
        if (json_integer_value(json_object_get(record, "pos")) != (json_int_t)position)
            continue;
        json_t *top = json_object_get(record, "top"), *exact = json_object_get(record, "exact");
        for (size_t k = 0; k < json_array_size(top); k++) {
            json_t *pair = json_array_get(top, k);
            size_t id = (size_t)json_integer_value(json_array_get(pair, 0));
            json_t *expected = strcmp(bound->against, "top") == 0 ? json_array_get(pair, 1)
                                                                  : json_array_get(exact, k);
            double difference = fabs((double)logits[id] - json_number_value(expected));
            tally->largest = fmax(tally->largest, difference);
            if (isnan(difference))
                tally->largest = INFINITY;
            tally->square_sum += difference * difference;
            tally->count++;
        }
    }
}

static bool is_recorded(json_t *prompt, uint32_t position)
{
    size_t index;
    json_t *record;
    json_array_foreach(json_object_get(prompt, "logits"), index, record)
    {
        if (json_integer_value(json_object_get(record, "pos")) == (json_int_t)position)
            return true;
    }
    return false;
}

/* The best token after `position` is the recorded one, where the margin leaves no doubt. */
static void check_greedy(json_t *prompt, const float *logits, uint32_t vocab_count,
                         uint32_t position, uint32_t prompt_count, double flip_margin,
                         struct tally *tally)
{
    size_t step = position + 1 - prompt_count;
    uint32_t best = best_of(logits, vocab_count);
    double margin = json_number_value(json_array_get(json_object_get(prompt, "margin"), step));
    json_int_t expected =
        json_integer_value(json_array_get(json_object_get(prompt, "greedy"), step));
    if (margin <= flip_margin)
        return;
    tally->greedy_count++;
    if (best != expected)
        fail_msg("%s: token after position %u: %u, expected %d (margin %g)",
                 json_string_value(json_object_get(prompt, "name")), position, best, (int)expected,
                 margin);
}

/* Every position that has something recorded; all kernels but the best leave out the greedy ones.
 */
static void check_prompt(struct test_engine *engine, json_t *golden, json_t *prompt, float *logits,
                         struct tally *tally)
{
    bool with_greedy = strcmp(fg_executor_kernels(engine->executor), fg_kernels_best()->name) == 0;
    const struct bound *bound = bound_of(golden);
    uint32_t vocab_count = fg_model_shape(engine->model)->vocab_count;
    double flip_margin = json_number_value(json_object_get(golden, "flip_margin")) + bound->gap;
    uint32_t prompt_count, count;
    uint32_t *tokens = sequence_of(prompt, &prompt_count, &count);
    for (uint32_t first = 0; first < count; first += WINDOW) {
        struct fg_batch_run runs[WINDOW];
        uint32_t run_count = count - first < WINDOW ? count - first : WINDOW;
        for (uint32_t i = 0; i < run_count; i++) {
            uint32_t position = first + i;
            bool is_wanted =
                is_recorded(prompt, position) || (with_greedy && position + 1 >= prompt_count);
            runs[i] = (struct fg_batch_run){.tokens = tokens + position,
                                            .count = 1,
                                            .start_position = position,
                                            .block_table = engine->block_table,
                                            .logits = is_wanted ? logits + (size_t)i * vocab_count
                                                                : NULL};
        }
        fg_executor_step(engine->executor, runs, run_count);
        for (uint32_t i = 0; i < run_count; i++) {
            uint32_t position = first + i;
            if (runs[i].logits == NULL)
                continue;
            compare_row(prompt, bound, position, runs[i].logits, tally);
            if (with_greedy && position + 1 >= prompt_count && position + 1 < count)
                check_greedy(prompt, runs[i].logits, vocab_count, position, prompt_count,
                             flip_margin, tally);
        }
    }
    free(tokens);
}

static struct fg_model *open_model(const char *path)
{
    struct fg_model *model;
    struct fg_error error = {.line = 0};
    if (fg_model_open(&model, path, &error) != FG_OK)
        fail_msg("%s: %s", path, error.message);
    return model;
}

static void check_model(const char *path, json_t *golden, const struct fg_kernels *kernels,
                        unsigned thread_count)
{
    const struct bound *bound = bound_of(golden);
    struct test_engine engine;
    struct tally tally = {.count = 0};
    size_t index;
    json_t *prompt;
    test_engine_init(&engine, open_model(path), thread_count, WINDOW, BLOCKS, FG_KV_F16, kernels);
    assert_int_equal(fg_model_shape(engine.model)->vocab_count,
                     json_integer_value(json_object_get(golden, "n_vocab")));
    float *logits =
        malloc((size_t)WINDOW * fg_model_shape(engine.model)->vocab_count * sizeof(float));
    assert_non_null(logits);
    json_array_foreach(json_object_get(golden, "prompts"), index, prompt)
    {
        check_prompt(&engine, golden, prompt, logits, &tally);
    }
    double rms = sqrt(tally.square_sum / (double)tally.count);
    print_message("%-30s %-7s %s: %zu logits, max %.5f (%.3f), rms %.5f (%.3f); %zu greedy\n",
                  strrchr(path, '/') + 1, fg_executor_kernels(engine.executor), bound->against,
                  tally.count, tally.largest, bound->largest, rms, bound->rms, tally.greedy_count);
    assert_true(tally.count > 0);
    assert_true(tally.largest <= bound->largest);
    assert_true(rms <= bound->rms);
    free(logits);
    test_engine_fini(&engine);
}

/* The slow scalar kernels run our own models, which have every type and architecture. */
static void check_with_all_kernels(const char *path, json_t *golden)
{
    const struct fg_kernels *avx2 = fg_kernels_avx2();
    if (strncmp(path, FG_SOURCE_ROOT "/tests/", strlen(FG_SOURCE_ROOT "/tests/")) == 0)
        check_model(path, golden, fg_kernels_scalar(), 1);
    if (avx2 != NULL && avx2 != fg_kernels_best())
        check_model(path, golden, avx2, 1);
    check_model(path, golden, fg_kernels_best(), 2);
}

static void matches_recorded_logits_and_tokens(void **state)
{
    (void)state;
    for_each_golden_model(check_with_all_kernels);
}

/* ---- the same numbers in any batch ---- */

#define SEQUENCE_TOKENS 45

static void make_tokens(uint32_t *tokens, uint32_t count, uint32_t vocab_count, uint32_t seed)
{
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = ((i + 1) * 2654435761u + seed * 40503u) % vocab_count;
}

/* All but the last token in chunks of `chunk`, then the last as a decode. */
static void run_in_chunks(struct test_engine *engine, const uint32_t *tokens, uint32_t chunk,
                          float *logits)
{
    for (uint32_t first = 0; first < SEQUENCE_TOKENS; first += chunk) {
        uint32_t left = SEQUENCE_TOKENS - first;
        struct fg_batch_run run = {.tokens = tokens + first,
                                   .count = left < chunk ? left : chunk,
                                   .start_position = first,
                                   .block_table = engine->block_table,
                                   .logits = left <= chunk ? logits : NULL};
        fg_executor_step(engine->executor, &run, 1);
    }
}

/* The same in chunks of 7, each step shared with a chunk and a decode of two other sequences. */
static void run_mixed(struct test_engine *engine, const uint32_t *tokens, float *logits,
                      float *others)
{
    uint32_t vocab_count = fg_model_shape(engine->model)->vocab_count;
    uint32_t other[SEQUENCE_TOKENS], third[SEQUENCE_TOKENS];
    make_tokens(other, SEQUENCE_TOKENS, vocab_count, 7);
    make_tokens(third, SEQUENCE_TOKENS, vocab_count, 8);
    const uint32_t *table = engine->block_table;
    for (uint32_t first = 0, step = 0; first < SEQUENCE_TOKENS; first += 7, step++) {
        uint32_t left = SEQUENCE_TOKENS - first;
        struct fg_batch_run runs[3] = {
            a_run(other + 5 * step, 5, 5 * step, table + 8, others),
            a_run(tokens + first, left < 7 ? left : 7, first, table, left <= 7 ? logits : NULL),
            a_run(third + step, 1, step, table + 16, others + vocab_count)};
        fg_executor_step(engine->executor, runs, 3);
    }
}

static void check_sameness(struct fg_model *model, const struct fg_kernels *kernels,
                           unsigned thread_count, enum fg_kv_type kv_type)
{
    struct test_engine engine;
    test_engine_init(&engine, model, thread_count, 64, BLOCKS, kv_type, kernels);
    uint32_t vocab_count = fg_model_shape(model)->vocab_count;
    uint32_t tokens[SEQUENCE_TOKENS];
    make_tokens(tokens, SEQUENCE_TOKENS, vocab_count, 1);
    size_t bytes = vocab_count * sizeof(float);
    float *alone = malloc(bytes), *again = malloc(bytes), *others = malloc(2 * bytes);
    static const uint32_t chunks[] = {1, 2, 3, 7, 16, 17, 44};
    run_in_chunks(&engine, tokens, SEQUENCE_TOKENS, alone);
    assert_true(isfinite(alone[0]));
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        memset(again, 0, bytes);
        run_in_chunks(&engine, tokens, chunks[i], again);
        assert_memory_equal(alone, again, bytes);
    }
    memset(again, 0, bytes);
    run_mixed(&engine, tokens, again, others);
    assert_memory_equal(alone, again, bytes);
    free(alone);
    free(again);
    free(others);
    test_engine_fini(&engine);
}

static void check_sameness_of_file(const char *path, json_t *golden)
{
    (void)golden;
    struct fg_model *model = open_model(path);
    uint32_t head_dim = fg_model_shape(model)->head_dim;
    check_sameness(model, fg_kernels_best(), 3, FG_KV_F16);
    if (fg_kv_type_fits(FG_KV_Q8_0, head_dim))
        check_sameness(open_model(path), fg_kernels_best(), 3, FG_KV_Q8_0);
}

static void same_logits_alone_in_a_batch_and_in_chunks(void **state)
{
    (void)state;
    for_each_golden_model(check_sameness_of_file);
}

/* ---- a cache in Q8_0 ---- */

static void logits_with(struct fg_model *model, enum fg_kv_type kv_type, float *logits)
{
    struct test_engine engine;
    uint32_t tokens[SEQUENCE_TOKENS];
    test_engine_init(&engine, model, 1, 64, BLOCKS, kv_type, fg_kernels_best());
    make_tokens(tokens, SEQUENCE_TOKENS, fg_model_shape(model)->vocab_count, 5);
    run_in_chunks(&engine, tokens, 16, logits);
    test_engine_fini(&engine);
}

/* Rounding keys and values to int8 moves logits, by about as much as such weights do; where the
 * weights are rounded too, their noise and this one's add up. */
static void check_q8_0_cache(const char *path, json_t *golden)
{
    (void)golden;
    struct fg_model *model = open_model(path);
    uint32_t vocab_count = fg_model_shape(model)->vocab_count;
    float *exact = malloc(vocab_count * sizeof(float)),
          *rounded = malloc(vocab_count * sizeof(float));
    bool fits = fg_kv_type_fits(FG_KV_Q8_0, fg_model_shape(model)->head_dim);
    logits_with(model, FG_KV_F16, exact);
    if (fits) {
        double square_sum = 0, largest = 0;
        logits_with(open_model(path), FG_KV_Q8_0, rounded);
        for (uint32_t i = 0; i < vocab_count; i++) {
            double difference = fabs((double)rounded[i] - (double)exact[i]);
            square_sum += difference * difference;
            largest = difference > largest ? difference : largest;
        }
        double rms = sqrt(square_sum / vocab_count);
        print_message("%-30s Q8_0 cache: max %.5f, rms %.5f\n", strrchr(path, '/') + 1, largest,
                      rms);
        assert_true(largest > 0);
        assert_true(largest <= 1.2);
        assert_true(rms <= 0.25);
    }
    free(exact);
    free(rounded);
}

static void a_q8_0_cache_gives_nearly_the_same(void **state)
{
    (void)state;
    for_each_golden_model(check_q8_0_cache);
}

/* ---- odd shapes against float64 ---- */

static const struct tiny_options odd_shapes[] = {
    /* widths that no vector divides, a partial rotation, all optional biases */
    {.arch = "llama",
     .layers = 2,
     .width = 36,
     .heads = 6,
     .kv_heads = 2,
     .head_dim = 10,
     .ff = 50,
     .vocab = 61,
     .rope_dim = 6,
     .has_biases = true,
     .has_rope_factors = true},
    {.arch = "llama",
     .layers = 1,
     .width = 8,
     .heads = 1,
     .kv_heads = 1,
     .head_dim = 2,
     .ff = 1,
     .vocab = 3},
    {.arch = "qwen2",
     .layers = 2,
     .width = 35,
     .heads = 7,
     .kv_heads = 1,
     .head_dim = 14,
     .ff = 33,
     .vocab = 67,
     .has_output = true},
    {.arch = "qwen3",
     .layers = 3,
     .width = 24,
     .heads = 5,
     .kv_heads = 5,
     .head_dim = 22,
     .ff = 40,
     .vocab = 50,
     .rope_linear_factor = 4},
};

static void check_odd_shape(const struct tiny_options *options, const struct fg_kernels *kernels)
{
    struct test_engine engine;
    struct tiny_file file;
    struct fg_model *model = tiny_model_open(&file, options);
    test_engine_init(&engine, model, 2, 64, BLOCKS, FG_KV_F16, kernels);
    uint32_t tokens[SEQUENCE_TOKENS];
    make_tokens(tokens, SEQUENCE_TOKENS, options->vocab, 3);
    float *logits = malloc(options->vocab * sizeof(float));
    double *expected = malloc(options->vocab * sizeof(double));
    run_in_chunks(&engine, tokens, 16, logits);
    reference_forward(model, options, tokens, SEQUENCE_TOKENS, expected);
    for (uint32_t i = 0; i < options->vocab; i++) {
        if (!(fabs((double)logits[i] - expected[i]) <= 2e-3))
            fail_msg("%s of width %u, token %u: %.6f, expected %.6f", options->arch, options->width,
                     i, (double)logits[i], expected[i]);
    }
    free(logits);
    free(expected);
    test_engine_fini(&engine);
    check_sameness(tiny_model_open_again(&file), kernels, 2, FG_KV_F16);
    tiny_file_fini(&file);
}

static void matches_the_reference_on_odd_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(odd_shapes) / sizeof(odd_shapes[0]); i++) {
        check_odd_shape(&odd_shapes[i], fg_kernels_scalar());
        check_odd_shape(&odd_shapes[i], fg_kernels_best());
    }
}

static void nothing_to_do_is_fine(void **state)
{
    (void)state;
    struct test_engine engine;
    struct tiny_file file;
    test_engine_init(&engine, tiny_model_open(&file, &odd_shapes[0]), 1, 4, 2, FG_KV_F16,
                     fg_kernels_best());
    fg_executor_step(engine.executor, NULL, 0);
    uint32_t token = 1;
    struct fg_batch_run run = a_run(&token, 1, 0, engine.block_table, NULL);
    fg_executor_step(engine.executor, &run, 1); /* no logits wanted */
    test_engine_fini(&engine);
    tiny_file_fini(&file);
    fg_executor_destroy(NULL);
}

/* Each allocation of create fails in turn; the links wrap calloc, aligned_alloc and pthread_create.
 */
static void each_failed_allocation_is_an_error(void **state)
{
    (void)state;
    struct test_engine engine;
    struct tiny_file file;
    struct fg_error error = {.line = 0};
    test_engine_init(&engine, tiny_model_open(&file, &odd_shapes[0]), 1, 4, 2, FG_KV_F16,
                     fg_kernels_best());
    long failures = 0;
    for (;; failures++) {
        struct fg_executor *executor;
        calls_until_failure = failures;
        enum fg_status status =
            fg_executor_create(&executor, engine.model, &engine.store, 2, 4, &error);
        calls_until_failure = -1;
        fg_executor_destroy(executor);
        if (status == FG_OK)
            break;
        assert_int_equal(status, FG_ERR_CONFIG);
        assert_null(executor);
        assert_true(strstr(error.message, "no memory") != NULL ||
                    strstr(error.message, "cannot start") != NULL);
    }
    assert_true(failures > 20); /* the buffers, the pool and its thread */
    test_engine_fini(&engine);
    tiny_file_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_recorded_logits_and_tokens),
        cmocka_unit_test(same_logits_alone_in_a_batch_and_in_chunks),
        cmocka_unit_test(a_q8_0_cache_gives_nearly_the_same),
        cmocka_unit_test(matches_the_reference_on_odd_shapes),
        cmocka_unit_test(nothing_to_do_is_fine),
        cmocka_unit_test(each_failed_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
