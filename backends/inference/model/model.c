/*
 * model.c: finds a transformer's tensors in a GGUF file and checks that they are what we can run.
 * Thread   open and close on the start-up thread; immutable between them.
 * Memory   matrices stay in the file's mapping; vectors (norms, biases) are copied as floats, since
 *          the file may keep them in any type and at any alignment.
 * Never    runs a model that it does not know in full: a missing, unknown or misshapen tensor is
 *          refused by name.
 */
#include "inference/model/model_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define VOCAB_MAX (1u << 22)
#define SUPPORTED_TYPES "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K"

/* Sizes that tensors are made of. */
enum dim_name { DIM_ONE, DIM_WIDTH, DIM_QUERY, DIM_KV, DIM_HEAD, DIM_FF };

#define LLAMA (1u << FG_ARCH_LLAMA)
#define QWEN2 (1u << FG_ARCH_QWEN2)
#define QWEN3 (1u << FG_ARCH_QWEN3)
#define ALL (LLAMA | QWEN2 | QWEN3)

/* A tensor of a layer: "blk.N.SUFFIX", (rows, cols), or a vector of cols when rows is DIM_ONE. */
struct layer_rule {
    const char *suffix;
    size_t offset; /* in fg_layer: a struct fg_matrix or a const float * */
    enum dim_name rows;
    enum dim_name cols;
    unsigned needed_by;
    unsigned allowed_in;
};

#define AT(field) offsetof(struct fg_layer, field)
static const struct layer_rule layer_rules[] = {
    {"attn_norm.weight", AT(attn_norm), DIM_ONE, DIM_WIDTH, ALL, ALL},
    {"ffn_norm.weight", AT(ff_norm), DIM_ONE, DIM_WIDTH, ALL, ALL},
    {"attn_q.weight", AT(q), DIM_QUERY, DIM_WIDTH, ALL, ALL},
    {"attn_k.weight", AT(k), DIM_KV, DIM_WIDTH, ALL, ALL},
    {"attn_v.weight", AT(v), DIM_KV, DIM_WIDTH, ALL, ALL},
    {"attn_output.weight", AT(attn_output), DIM_WIDTH, DIM_QUERY, ALL, ALL},
    {"ffn_gate.weight", AT(gate), DIM_FF, DIM_WIDTH, ALL, ALL},
    {"ffn_up.weight", AT(up), DIM_FF, DIM_WIDTH, ALL, ALL},
    {"ffn_down.weight", AT(down), DIM_WIDTH, DIM_FF, ALL, ALL},
    {"attn_q.bias", AT(q_bias), DIM_ONE, DIM_QUERY, QWEN2, QWEN2 | LLAMA},
    {"attn_k.bias", AT(k_bias), DIM_ONE, DIM_KV, QWEN2, QWEN2 | LLAMA},
    {"attn_v.bias", AT(v_bias), DIM_ONE, DIM_KV, QWEN2, QWEN2 | LLAMA},
    {"attn_output.bias", AT(output_bias), DIM_ONE, DIM_WIDTH, 0, LLAMA},
    {"attn_q_norm.weight", AT(q_norm), DIM_ONE, DIM_HEAD, QWEN3, QWEN3},
    {"attn_k_norm.weight", AT(k_norm), DIM_ONE, DIM_HEAD, QWEN3, QWEN3},
};
#undef AT
#define LAYER_RULE_COUNT (sizeof(layer_rules) / sizeof(layer_rules[0]))

static uint64_t size_of(const struct fg_model_shape *shape, enum dim_name name)
{
    switch (name) {
    case DIM_ONE:
        return 1;
    case DIM_WIDTH:
        return shape->width;
    case DIM_QUERY:
        return (uint64_t)shape->head_count * shape->head_dim;
    case DIM_KV:
        return (uint64_t)shape->kv_head_count * shape->head_dim;
    case DIM_HEAD:
        return shape->head_dim;
    case DIM_FF:
        return shape->ff_width;
    }
    return 0;
}

