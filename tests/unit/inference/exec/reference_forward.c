/*
 * reference_forward.c: slow and plain on purpose: whole rows of scores, every position again in
 * every layer, no cache (but keys and values rounded as the cache rounds them).
 */
#include "reference_forward.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "inference/kernels/scalar/float16.h"

struct pass {
    const struct fg_gguf *gguf;
    const struct tiny_options *options;
    size_t count; /* tokens */
    size_t layer;
};

static double *zeros(size_t count)
{
    double *values = calloc(count, sizeof(values[0]));
    assert_non_null(values);
    return values;
}

/* Element `index` of an F32 tensor at any alignment. */
static double element(const struct fg_tensor *tensor, size_t index)
{
    float value;
    memcpy(&value, (const unsigned char *)tensor->data + index * sizeof(value), sizeof(value));
    return (double)value;
}

static const struct fg_tensor *layer_tensor(const struct pass *pass, const char *suffix)
{
    char name[64];
    snprintf(name, sizeof(name), "blk.%zu.%s", pass->layer, suffix);
    return fg_gguf_find_tensor(pass->gguf, name);
}

/* out (count, rows) = in (count, cols) W^T + bias */
static double *multiply(const struct pass *pass, const struct fg_tensor *weight,
                        const struct fg_tensor *bias, const double *in)
{
    size_t cols = weight->dims[0], rows = weight->dims[1];
    double *out = zeros(pass->count * rows);
    for (size_t t = 0; t < pass->count; t++) {
        for (size_t r = 0; r < rows; r++) {
            double sum = bias != NULL ? element(bias, r) : 0;
            for (size_t c = 0; c < cols; c++)
                sum += element(weight, r * cols + c) * in[t * cols + c];
            out[t * rows + r] = sum;
        }
    }
    return out;
}

/* Normalise `count` vectors of the weight's length, from `in` into `out`. */
static void normalise(const struct fg_tensor *weight, const double *in, double *out, size_t count)
{
    size_t length = weight->dims[0];
    for (size_t v = 0; v < count; v++) {
        double squares = 0;
        for (size_t i = 0; i < length; i++)
            squares += in[v * length + i] * in[v * length + i];
        double scale = 1 / sqrt(squares / (double)length + 1e-5);
        for (size_t i = 0; i < length; i++)
            out[v * length + i] = in[v * length + i] * scale * element(weight, i);
    }
}

static void rotate(const struct pass *pass, double *heads, size_t head_count)
{
    const struct tiny_options *o = pass->options;
    const struct fg_tensor *factors = fg_gguf_find_tensor(pass->gguf, "rope_freqs.weight");
    size_t dim = o->rope_dim != 0 ? o->rope_dim : o->head_dim;
    bool is_llama = strcmp(o->arch, "llama") == 0;
    for (size_t h = 0; h < pass->count * head_count; h++) {
        double *head = heads + h * o->head_dim;
        for (size_t i = 0; i < dim / 2; i++) {
            double angle = (double)(h / head_count) * pow(10000, -2.0 * (double)i / (double)dim);
            if (factors != NULL)
                angle /= element(factors, i);
            if (o->rope_linear_factor > 0)
                angle /= (double)o->rope_linear_factor;
            double *a = is_llama ? &head[2 * i] : &head[i];
            double *b = is_llama ? &head[2 * i + 1] : &head[i + dim / 2];
            double first = *a, second = *b;
            *a = first * cos(angle) - second * sin(angle);
            *b = first * sin(angle) + second * cos(angle);
        }
    }
}

/* As the KV cache keeps it. */
static void round_to_f16(double *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        values[i] = (double)fg_f16_to_f32(fg_f32_to_f16_one((float)values[i]));
}

static void attend_from(const struct pass *pass, size_t token, size_t head, const double *q,
                        const double *k, const double *v, double *out)
{
    const struct tiny_options *o = pass->options;
    size_t dim = o->head_dim, kv_head = head / (o->heads / o->kv_heads);
    const double *query = q + (token * o->heads + head) * dim;
    double *to = out + (token * o->heads + head) * dim;
    double total = 0;
    for (size_t p = 0; p <= token; p++) {
        const double *key = k + (p * o->kv_heads + kv_head) * dim;
        const double *value = v + (p * o->kv_heads + kv_head) * dim;
        double score = 0;
        for (size_t i = 0; i < dim; i++)
            score += query[i] * key[i];
        double weight = exp(score / sqrt((double)dim));
        total += weight;
        for (size_t i = 0; i < dim; i++)
            to[i] += weight * value[i];
    }
    for (size_t i = 0; i < dim; i++)
        to[i] /= total;
}

