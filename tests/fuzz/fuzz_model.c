/*
 * fuzz_model.c: any bytes as a model to be run: opened, and if that succeeds and the model is
 * small, a step of three tokens is computed with the scalar and the fastest kernels. Reads outside
 * the bytes are found by the address sanitiser. Mutator  besides flipping bytes it breaks files as
 * a bad download or a bad converter would: cuts them, puts absurd numbers where counts, sizes and
 * offsets stand, and repeats parts, so that names appear twice and tensors overlap.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "inference/kernels/kernels.h"
#include "inference/model/executor.h"

#define TOKENS 3
/* A model that is larger in any way is opened but not run: it would only be slow. */
#define SIZE_MAX_RUN 1024u
#define LAYERS_MAX_RUN 4u

static bool is_small(const struct fg_model_shape *shape)
{
    return shape->layer_count <= LAYERS_MAX_RUN && shape->width <= SIZE_MAX_RUN &&
           shape->ff_width <= SIZE_MAX_RUN && shape->vocab_count <= SIZE_MAX_RUN &&
           shape->head_count * shape->head_dim <= SIZE_MAX_RUN;
}

static void run_step(const struct fg_model *model, const struct fg_kernels *kernels)
{
    const struct fg_model_shape *shape = fg_model_shape(model);
    struct fg_kv_store store = {.shape = fg_model_kv_shape(model), .block_count = 1};
    uint32_t tokens[TOKENS] = {0, shape->vocab_count - 1, shape->vocab_count / 2}, table[1] = {0};
    struct fg_executor *executor;
    struct fg_error error;
    store.data = calloc(1, fg_kv_block_bytes(&store.shape));
    float *logits = calloc(shape->vocab_count, sizeof(logits[0]));
    assert(store.data != NULL);
    assert(logits != NULL);
    enum fg_status status =
        fg_executor_create_with(&executor, model, &store, 1, TOKENS, kernels, &error);
    assert(status == FG_OK);
    struct fg_batch_run run = {
        .tokens = tokens, .count = TOKENS, .block_table = table, .logits = logits};
    fg_executor_step(executor, &run, 1);
    fg_executor_destroy(executor);
    free(logits);
    free(store.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_gguf *gguf;
    struct fg_model *model;
    struct fg_error error;
    if (fg_gguf_parse(&gguf, data, size, &error) != FG_OK)
        return 0;
    if (fg_model_from_gguf(&model, gguf, &error) != FG_OK) {
        assert(model == NULL);
        assert(error.message[0] != '\0');
        fg_gguf_close(gguf);
        return 0;
    }
    if (is_small(fg_model_shape(model))) {
        run_step(model, fg_kernels_scalar());
        run_step(model, fg_kernels_best());
    }
    fg_model_close(model);
    return 0;
}

/* Of libFuzzer; used when the target is built for it. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);

static void put_absurd_number(uint8_t *data, size_t size, unsigned seed)
{
    static const uint64_t numbers[] = {0,
                                       1,
                                       255,
                                       256,
                                       UINT32_MAX,
                                       UINT64_C(1) << 32,
                                       UINT64_C(1) << 40,
                                       UINT64_C(1) << 61,
                                       INT64_MAX,
                                       UINT64_MAX};
    uint64_t number = numbers[seed / 16 % (sizeof(numbers) / sizeof(numbers[0]))];
    size_t width = seed % 2 != 0 ? sizeof(uint64_t) : sizeof(uint32_t);
    if (size < width)
        return;
    memcpy(data + (seed / 256) % (size - width + 1), &number, width);
}

/* One part of the file over another. */
static void repeat_part(uint8_t *data, size_t size, unsigned seed)
{
    size_t length = 1 + seed / 16 % 64;
    if (size < length)
        return;
    size_t places = size - length + 1;
    memmove(data + seed / 1024 % places, data + (seed / 64 * 2654435761u) % places, length);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    switch (seed % 16) {
    case 0:
        return size < 2 ? size : 1 + seed / 16 % (size - 1);
    case 1:
    case 2:
    case 3:
    case 4:
        put_absurd_number(data, size, seed);
        return size;
    case 5:
    case 6:
        repeat_part(data, size, seed);
        return size;
    default:
        return LLVMFuzzerMutate != NULL ? LLVMFuzzerMutate(data, size, size_max) : size;
    }
}
