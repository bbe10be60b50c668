/*
 * tiny_gguf.c: a writer of GGUF v3 bytes for small random F32 models.
 */
#include "tiny_gguf.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TENSORS_MAX 64
#define ALIGNMENT 32

enum { VALUE_U32 = 4, VALUE_F32 = 6, VALUE_STRING = 8, VALUE_ARRAY = 9 };

struct tiny_tensor {
    char name[64];
    uint64_t cols, rows; /* rows 1: a vector */
    uint32_t type;
    size_t bytes;
    float mean, spread; /* of its values */
};

struct plan {
    const struct tiny_options *options;
    struct tiny_tensor tensors[TENSORS_MAX];
    size_t tensor_count;
    uint64_t key_count;
};

static void put(struct tiny_file *file, const void *bytes, size_t count)
{
    if (file->byte_count + count > file->byte_count_max) {
        file->byte_count_max = 2 * (file->byte_count + count);
        file->bytes = realloc(file->bytes, file->byte_count_max);
        assert_non_null(file->bytes);
    }
    if (count > 0)
        memcpy(file->bytes + file->byte_count, bytes, count);
    file->byte_count += count;
}

static void put_u32(struct tiny_file *file, uint32_t value)
{
    put(file, &value, sizeof(value));
}

static void put_u64(struct tiny_file *file, uint64_t value)
{
    put(file, &value, sizeof(value));
}

static void put_string(struct tiny_file *file, const char *text)
{
    put_u64(file, strlen(text));
    put(file, text, strlen(text));
}

static void pad(struct tiny_file *file)
{
    static const unsigned char zeros[ALIGNMENT];
    put(file, zeros, (ALIGNMENT - file->byte_count % ALIGNMENT) % ALIGNMENT);
}

/* Is this one of the keys that the options replace or leave out? */
static bool is_overridden(const struct tiny_options *options, const char *key)
{
    const char *const keys[] = {options->skip_key, options->float_key, options->number_key,
                                options->string_key};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (keys[i] != NULL && strcmp(keys[i], key) == 0)
            return true;
    }
    return false;
}

static void key_u32(struct tiny_file *file, struct plan *plan, const char *name, uint32_t value)
{
    char key[96];
    snprintf(key, sizeof(key), "%s.%s", plan->options->arch, name);
    if (is_overridden(plan->options, key) || value == 0)
        return;
    put_string(file, key);
    put_u32(file, VALUE_U32);
    put_u32(file, value);
    plan->key_count++;
}

static void key_f32(struct tiny_file *file, struct plan *plan, const char *key, float value)
{
    put_string(file, key);
    put_u32(file, VALUE_F32);
    put(file, &value, sizeof(value));
    plan->key_count++;
}

static void key_string(struct tiny_file *file, struct plan *plan, const char *key,
                       const char *value)
{
    put_string(file, key);
    put_u32(file, VALUE_STRING);
    put_string(file, value);
    plan->key_count++;
}

static void put_broken_keys(struct tiny_file *file, struct plan *plan)
{
    const struct tiny_options *o = plan->options;
    if (o->float_key != NULL)
        key_f32(file, plan, o->float_key, (float)o->float_value);
    if (o->string_key != NULL)
        key_string(file, plan, o->string_key, o->string_value);
    if (o->number_key != NULL) {
        put_string(file, o->number_key);
        put_u32(file, VALUE_U32);
        put_u32(file, o->number_value);
        plan->key_count++;
    }
    if (o->token_strings != 0) {
        put_string(file, "tokenizer.ggml.tokens");
        put_u32(file, VALUE_ARRAY);
        put_u32(file, VALUE_STRING);
        put_u64(file, o->token_strings);
        for (uint32_t i = 0; i < o->token_strings; i++)
            put_string(file, "t");
        plan->key_count++;
    }
}

