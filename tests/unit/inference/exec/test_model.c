/*
 * test_model.c: what a model file must hold, and the message for each way in which it does not.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tiny_gguf.h"

#define SOUND                                                                                      \
    .layers = 2, .width = 32, .heads = 4, .kv_heads = 2, .head_dim = 8, .ff = 64, .vocab = 40

/* Opens what the options make; it must be refused with a message that holds `part`. */
static void refuses(struct tiny_options options, const char *part)
{
    struct tiny_file file;
    struct fg_gguf *gguf;
    struct fg_model *model;
    struct fg_error error = {.line = 0};
    tiny_file_init(&file, &options);
    if (fg_gguf_parse(&gguf, file.bytes, file.byte_count, &error) != FG_OK)
        fail_msg("the file itself: %s", error.message);
    enum fg_status status = fg_model_from_gguf(&model, gguf, &error);
    if (status == FG_OK)
        fail_msg("accepted; expected \"%s\"", part);
    assert_int_equal(status, FG_ERR_CONFIG);
    assert_null(model);
    if (strstr(error.message, part) == NULL)
        fail_msg("\"%s\"; expected \"%s\"", error.message, part);
    fg_gguf_close(gguf);
    tiny_file_fini(&file);
}

static void reads_the_shape(void **state)
{
    (void)state;
    struct tiny_options options = {.arch = "qwen3", SOUND};
    struct tiny_file file;
    struct fg_model *model = tiny_model_open(&file, &options);
    const struct fg_model_shape *shape = fg_model_shape(model);
    assert_int_equal(shape->arch, FG_ARCH_QWEN3);
    assert_int_equal(shape->layer_count, 2);
    assert_int_equal(shape->width, 32);
    assert_int_equal(shape->head_count, 4);
    assert_int_equal(shape->kv_head_count, 2);
    assert_int_equal(shape->head_dim, 8);
    assert_int_equal(shape->rope_dim, 8);
    assert_int_equal(shape->ff_width, 64);
    assert_int_equal(shape->vocab_count, 40);
    assert_int_equal(shape->context_length, 512);
    assert_true(shape->rope_base == 10000);
    assert_true(shape->norm_epsilon == 1e-5f);
    struct fg_kv_shape kv = fg_model_kv_shape(model);
    assert_int_equal(kv.layer_count, 2);
    assert_int_equal(kv.kv_head_count, 2);
    assert_int_equal(kv.head_dim, 8);
    assert_non_null(fg_model_gguf(model));
    fg_model_close(model);
    tiny_file_fini(&file);
    fg_model_close(NULL);
}

static void opens_a_file_and_names_it_in_errors(void **state)
{
    (void)state;
    struct tiny_options options = {.arch = "llama", SOUND};
    struct tiny_file file;
    struct fg_model *model;
    struct fg_error error = {.line = 0};
    char path[] = "/tmp/fg_test_model_XXXXXX";
    int fd = mkstemp(path);
    assert_int_not_equal(fd, -1);
    tiny_file_init(&file, &options);
    assert_int_equal(write(fd, file.bytes, file.byte_count), (ssize_t)file.byte_count);
    assert_int_equal(fg_model_open(&model, path, &error), FG_OK);
    fg_model_close(model);
    /* Cut in the middle of the last tensor. */
    assert_int_equal(ftruncate(fd, (off_t)file.byte_count - 64), 0);
    assert_int_equal(fg_model_open(&model, path, &error), FG_ERR_CONFIG);
    assert_null(model);
    assert_string_equal(error.file, path);
    close(fd);
    unlink(path);
    assert_int_equal(fg_model_open(&model, path, &error), FG_ERR_CONFIG);
    assert_string_equal(error.file, path);
    tiny_file_fini(&file);
}

#define BROKEN(...) ((struct tiny_options){.arch = "llama", SOUND, __VA_ARGS__})
#define WITH_FLOAT(key, value) BROKEN(.float_key = "llama." key, .float_value = (value))
#define WITH_NUMBER(key, value) BROKEN(.number_key = "llama." key, .number_value = (value))
#define WITH_STRING(key, value) BROKEN(.string_key = "llama." key, .string_value = (value))

static void refuses_other_architectures(void **state)
{
    (void)state;
    refuses(BROKEN(.string_key = "general.architecture", .string_value = "gpt2"),
            "general.architecture is \"gpt2\"; expected one of llama, qwen2, qwen3");
    refuses(BROKEN(.string_key = "general.architecture", .string_value = ""),
            "general.architecture is \"\"");
    refuses(BROKEN(.skip_key = "general.architecture"), "general.architecture is missing");
    refuses(BROKEN(.number_key = "general.architecture", .number_value = 1),
            "general.architecture is missing");
    refuses(WITH_NUMBER("expert_count", 8), "llama.expert_count is 8");
}

