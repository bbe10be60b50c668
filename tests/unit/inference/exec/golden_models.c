/*
 * golden_models.c: finds golden files and sets up engines for tests.
 */
#include "golden_models.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool is_type_supported(const char *type)
{
    static const char *const types[] = {"F32",  "F16",  "BF16", "Q8_0", "Q4_0", "Q4_1",
                                        "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(type, types[i]) == 0)
            return true;
    }
    return false;
}

static int is_golden_file(const struct dirent *entry)
{
    const char *suffix = ".golden.json";
    size_t length = strlen(entry->d_name);
    return strncmp(entry->d_name, "tokenizer-", 10) != 0 && length > strlen(suffix) &&
           strcmp(entry->d_name + length - strlen(suffix), suffix) == 0;
}

static void check_file(const char *directory, const char *name, golden_fn check)
{
    char path[1024];
    json_error_t error;
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    json_t *golden = json_load_file(path, 0, &error);
    if (golden == NULL)
        fail_msg("%s:%d: %s", path, error.line, error.text);
    const char *type = json_string_value(json_object_get(golden, "type"));
    const char *model = json_string_value(json_object_get(golden, "model"));
    snprintf(path, sizeof(path), "%s/%s", directory, model);
    FILE *file = fopen(path, "rb");
    if (file == NULL) { /* the demo model lies where the demo finds it */
        snprintf(path, sizeof(path), FG_SOURCE_ROOT "/conf/models/%s", model);
        file = fopen(path, "rb");
    }
    if (!is_type_supported(type)) {
        print_message("SKIPPED: %s: type %s is not one that is run\n", path, type);
    } else if (file == NULL) {
        print_message("SKIPPED: %s: no such file\n", path);
    } else {
        check(path, golden);
    }
    if (file != NULL)
        fclose(file);
    json_decref(golden);
}

static size_t check_directory(const char *directory, golden_fn check)
{
    struct dirent **entries;
    int count = scandir(directory, &entries, is_golden_file, alphasort);
    for (int i = 0; i < count; i++) {
        check_file(directory, entries[i]->d_name, check);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return count > 0 ? (size_t)count : 0;
}

void for_each_golden_model(golden_fn check)
{
    const char *reference = getenv("FG_MODELS_DIR");
    assert_int_not_equal(check_directory(FG_SOURCE_ROOT "/tests/golden/models", check), 0);
    if (reference == NULL)
        reference = FG_SOURCE_ROOT "/../shared/models";
    if (check_directory(reference, check) == 0)
        print_message("SKIPPED: no reference models in %s (set FG_MODELS_DIR)\n", reference);
}

void test_engine_init(struct test_engine *engine, struct fg_model *model, unsigned thread_count,
                      uint32_t batch_tokens_max, uint32_t blocks, enum fg_kv_type kv_type,
                      const struct fg_kernels *kernels)
{
    struct fg_error error = {.line = 0};
    engine->model = model;
    engine->store.shape = fg_model_kv_shape(model);
    engine->store.shape.type = kv_type;
    engine->store.block_count = blocks;
    size_t bytes = blocks * fg_kv_block_bytes(&engine->store.shape);
    engine->store.data = malloc(bytes);
    engine->block_table = malloc(blocks * sizeof(engine->block_table[0]));
    assert_non_null(engine->store.data);
    assert_non_null(engine->block_table);
    memset(engine->store.data, 0xff, bytes); /* NaN in F16 */
    for (uint32_t i = 0; i < blocks; i++)
        engine->block_table[i] = i;
    for (uint32_t i = blocks; i > 1; i--) {
        uint32_t other = (i * 2654435761u >> 7) % i;
        uint32_t kept = engine->block_table[i - 1];
        engine->block_table[i - 1] = engine->block_table[other];
        engine->block_table[other] = kept;
    }
    enum fg_status status = fg_executor_create_with(
        &engine->executor, model, &engine->store, thread_count, batch_tokens_max, kernels, &error);
    if (status != FG_OK)
        fail_msg("%s", error.message);
}

void test_engine_fini(struct test_engine *engine)
{
    fg_executor_destroy(engine->executor);
    free(engine->store.data);
    free(engine->block_table);
    fg_model_close(engine->model);
}