static void add_attention(const struct pass *pass, double *x)
{
    const struct tiny_options *o = pass->options;
    double *normed = zeros(pass->count * o->width);
    normalise(layer_tensor(pass, "attn_norm.weight"), x, normed, pass->count);
    double *q = multiply(pass, layer_tensor(pass, "attn_q.weight"),
                         layer_tensor(pass, "attn_q.bias"), normed);
    double *k = multiply(pass, layer_tensor(pass, "attn_k.weight"),
                         layer_tensor(pass, "attn_k.bias"), normed);
    double *v = multiply(pass, layer_tensor(pass, "attn_v.weight"),
                         layer_tensor(pass, "attn_v.bias"), normed);
    if (layer_tensor(pass, "attn_q_norm.weight") != NULL) {
        normalise(layer_tensor(pass, "attn_q_norm.weight"), q, q, pass->count * o->heads);
        normalise(layer_tensor(pass, "attn_k_norm.weight"), k, k, pass->count * o->kv_heads);
    }
    rotate(pass, q, o->heads);
    rotate(pass, k, o->kv_heads);
    round_to_f16(k, pass->count * o->kv_heads * o->head_dim);
    round_to_f16(v, pass->count * o->kv_heads * o->head_dim);
    double *attended = zeros(pass->count * o->heads * o->head_dim);
    for (size_t t = 0; t < pass->count; t++) {
        for (size_t h = 0; h < o->heads; h++)
            attend_from(pass, t, h, q, k, v, attended);
    }
    double *delta = multiply(pass, layer_tensor(pass, "attn_output.weight"),
                             layer_tensor(pass, "attn_output.bias"), attended);
    for (size_t i = 0; i < pass->count * o->width; i++)
        x[i] += delta[i];
    double *const used[] = {normed, q, k, v, attended, delta};
    for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++)
        free(used[i]);
}

static void add_ff(const struct pass *pass, double *x)
{
    const struct tiny_options *o = pass->options;
    double *normed = zeros(pass->count * o->width);
    normalise(layer_tensor(pass, "ffn_norm.weight"), x, normed, pass->count);
    double *gate = multiply(pass, layer_tensor(pass, "ffn_gate.weight"), NULL, normed);
    double *up = multiply(pass, layer_tensor(pass, "ffn_up.weight"), NULL, normed);
    for (size_t i = 0; i < pass->count * o->ff; i++)
        gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    double *delta = multiply(pass, layer_tensor(pass, "ffn_down.weight"), NULL, gate);
    for (size_t i = 0; i < pass->count * o->width; i++)
        x[i] += delta[i];
    free(normed);
    free(gate);
    free(up);
    free(delta);
}

void reference_forward(const struct fg_model *model, const struct tiny_options *options,
                       const uint32_t *tokens, uint32_t count, double *logits)
{
    struct pass pass = {.gguf = fg_model_gguf(model), .options = options, .count = count};
    const struct fg_tensor *embedding = fg_gguf_find_tensor(pass.gguf, "token_embd.weight");
    const struct fg_tensor *output = fg_gguf_find_tensor(pass.gguf, "output.weight");
    size_t width = options->width;
    double *x = zeros(count * width);
    for (size_t i = 0; i < count * width; i++)
        x[i] = element(embedding, tokens[i / width] * width + i % width);
    for (pass.layer = 0; pass.layer < options->layers; pass.layer++) {
        add_attention(&pass, x);
        add_ff(&pass, x);
    }
    double *last = x + (count - 1) * width;
    normalise(fg_gguf_find_tensor(pass.gguf, "output_norm.weight"), last, last, 1);
    pass.count = 1;
    double *row = multiply(&pass, output != NULL ? output : embedding, NULL, last);
    memcpy(logits, row, options->vocab * sizeof(logits[0]));
    free(row);
    free(x);
}