static bool weight_type(uint32_t tensor_type, enum fg_weight_type *type)
{
    static const struct {
        uint32_t from;
        enum fg_weight_type to;
    } types[] = {
        {FG_TENSOR_F32, FG_WEIGHT_F32},   {FG_TENSOR_F16, FG_WEIGHT_F16},
        {FG_TENSOR_BF16, FG_WEIGHT_BF16}, {FG_TENSOR_Q8_0, FG_WEIGHT_Q8_0},
        {FG_TENSOR_Q4_0, FG_WEIGHT_Q4_0}, {FG_TENSOR_Q4_1, FG_WEIGHT_Q4_1},
        {FG_TENSOR_Q5_0, FG_WEIGHT_Q5_0}, {FG_TENSOR_Q5_1, FG_WEIGHT_Q5_1},
        {FG_TENSOR_Q4_K, FG_WEIGHT_Q4_K}, {FG_TENSOR_Q5_K, FG_WEIGHT_Q5_K},
        {FG_TENSOR_Q6_K, FG_WEIGHT_Q6_K},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (types[i].from == tensor_type) {
            *type = types[i].to;
            return true;
        }
    }
    return false;
}

static enum fg_status refuse_type(const char *name, uint32_t type, struct fg_error *error)
{
    const char *type_name = fg_tensor_type_name(type);
    if (type_name == NULL)
        return fg_error_set(
            error, "tensor %s: type %" PRIu32 " is not known; expected one of " SUPPORTED_TYPES,
            name, type);
    return fg_error_set(error,
                        "tensor %s: type %s is not supported; expected one of " SUPPORTED_TYPES,
                        name, type_name);
}

/* Checks the shape and type of `tensor` and describes it as a matrix. */
static enum fg_status describe(const struct fg_tensor *tensor, const char *name, uint64_t rows,
                               uint64_t cols, struct fg_matrix *matrix, struct fg_error *error)
{
    enum fg_weight_type type;
    if (tensor->dims[0] != cols || tensor->dims[1] != rows || tensor->dims[2] != 1 ||
        tensor->dims[3] != 1)
        return fg_error_set(error,
                            "tensor %s: shape is %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64
                            "; expected %" PRIu64 " x %" PRIu64,
                            name, tensor->dims[0], tensor->dims[1], tensor->dims[2],
                            tensor->dims[3], cols, rows);
    if (!weight_type(tensor->type, &type))
        return refuse_type(name, tensor->type, error);
    size_t row_bytes = fg_tensor_row_bytes(tensor->type, cols);
    if (row_bytes == 0 || tensor->data_bytes / row_bytes < rows)
        return fg_error_set(error, "tensor %s: %zu bytes; expected %" PRIu64 " rows of %zu", name,
                            tensor->data_bytes, rows, row_bytes);
    *matrix = (struct fg_matrix){.data = tensor->data,
                                 .row_bytes = row_bytes,
                                 .rows = (uint32_t)rows,
                                 .cols = (uint32_t)cols,
                                 .type = type};
    return FG_OK;
}

/* Room for all vectors: what one-dimensional tensors the file has. */
static enum fg_status reserve_floats(struct fg_model *model, struct fg_error *error)
{
    size_t tensor_count = fg_gguf_tensor_count(model->gguf);
    size_t count = 0;
    for (size_t i = 0; i < tensor_count; i++) {
        const struct fg_tensor *tensor = fg_gguf_tensor_at(model->gguf, i);
        if (tensor->dims[1] == 1 && tensor->dims[0] <= UINT32_MAX)
            count += (size_t)tensor->dims[0];
    }
    model->floats = calloc(count + 1, sizeof(model->floats[0]));
    model->float_count_max = count;
    if (model->floats == NULL)
        return fg_error_set(error, "no memory for %zu norm and bias values", count);
    return FG_OK;
}

static enum fg_status copy_vector(struct fg_model *model, const struct fg_tensor *tensor,
                                  const char *name, uint64_t count, const float **out,
                                  struct fg_error *error)
{
    struct fg_matrix row;
    enum fg_status status = describe(tensor, name, 1, count, &row, error);
    if (status != FG_OK)
        return status;
    assert(count <= model->float_count_max - model->float_count);
    float *values = model->floats + model->float_count;
    model->float_count += (size_t)count;
    fg_weight_row_to_f32(row.type, row.data, (size_t)count, values);
    *out = values;
    return FG_OK;
}

