/*
 * golden_models.h: model files with recorded outputs, for tests of the executor.
 * The project's own are in tests/golden/models and always there; more lie in FG_MODELS_DIR or, by
 * default, ../shared/models beside the checkout, and tests say so loudly where they are absent.
 */
#ifndef FG_TEST_GOLDEN_MODELS_H
#define FG_TEST_GOLDEN_MODELS_H

#include <jansson.h>
#include <stdbool.h>

#include "inference/kernels/kernels.h"
#include "inference/model/executor.h"

/* A model, its KV store and an executor over them, made for a test. */
struct test_engine {
    struct fg_model *model;
    struct fg_kv_store store;
    struct fg_executor *executor;
    uint32_t *block_table; /* all blocks of the store in a shuffled order */
};

/* Called with the path of a model and its golden data. */
typedef void (*golden_fn)(const char *model_path, json_t *golden);

/* Every NAME.golden.json of both directories whose NAME.gguf has a type that we run. */
void for_each_golden_model(golden_fn check);

/* Fails the test when something is missing. `blocks` KV blocks filled with a pattern that is not
 * finite, so that reading what was not written shows. */
void test_engine_init(struct test_engine *engine, struct fg_model *model, unsigned thread_count,
                      uint32_t batch_tokens_max, uint32_t blocks, enum fg_kv_type kv_type,
                      const struct fg_kernels *kernels);
void test_engine_fini(struct test_engine *engine); /* closes the model too */

#endif