static void refuses_bad_counts(void **state)
{
    (void)state;
    static const char *const keys[] = {"block_count", "embedding_length", "feed_forward_length",
                                       "context_length", "attention.head_count"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char key[64], message[96];
        struct tiny_options options = {.arch = "llama", SOUND};
        snprintf(key, sizeof(key), "llama.%s", keys[i]);
        snprintf(message, sizeof(message), "%s is missing; expected 1 to", key);
        options.skip_key = key;
        refuses(options, message);
        options.skip_key = NULL;
        options.number_key = key;
        options.number_value = 0;
        snprintf(message, sizeof(message), "%s is 0; expected 1 to", key);
        refuses(options, message);
        options.number_value = UINT32_MAX;
        snprintf(message, sizeof(message), "%s is 4294967295; expected 1 to", key);
        refuses(options, message);
        options.number_key = NULL;
        options.float_key = key;
        options.float_value = NAN;
        snprintf(message, sizeof(message), "%s is nan; expected a whole number", key);
        refuses(options, message);
        options.float_key = NULL;
        options.string_key = key;
        options.string_value = "many";
        snprintf(message, sizeof(message), "%s is not a number", key);
        refuses(options, message);
    }
}

static void refuses_heads_that_do_not_fit(void **state)
{
    (void)state;
    refuses(WITH_NUMBER("attention.head_count_kv", 3),
            "llama.attention.head_count_kv is 3; expected a divisor of the 4 heads");
    refuses(WITH_NUMBER("attention.head_count_kv", 0), "attention.head_count_kv is 0");
    refuses(WITH_NUMBER("attention.key_length", 7), "key_length is 7; expected an even");
    refuses(WITH_NUMBER("attention.key_length", 4096), "key_length is 4096; expected 1 to");
    refuses(WITH_NUMBER("attention.value_length", 16),
            "value_length is 16; expected 8, as the keys");
    refuses(WITH_NUMBER("rope.dimension_count", 3), "rope.dimension_count is 3; expected an even");
    refuses(WITH_NUMBER("rope.dimension_count", 16), "up to the head size 8");
    struct tiny_options options = {
        .arch = "llama", SOUND, .skip_key = "llama.attention.key_length"};
    options.width = 34;
    refuses(options, "llama.embedding_length is 34; expected a multiple of the 4 heads");
}

static void refuses_numbers_that_are_none(void **state)
{
    (void)state;
    refuses(WITH_FLOAT("attention.layer_norm_rms_epsilon", NAN),
            "llama.attention.layer_norm_rms_epsilon is nan; expected");
    refuses(WITH_FLOAT("attention.layer_norm_rms_epsilon", (double)INFINITY), "epsilon is inf;");
    refuses(WITH_FLOAT("attention.layer_norm_rms_epsilon", -1e-5), "epsilon is -1e-05;");
    refuses(WITH_FLOAT("attention.layer_norm_rms_epsilon", 0), "epsilon is 0;");
    refuses(WITH_STRING("attention.layer_norm_rms_epsilon", "x"), "epsilon is not a number");
    refuses(BROKEN(.skip_key = "llama.attention.layer_norm_rms_epsilon"), "epsilon is missing");
    refuses(WITH_FLOAT("rope.freq_base", NAN), "llama.rope.freq_base is nan;");
    refuses(WITH_FLOAT("rope.freq_base", (double)-INFINITY), "llama.rope.freq_base is -inf;");
    refuses(WITH_FLOAT("rope.freq_base", 0), "llama.rope.freq_base is 0;");
}

static void refuses_rope_scaling_that_it_does_not_do(void **state)
{
    (void)state;
    refuses(WITH_STRING("rope.scaling.type", "yarn"),
            "llama.rope.scaling.type is \"yarn\"; expected none, linear");
    refuses(WITH_STRING("rope.scaling.type", "llama3"), "llama3 with rope_freqs.weight");
    refuses(WITH_NUMBER("rope.scaling.type", 1), "rope.scaling.type is not a string");
    refuses(WITH_STRING("rope.scaling.type", "linear"), "llama.rope.scaling.factor is missing");
}