static void put_keys(struct tiny_file *file, struct plan *plan)
{
    const struct tiny_options *o = plan->options;
    char key[96];
    if (!is_overridden(o, "general.architecture"))
        key_string(file, plan, "general.architecture", o->arch);
    key_u32(file, plan, "block_count", o->layers);
    key_u32(file, plan, "context_length", 512);
    key_u32(file, plan, "embedding_length", o->width);
    key_u32(file, plan, "feed_forward_length", o->ff);
    key_u32(file, plan, "attention.head_count", o->heads);
    key_u32(file, plan, "attention.head_count_kv", o->kv_heads);
    key_u32(file, plan, "attention.key_length", o->head_dim);
    key_u32(file, plan, "attention.value_length", o->head_dim);
    key_u32(file, plan, "rope.dimension_count", o->rope_dim);
    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", o->arch);
    if (!is_overridden(o, key))
        key_f32(file, plan, key, 1e-5f);
    if (o->rope_linear_factor > 0) {
        snprintf(key, sizeof(key), "%s.rope.scaling.factor", o->arch);
        key_f32(file, plan, key, o->rope_linear_factor);
        snprintf(key, sizeof(key), "%s.rope.scaling.type", o->arch);
        key_string(file, plan, key, "linear");
    }
    put_broken_keys(file, plan);
}

static void plan_tensor(struct plan *plan, const char *name, uint64_t cols, uint64_t rows,
                        float mean, float spread)
{
    const struct tiny_options *o = plan->options;
    if (o->skip_tensor != NULL && strcmp(o->skip_tensor, name) == 0)
        return;
    assert_true(plan->tensor_count < TENSORS_MAX);
    struct tiny_tensor *tensor = &plan->tensors[plan->tensor_count++];
    snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    tensor->cols = cols;
    tensor->rows = rows;
    tensor->type = FG_TENSOR_F32;
    if (o->grown_tensor != NULL && strcmp(o->grown_tensor, name) == 0)
        tensor->cols++;
    if (o->retyped_tensor != NULL && strcmp(o->retyped_tensor, name) == 0)
        tensor->type = o->retyped_to;
    size_t row_bytes = fg_tensor_row_bytes(tensor->type, tensor->cols);
    tensor->bytes = (row_bytes == 0 ? 4 * tensor->cols : row_bytes) * rows;
    tensor->mean = mean;
    tensor->spread = spread;
}

static void plan_layer_tensor(struct plan *plan, uint32_t layer, const char *suffix, uint64_t cols,
                              uint64_t rows, float mean, float spread)
{
    char name[64];
    snprintf(name, sizeof(name), "blk.%u.%s", layer, suffix);
    plan_tensor(plan, name, cols, rows, mean, spread);
}

static void plan_layer(struct plan *plan, uint32_t layer)
{
    const struct tiny_options *o = plan->options;
    uint64_t query = (uint64_t)o->heads * o->head_dim, kv = (uint64_t)o->kv_heads * o->head_dim;
    float by_width = 1.7f / sqrtf((float)o->width);
    plan_layer_tensor(plan, layer, "attn_norm.weight", o->width, 1, 1, 0.2f);
    plan_layer_tensor(plan, layer, "ffn_norm.weight", o->width, 1, 1, 0.2f);
    plan_layer_tensor(plan, layer, "attn_q.weight", o->width, query, 0, by_width);
    plan_layer_tensor(plan, layer, "attn_k.weight", o->width, kv, 0, by_width);
    plan_layer_tensor(plan, layer, "attn_v.weight", o->width, kv, 0, by_width);
    plan_layer_tensor(plan, layer, "attn_output.weight", query, o->width, 0,
                      1.7f / sqrtf((float)query));
    plan_layer_tensor(plan, layer, "ffn_gate.weight", o->width, o->ff, 0, by_width);
    plan_layer_tensor(plan, layer, "ffn_up.weight", o->width, o->ff, 0, by_width);
    plan_layer_tensor(plan, layer, "ffn_down.weight", o->ff, o->width, 0,
                      1.7f / sqrtf((float)o->ff));
    if (o->has_biases || strcmp(o->arch, "qwen2") == 0) {
        plan_layer_tensor(plan, layer, "attn_q.bias", query, 1, 0, 0.5f);
        plan_layer_tensor(plan, layer, "attn_k.bias", kv, 1, 0, 0.5f);
        plan_layer_tensor(plan, layer, "attn_v.bias", kv, 1, 0, 0.5f);
    }
    if (o->has_biases)
        plan_layer_tensor(plan, layer, "attn_output.bias", o->width, 1, 0, 0.5f);
    if (strcmp(o->arch, "qwen3") == 0) {
        plan_layer_tensor(plan, layer, "attn_q_norm.weight", o->head_dim, 1, 1, 0.2f);
        plan_layer_tensor(plan, layer, "attn_k_norm.weight", o->head_dim, 1, 1, 0.2f);
    }
}