static enum fg_status load_layer(struct fg_model *model, uint32_t layer_index,
                                 struct fg_error *error)
{
    unsigned arch = 1u << model->shape.arch;
    unsigned char *layer = (unsigned char *)&model->layers[layer_index];
    for (size_t i = 0; i < LAYER_RULE_COUNT; i++) {
        const struct layer_rule *rule = &layer_rules[i];
        char name[64];
        snprintf(name, sizeof(name), "blk.%u.%s", layer_index, rule->suffix);
        if ((rule->allowed_in & arch) == 0)
            continue;
        const struct fg_tensor *tensor = fg_gguf_find_tensor(model->gguf, name);
        uint64_t rows = size_of(&model->shape, rule->rows);
        uint64_t cols = size_of(&model->shape, rule->cols);
        void *field = layer + rule->offset;
        enum fg_status status = FG_OK;
        if (tensor == NULL && (rule->needed_by & arch) != 0)
            status = fg_error_set(error, "tensor %s is missing; a %s model needs it", name,
                                  fg_model_arch_name(model->shape.arch));
        else if (tensor != NULL && rule->rows == DIM_ONE)
            status = copy_vector(model, tensor, name, cols, field, error);
        else if (tensor != NULL)
            status = describe(tensor, name, rows, cols, field, error);
        if (status != FG_OK)
            return status;
    }
    return FG_OK;
}

static bool is_layer_tensor(const struct fg_model *model, struct fg_span name)
{
    uint64_t layer;
    struct fg_span rest = name;
    if (!fg_span_equal(fg_span_split(&rest, '.'), FG_SPAN("blk")) || rest.data == NULL)
        return false;
    if (!fg_span_parse_u64(fg_span_split(&rest, '.'), &layer) ||
        layer >= model->shape.layer_count || rest.data == NULL)
        return false;
    for (size_t i = 0; i < LAYER_RULE_COUNT; i++) {
        if ((layer_rules[i].allowed_in & (1u << model->shape.arch)) != 0 &&
            fg_span_equal(rest, fg_span_from_string(layer_rules[i].suffix)))
            return true;
    }
    /* Left by old converters; what it held is computed. */
    return fg_span_equal(rest, FG_SPAN("attn_rot_embd"));
}

/* A tensor that nothing reads would mean that the model computes something that we do not. */
static enum fg_status refuse_unknown_tensors(const struct fg_model *model, struct fg_error *error)
{
    for (size_t i = 0; i < fg_gguf_tensor_count(model->gguf); i++) {
        struct fg_span name = fg_gguf_tensor_at(model->gguf, i)->name;
        if (fg_span_equal(name, FG_SPAN("token_embd.weight")) ||
            fg_span_equal(name, FG_SPAN("output.weight")) ||
            fg_span_equal(name, FG_SPAN("output_norm.weight")) || is_layer_tensor(model, name))
            continue;
        if (model->shape.arch == FG_ARCH_LLAMA && fg_span_equal(name, FG_SPAN("rope_freqs.weight")))
            continue;
        if (name.len > 128)
            name.len = 128;
        return fg_error_set(error,
                            "tensor %.*s has no meaning in a %s model of %u layers; "
                            "expected none but the known ones",
                            FG_SPAN_ARGS(name), fg_model_arch_name(model->shape.arch),
                            model->shape.layer_count);
    }
    return FG_OK;
}

static enum fg_status load_embedding(struct fg_model *model, struct fg_error *error)
{
    struct fg_model_shape *shape = &model->shape;
    const struct fg_tensor *embedding = fg_gguf_find_tensor(model->gguf, "token_embd.weight");
    const struct fg_tensor *output = fg_gguf_find_tensor(model->gguf, "output.weight");
    size_t token_count = fg_gguf_string_array_count(model->gguf, "tokenizer.ggml.tokens");
    if (embedding == NULL)
        return fg_error_set(error, "tensor token_embd.weight is missing; every model needs it");
    uint64_t rows = embedding->dims[1];
    if (rows < 1 || rows > VOCAB_MAX)
        return fg_error_set(error, "tensor token_embd.weight: %" PRIu64 " tokens; expected 1 to %u",
                            rows, VOCAB_MAX);
    if (token_count > rows)
        return fg_error_set(error,
                            "tokenizer.ggml.tokens holds %zu tokens; expected at most the %" PRIu64
                            " rows of token_embd.weight",
                            token_count, rows);
    shape->vocab_count = (uint32_t)rows;
    enum fg_status status =
        describe(embedding, "token_embd.weight", rows, shape->width, &model->embedding, error);
    model->output = model->embedding;
    if (status == FG_OK && output != NULL)
        status = describe(output, "output.weight", rows, shape->width, &model->output, error);
    return status;
}