static void refuses_missing_and_unknown_tensors(void **state)
{
    (void)state;
    static const char *const needed[] = {
        "token_embd.weight",        "output_norm.weight",    "blk.0.attn_norm.weight",
        "blk.1.ffn_norm.weight",    "blk.0.attn_q.weight",   "blk.0.attn_k.weight",
        "blk.1.attn_v.weight",      "blk.1.ffn_gate.weight", "blk.1.ffn_up.weight",
        "blk.1.attn_output.weight", "blk.1.ffn_down.weight"};
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        char message[96];
        snprintf(message, sizeof(message), "tensor %s is missing", needed[i]);
        refuses(BROKEN(.skip_tensor = needed[i]), message);
    }
    refuses((struct tiny_options){.arch = "qwen2", SOUND, .skip_tensor = "blk.1.attn_k.bias"},
            "tensor blk.1.attn_k.bias is missing; a qwen2 model needs it");
    refuses(
        (struct tiny_options){.arch = "qwen3", SOUND, .skip_tensor = "blk.0.attn_q_norm.weight"},
        "tensor blk.0.attn_q_norm.weight is missing; a qwen3 model needs it");
    refuses(BROKEN(.extra_tensor = "blk.0.ffn_gate_exps.weight"),
            "tensor blk.0.ffn_gate_exps.weight has no meaning in a llama model");
    refuses(BROKEN(.extra_tensor = "blk.2.attn_q.weight"), "blk.2.attn_q.weight has no meaning");
    refuses(BROKEN(.extra_tensor = "blk.0.attn_q_norm.weight"), "has no meaning in a llama model");
    refuses((struct tiny_options){.arch = "qwen3", SOUND, .extra_tensor = "rope_freqs.weight"},
            "rope_freqs.weight has no meaning in a qwen3 model");
}

static void refuses_wrong_shapes_and_types(void **state)
{
    (void)state;
    refuses(BROKEN(.grown_tensor = "token_embd.weight"),
            "tensor token_embd.weight: shape is 33 x 40 x 1 x 1; expected 32 x 40");
    refuses(BROKEN(.grown_tensor = "blk.1.ffn_down.weight"),
            "tensor blk.1.ffn_down.weight: shape is 65 x 32 x 1 x 1; expected 64 x 32");
    refuses(BROKEN(.grown_tensor = "blk.0.attn_norm.weight"), "shape is 33 x 1 x 1 x 1");
    refuses(BROKEN(.grown_tensor = "output_norm.weight"), "tensor output_norm.weight: shape");
    refuses(BROKEN(.has_output = true, .grown_tensor = "output.weight"), "output.weight: shape");
    refuses(BROKEN(.has_rope_factors = true, .grown_tensor = "rope_freqs.weight"),
            "tensor rope_freqs.weight: shape is 5 x 1 x 1 x 1; expected 4 x 1");
    refuses(BROKEN(.retyped_tensor = "blk.1.ffn_down.weight", .retyped_to = 20 /* IQ4_NL */),
            "tensor blk.1.ffn_down.weight: type IQ4_NL is not supported; "
            "expected one of F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K");
    refuses(BROKEN(.token_strings = 41), "tokenizer.ggml.tokens holds 41 tokens");
}

static void accepts_what_is_optional(void **state)
{
    (void)state;
    static const struct tiny_options sound[] = {
        {.arch = "llama", SOUND, .has_biases = true, .has_rope_factors = true},
        {.arch = "llama", SOUND, .has_output = true, .token_strings = 40},
        {.arch = "llama", SOUND, .string_key = "llama.rope.scaling.type", .string_value = "none"},
        {.arch = "llama",
         SOUND,
         .has_rope_factors = true,
         .string_key = "llama.rope.scaling.type",
         .string_value = "llama3"},
        {.arch = "llama", SOUND, .extra_tensor = "blk.0.attn_rot_embd"},
        {.arch = "qwen2", SOUND, .rope_linear_factor = 2},
        {.arch = "qwen3", SOUND, .skip_key = "qwen3.attention.value_length"},
        {.arch = "qwen2", SOUND, .retyped_tensor = "blk.0.attn_q.weight", .retyped_to = 8},
        {.arch = "qwen2", SOUND, .retyped_tensor = "blk.0.attn_q.weight", .retyped_to = 2},
        {.arch = "qwen2", SOUND, .retyped_tensor = "blk.0.attn_norm.weight", .retyped_to = 30},
    };
    for (size_t i = 0; i < sizeof(sound) / sizeof(sound[0]); i++) {
        struct tiny_file file;
        fg_model_close(tiny_model_open(&file, &sound[i]));
        tiny_file_fini(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_shape),
        cmocka_unit_test(opens_a_file_and_names_it_in_errors),
        cmocka_unit_test(refuses_other_architectures),
        cmocka_unit_test(refuses_bad_counts),
        cmocka_unit_test(refuses_heads_that_do_not_fit),
        cmocka_unit_test(refuses_numbers_that_are_none),
        cmocka_unit_test(refuses_rope_scaling_that_it_does_not_do),
        cmocka_unit_test(refuses_missing_and_unknown_tensors),
        cmocka_unit_test(refuses_wrong_shapes_and_types),
        cmocka_unit_test(accepts_what_is_optional),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
