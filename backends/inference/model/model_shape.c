/*
 * model_shape.c: a model's sizes from the metadata of its file, refused by name if they cannot be.
 * Thread   the start-up thread.
 * Never    lets a number through that later arithmetic could overflow on: every count has a bound,
 *          so that products of two fit 64 bits with room to spare.
 */
#include "inference/model/model_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define LAYERS_MAX 1024
#define WIDTH_MAX 65536
#define HEADS_MAX 1024
#define HEAD_DIM_MAX 1024
#define FF_WIDTH_MAX 1048576
#define CONTEXT_MAX 16777216

static const char *const arch_names[] = {
    [FG_ARCH_LLAMA] = "llama", [FG_ARCH_QWEN2] = "qwen2", [FG_ARCH_QWEN3] = "qwen3"};

struct reader {
    const struct fg_gguf *gguf;
    const char *arch;
    struct fg_error *error;
    char key[128];
};

const char *fg_model_arch_name(enum fg_model_arch arch)
{
    return arch_names[arch];
}

/* "ARCH.NAME"; valid until the next call. */
static const char *full_key(struct reader *reader, const char *name)
{
    snprintf(reader->key, sizeof(reader->key), "%s.%s", reader->arch, name);
    return reader->key;
}

/* A whole number within 1 .. max. When absent: `fallback`, or an error where that is 0. */
static enum fg_status read_count(struct reader *reader, const char *name, uint32_t max,
                                 uint32_t fallback, uint32_t *out)
{
    const char *key = full_key(reader, name);
    uint64_t value = fallback;
    double number;
    if (!fg_gguf_has(reader->gguf, key)) {
        if (fallback == 0)
            return fg_error_set(reader->error, "%s is missing; expected 1 to %u", key, max);
    } else if (!fg_gguf_get_u64(reader->gguf, key, &value)) {
        if (fg_gguf_get_f64(reader->gguf, key, &number))
            return fg_error_set(reader->error, "%s is %g; expected a whole number from 1 to %u",
                                key, number, max);
        return fg_error_set(reader->error, "%s is not a number; expected 1 to %u", key, max);
    }
    if (value < 1 || value > max)
        return fg_error_set(reader->error, "%s is %" PRIu64 "; expected 1 to %u", key, value, max);
    *out = (uint32_t)value;
    return FG_OK;
}

/* A number within low .. high, both allowed. When absent: `fallback`, an error where that is 0. */
static enum fg_status read_real(struct reader *reader, const char *name, double low, double high,
                                double fallback, double *out)
{
    const char *key = full_key(reader, name);
    *out = fallback;
    if (!fg_gguf_has(reader->gguf, key)) {
        if (fallback > 0)
            return FG_OK;
        return fg_error_set(reader->error, "%s is missing; expected a number from %g to %g", key,
                            low, high);
    }
    if (!fg_gguf_get_f64(reader->gguf, key, out))
        return fg_error_set(reader->error, "%s is not a number; expected %g to %g", key, low, high);
    if (isnan(*out) || *out < low || *out > high)
        return fg_error_set(reader->error, "%s is %g; expected a number from %g to %g", key,
                            isnan(*out) ? (double)NAN : *out, low, high);
    return FG_OK;
}

static enum fg_status read_arch(const struct fg_gguf *gguf, enum fg_model_arch *arch,
                                struct fg_error *error)
{
    struct fg_span name;
    if (!fg_gguf_get_string(gguf, "general.architecture", &name))
        return fg_error_set(error, "general.architecture is missing; "
                                   "expected one of llama, qwen2, qwen3");
    for (size_t i = 0; i < sizeof(arch_names) / sizeof(arch_names[0]); i++) {
        if (fg_span_equal(name, fg_span_from_string(arch_names[i]))) {
            *arch = (enum fg_model_arch)i;
            return FG_OK;
        }
    }
    struct fg_span shown = name;
    if (shown.len > 64)
        shown.len = 64;
    return fg_error_set(error,
                        "general.architecture is \"%.*s\"; expected one of llama, qwen2, qwen3",
                        FG_SPAN_ARGS(shown));
}

static enum fg_status read_head_dim(struct reader *reader, struct fg_model_shape *shape)
{
    uint32_t fallback = 0, value_length = 0;
    if (!fg_gguf_has(reader->gguf, full_key(reader, "attention.key_length"))) {
        if (shape->width % shape->head_count != 0)
            return fg_error_set(reader->error,
                                "%s.embedding_length is %u; expected a multiple of the %u heads",
                                reader->arch, shape->width, shape->head_count);
        fallback = shape->width / shape->head_count;
    }
    enum fg_status status =
        read_count(reader, "attention.key_length", HEAD_DIM_MAX, fallback, &shape->head_dim);
    if (status != FG_OK)
        return status;
    if (shape->head_dim % 2 != 0)
        return fg_error_set(reader->error, "%s is %u; expected an even head size",
                            full_key(reader, "attention.key_length"), shape->head_dim);
    status =
        read_count(reader, "attention.value_length", HEAD_DIM_MAX, shape->head_dim, &value_length);
    if (status == FG_OK && value_length != shape->head_dim)
        return fg_error_set(reader->error, "%s is %u; expected %u, as the keys",
                            full_key(reader, "attention.value_length"), value_length,
                            shape->head_dim);
    return status;
}