static void plan_tensors(struct plan *plan)
{
    const struct tiny_options *o = plan->options;
    plan_tensor(plan, "token_embd.weight", o->width, o->vocab, 0, 1);
    plan_tensor(plan, "output_norm.weight", o->width, 1, 1, 0.2f);
    if (o->has_output)
        plan_tensor(plan, "output.weight", o->width, o->vocab, 0, 0.3f);
    if (o->has_rope_factors)
        plan_tensor(plan, "rope_freqs.weight", (o->rope_dim ? o->rope_dim : o->head_dim) / 2, 1, 3,
                    2);
    if (o->extra_tensor != NULL)
        plan_tensor(plan, o->extra_tensor, 1, 1, 0, 1);
    for (uint32_t i = 0; i < o->layers; i++)
        plan_layer(plan, i);
}

/* Uniform in mean - spread .. mean + spread. */
static float next_value(struct tiny_file *file, const struct tiny_tensor *tensor)
{
    file->random = file->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    float unit = (float)(file->random >> 40) * 0x1p-23f - 1;
    return tensor->mean + tensor->spread * unit;
}

static void put_tensor_data(struct tiny_file *file, const struct tiny_tensor *tensor)
{
    for (size_t i = 0; i < tensor->bytes / sizeof(float); i++) {
        float value = next_value(file, tensor);
        put(file, &value, sizeof(value));
    }
    static const unsigned char zeros[4];
    put(file, zeros, tensor->bytes % sizeof(float));
    pad(file);
}

void tiny_file_init(struct tiny_file *file, const struct tiny_options *options)
{
    struct plan *plan = calloc(1, sizeof(*plan));
    assert_non_null(plan);
    plan->options = options;
    *file = (struct tiny_file){.random = 42};
    plan_tensors(plan);
    put(file, "GGUF", 4);
    put_u32(file, 3);
    put_u64(file, plan->tensor_count);
    size_t key_count_at = file->byte_count;
    put_u64(file, 0);
    put_keys(file, plan);
    memcpy(file->bytes + key_count_at, &plan->key_count, sizeof(plan->key_count));
    uint64_t offset = 0;
    for (size_t i = 0; i < plan->tensor_count; i++) {
        const struct tiny_tensor *tensor = &plan->tensors[i];
        put_string(file, tensor->name);
        put_u32(file, tensor->rows == 1 ? 1 : 2);
        put_u64(file, tensor->cols);
        if (tensor->rows != 1)
            put_u64(file, tensor->rows);
        put_u32(file, tensor->type);
        put_u64(file, offset);
        offset += (tensor->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    pad(file);
    for (size_t i = 0; i < plan->tensor_count; i++)
        put_tensor_data(file, &plan->tensors[i]);
    free(plan);
}

void tiny_file_fini(struct tiny_file *file)
{
    free(file->bytes);
    *file = (struct tiny_file){.bytes = NULL};
}

struct fg_model *tiny_model_open_again(const struct tiny_file *file)
{
    struct fg_gguf *gguf;
    struct fg_model *model = NULL;
    struct fg_error error = {.line = 0};
    if (fg_gguf_parse(&gguf, file->bytes, file->byte_count, &error) != FG_OK ||
        fg_model_from_gguf(&model, gguf, &error) != FG_OK)
        fail_msg("%s", error.message);
    return model;
}

struct fg_model *tiny_model_open(struct tiny_file *file, const struct tiny_options *options)
{
    tiny_file_init(file, options);
    return tiny_model_open_again(file);
}