static enum fg_status load_rope(struct fg_model *model, double scale, struct fg_error *error)
{
    uint32_t pair_count = model->shape.rope_dim / 2;
    const float *factors = NULL;
    model->rope_frequencies = calloc(pair_count, sizeof(model->rope_frequencies[0]));
    if (model->rope_frequencies == NULL)
        return fg_error_set(error, "no memory for %u rope frequencies", pair_count);
    const struct fg_tensor *tensor = fg_gguf_find_tensor(model->gguf, "rope_freqs.weight");
    if (tensor != NULL) {
        enum fg_status status =
            copy_vector(model, tensor, "rope_freqs.weight", pair_count, &factors, error);
        if (status != FG_OK)
            return status;
    }
    for (uint32_t i = 0; i < pair_count; i++) {
        double factor = factors != NULL ? (double)factors[i] : 1;
        if (!(factor > 0) || isinf(factor))
            return fg_error_set(error, "tensor rope_freqs.weight: value %u is %g; expected above 0",
                                i, factor);
        double exponent = -2.0 * (double)i / (double)model->shape.rope_dim;
        model->rope_frequencies[i] = pow((double)model->shape.rope_base, exponent) / factor / scale;
    }
    return FG_OK;
}

static enum fg_status load(struct fg_model *model, struct fg_error *error)
{
    double rope_scale = 1;
    enum fg_status status = fg_model_read_shape(model->gguf, &model->shape, &rope_scale, error);
    if (status != FG_OK)
        return status;
    model->rotates_pairs = model->shape.arch == FG_ARCH_LLAMA;
    status = reserve_floats(model, error);
    if (status == FG_OK)
        status = load_embedding(model, error);
    if (status == FG_OK)
        status = refuse_unknown_tensors(model, error);
    if (status == FG_OK)
        status = load_rope(model, rope_scale, error);
    if (status != FG_OK)
        return status;
    const struct fg_tensor *norm = fg_gguf_find_tensor(model->gguf, "output_norm.weight");
    if (norm == NULL)
        return fg_error_set(error, "tensor output_norm.weight is missing; every model needs it");
    status = copy_vector(model, norm, "output_norm.weight", model->shape.width, &model->output_norm,
                         error);
    model->layers = calloc(model->shape.layer_count, sizeof(model->layers[0]));
    if (status == FG_OK && model->layers == NULL)
        status = fg_error_set(error, "no memory for %u layers", model->shape.layer_count);
    for (uint32_t i = 0; status == FG_OK && i < model->shape.layer_count; i++)
        status = load_layer(model, i, error);
    return status;
}

enum fg_status fg_model_from_gguf(struct fg_model **out, struct fg_gguf *gguf,
                                  struct fg_error *error)
{
    *out = NULL;
    struct fg_model *model = calloc(1, sizeof(*model));
    if (model == NULL)
        return fg_error_set(error, "no memory for the model's description");
    model->gguf = gguf;
    enum fg_status status = load(model, error);
    if (status != FG_OK) {
        model->gguf = NULL; /* still the caller's */
        fg_model_close(model);
        return status;
    }
    *out = model;
    return FG_OK;
}

enum fg_status fg_model_open(struct fg_model **out, const char *path, struct fg_error *error)
{
    struct fg_gguf *gguf;
    *out = NULL;
    enum fg_status status = fg_gguf_open(&gguf, path, error);
    if (status != FG_OK)
        return status;
    status = fg_model_from_gguf(out, gguf, error);
    if (status != FG_OK)
        fg_gguf_close(gguf);
    return status;
}

void fg_model_close(struct fg_model *model)
{
    if (model == NULL)
        return;
    fg_gguf_close(model->gguf);
    free(model->rope_frequencies);
    free(model->layers);
    free(model->floats);
    free(model);
}

const struct fg_model_shape *fg_model_shape(const struct fg_model *model)
{
    return &model->shape;
}

const struct fg_gguf *fg_model_gguf(const struct fg_model *model)
{
    return model->gguf;
}

struct fg_kv_shape fg_model_kv_shape(const struct fg_model *model)
{
    return (struct fg_kv_shape){.layer_count = model->shape.layer_count,
                                .kv_head_count = model->shape.kv_head_count,
                                .head_dim = model->shape.head_dim};
}