static enum fg_status read_heads(struct reader *reader, struct fg_model_shape *shape)
{
    enum fg_status status =
        read_count(reader, "attention.head_count", HEADS_MAX, 0, &shape->head_count);
    if (status == FG_OK)
        status = read_count(reader, "attention.head_count_kv", HEADS_MAX, shape->head_count,
                            &shape->kv_head_count);
    if (status != FG_OK)
        return status;
    if (shape->head_count % shape->kv_head_count != 0)
        return fg_error_set(reader->error, "%s is %u; expected a divisor of the %u heads",
                            full_key(reader, "attention.head_count_kv"), shape->kv_head_count,
                            shape->head_count);
    return read_head_dim(reader, shape);
}

/* Only what we rotate by is accepted: none, linear, or llama3 through rope_freqs.weight. */
static enum fg_status read_rope_scaling(struct reader *reader, double *scale)
{
    struct fg_span type;
    const char *key = full_key(reader, "rope.scaling.type");
    *scale = 1;
    if (!fg_gguf_has(reader->gguf, key)) /* older files have only the factor, for linear */
        return read_real(reader, "rope.scale_linear", 1e-3, 1e6, 1, scale);
    if (!fg_gguf_get_string(reader->gguf, key, &type))
        return fg_error_set(reader->error, "%s is not a string; expected none, linear or llama3",
                            key);
    if (fg_span_equal(type, FG_SPAN("none")))
        return FG_OK;
    if (fg_span_equal(type, FG_SPAN("linear")))
        return read_real(reader, "rope.scaling.factor", 1e-3, 1e6, 0, scale);
    if (fg_span_equal(type, FG_SPAN("llama3")) &&
        fg_gguf_find_tensor(reader->gguf, "rope_freqs.weight") != NULL)
        return FG_OK;
    if (type.len > 32)
        type.len = 32;
    return fg_error_set(reader->error,
                        "%s is \"%.*s\"; expected none, linear, or llama3 with rope_freqs.weight",
                        key, FG_SPAN_ARGS(type));
}

static enum fg_status read_rope(struct reader *reader, struct fg_model_shape *shape,
                                double *rope_scale)
{
    double base;
    enum fg_status status = read_real(reader, "rope.freq_base", 1, 1e12, 10000, &base);
    if (status == FG_OK)
        status = read_count(reader, "rope.dimension_count", HEAD_DIM_MAX, shape->head_dim,
                            &shape->rope_dim);
    if (status == FG_OK)
        status = read_rope_scaling(reader, rope_scale);
    if (status != FG_OK)
        return status;
    shape->rope_base = (float)base;
    if (shape->rope_dim % 2 != 0 || shape->rope_dim > shape->head_dim)
        return fg_error_set(
            reader->error, "%s is %u; expected an even number up to the head size %u",
            full_key(reader, "rope.dimension_count"), shape->rope_dim, shape->head_dim);
    return FG_OK;
}

enum fg_status fg_model_read_shape(const struct fg_gguf *gguf, struct fg_model_shape *shape,
                                   double *rope_scale, struct fg_error *error)
{
    struct reader reader = {.gguf = gguf, .error = error};
    double epsilon = 0;
    uint64_t expert_count;
    memset(shape, 0, sizeof(*shape));
    enum fg_status status = read_arch(gguf, &shape->arch, error);
    if (status != FG_OK)
        return status;
    reader.arch = arch_names[shape->arch];
    if (fg_gguf_get_u64(gguf, full_key(&reader, "expert_count"), &expert_count) &&
        expert_count != 0)
        return fg_error_set(error, "%s is %" PRIu64 "; expected a model without experts",
                            reader.key, expert_count);
    status = read_count(&reader, "block_count", LAYERS_MAX, 0, &shape->layer_count);
    if (status == FG_OK)
        status = read_count(&reader, "embedding_length", WIDTH_MAX, 0, &shape->width);
    if (status == FG_OK)
        status = read_count(&reader, "feed_forward_length", FF_WIDTH_MAX, 0, &shape->ff_width);
    if (status == FG_OK)
        status = read_count(&reader, "context_length", CONTEXT_MAX, 0, &shape->context_length);
    if (status == FG_OK)
        status = read_heads(&reader, shape);
    if (status == FG_OK)
        status = read_real(&reader, "attention.layer_norm_rms_epsilon", 1e-30, 1, 0, &epsilon);
    if (status == FG_OK)
        status = read_rope(&reader, shape, rope_scale);
    shape->norm_epsilon = (float)epsilon;
    return status;
}
