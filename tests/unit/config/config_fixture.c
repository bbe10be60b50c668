/*
 * config_fixture.c: see config_fixture.h.
 */
#include "config_fixture.h"

void keep_error(const struct fg_error *error, void *ctx)
{
    struct config_errors *errors = ctx;
    if (errors->count < CONFIG_ERRORS_KEPT)
        fg_error_format(error, errors->lines[errors->count], sizeof(errors->lines[0]));
    errors->count++;
}

struct fg_config *parse_text(const char *yaml, struct config_errors *errors)
{
    struct fg_config *config = NULL;
    errors->count = 0;
    errors->status = fg_config_parse(&config, "t.yaml", fg_span_from_string(yaml), false,
                                     keep_error, errors, &errors->reported_count);
    return config;
}

struct fg_config *load_file(const char *path, struct config_errors *errors)
{
    struct fg_config *config = NULL;
    errors->count = 0;
    errors->status = fg_config_load(&config, path, keep_error, errors, &errors->reported_count);
    return config;
}

void run_error_cases(const struct error_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct error_case *one = &cases[i];
        struct config_errors errors;
        print_message("%s\n", one->name);
        assert_null(parse_text(one->yaml, &errors));
        size_t expected = 0;
        while (expected < CASE_ERRORS_MAX && one->errors[expected] != NULL)
            expected++;
        for (size_t j = 0; j < errors.count && j < expected; j++)
            assert_string_equal(errors.lines[j], one->errors[j]);
        assert_int_equal(errors.count, expected);
        assert_int_equal(errors.reported_count, expected);
    }
}

char *read_whole(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long bytes = ftell(file);
    assert_true(bytes >= 0);
    rewind(file);
    char *text = malloc((size_t)bytes + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)bytes, file), (size_t)bytes);
    text[bytes] = '\0';
    fclose(file);
    return text;
}
