/*
 * test_config_bounds.c: hostile sizes, memory that runs out at every point, errors without end.
 */
#include "config/loader.h"
#include "config_fixture.h"

/* Heap text: head, then `piece` so many times, then tail. */
static char *repeat(const char *head, const char *piece, size_t count, const char *tail)
{
    size_t piece_len = strlen(piece);
    char *text = malloc(strlen(head) + piece_len * count + strlen(tail) + 1);
    assert_non_null(text);
    size_t at = strlen(head);
    memcpy(text, head, at);
    for (size_t i = 0; i < count; i++, at += piece_len)
        memcpy(text + at, piece, piece_len);
    memcpy(text + at, tail, strlen(tail) + 1);
    return text;
}

static void fails_with(char *text, const char *first_line)
{
    struct config_errors errors;
    assert_null(parse_text(text, &errors));
    free(text);
    assert_true(errors.count >= 1);
    assert_string_equal(errors.lines[0], first_line);
}

static void refuses_a_large_file(void **state)
{
    (void)state;
    fails_with(repeat(LISTENERS ROUTES, "# comment\n", 110000, ""),
               "t.yaml: the file is too large; expected at most 1MiB");
    struct config_errors errors;
    char *text = repeat(LISTENERS ROUTES, "# comment\n", 100000, "");
    struct fg_config *config = parse_text(text, &errors);
    assert_non_null(config);
    fg_config_destroy(config);
    free(text);
}

static void refuses_many_values(void **state)
{
    (void)state;
    fails_with(repeat("routes: [", "1,", 70000, "1]\n"),
               "t.yaml:1:131078: too many values; expected at most 65536 in one file");
}

static void refuses_deep_nesting(void **state)
{
    (void)state;
    fails_with(repeat("routes: ", "[", 200000, ""),
               "t.yaml:1:24: nested too deeply; expected at most 16 levels");
    fails_with(repeat("routes: ", "{a: ", 100, ""),
               "t.yaml:1:69: nested too deeply; expected at most 16 levels");
}

/* The aliases that unfold: refused by name, so there is nothing to unfold. */
static void refuses_aliases_that_unfold(void **state)
{
    (void)state;
    static const char bomb[] = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n";
    struct config_errors errors;
    assert_null(parse_text(bomb, &errors));
    unsigned aliases = 0;
    for (size_t i = 0; i < errors.count; i++)
        aliases += strstr(errors.lines[i], "aliases (*name) are not supported") != NULL;
    assert_int_equal(aliases, 6);
}

static void keeps_a_bounded_number_of_errors(void **state)
{
    (void)state;
    struct config_errors errors;
    char *text =
        repeat(LISTENERS ROUTES "clusters:\n  a:\n    endpoints:\n", "    - x\n", 1000, "");
    assert_null(parse_text(text, &errors));
    free(text);
    assert_int_equal(errors.count, FG_CONFIG_ERRORS_MAX);
    assert_int_equal(errors.reported_count, 1000);
}

/* Something of every kind that takes memory. */
static const char small_of_all[] = "listeners: [{address: \"127.0.0.1:8443\", kind: plain}]\n"
                                   "policies: {rate_limits: {a: {rate: 1/s}}}\n"
                                   "static: {www: www}\n"
                                   "clusters: {app: {endpoints: [\"h:1\", {address: \"h:2\"}], "
                                   "host_header: \"${FG_TEST_HOST}\"}}\n"
                                   "orders: {skus: {tea: 5}}\n"
                                   "routes:\n"
                                   "  - {match: {prefix: /a, headers: {X-A: b}, methods: [GET]}, "
                                   "to: cluster:app, rate_limits: [a]}\n"
                                   "  - {match: {prefix: /a}, to: static:www}\n"
                                   "  - {match: {path: /b}, to: orders}\n";

/* The arena gives 16 bytes at a time: each step lets exactly one more allocation pass. */
static void survives_exhausted_memory(void **state)
{
    (void)state;
    setenv("FG_TEST_HOST", "example.org", 1);
    struct config_errors errors = {0};
    size_t failures = 0;
    struct fg_config *config = NULL;
    for (size_t most = 0; most < (size_t)1 << 20; most += 16) {
        errors.count = 0;
        enum fg_status status =
            fg_config_parse_bounded(&config, "t.yaml", fg_span_from_string(small_of_all), false,
                                    keep_error, &errors, &errors.reported_count, most);
        if (status == FG_OK)
            break;
        assert_int_equal(status, FG_ERR_NO_MEMORY);
        assert_null(config);
        assert_int_equal(errors.count, 1);
        assert_string_equal(
            errors.lines[0],
            "t.yaml: the configuration needs too much memory; expected a smaller one");
        failures++;
    }
    assert_non_null(config);
    assert_true(failures > 500);
    fg_config_destroy(config);
}

static void survives_every_cut_of_the_demo(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof(path), "%s/conf/floodgate.yaml", FG_SOURCE_ROOT);
    char *text = read_whole(path);
    size_t len = strlen(text);
    for (size_t cut = 0; cut < len; cut += 61) {
        struct fg_config *config = NULL;
        size_t count = 0;
        enum fg_status status =
            fg_config_parse(&config, "t.yaml", fg_span_make(text, cut), false, NULL, NULL, &count);
        assert_true((status == FG_OK) == (config != NULL));
        assert_true((status == FG_OK) == (count == 0));
        fg_config_destroy(config);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_a_large_file),
        cmocka_unit_test(refuses_many_values),
        cmocka_unit_test(refuses_deep_nesting),
        cmocka_unit_test(refuses_aliases_that_unfold),
        cmocka_unit_test(keeps_a_bounded_number_of_errors),
        cmocka_unit_test(survives_exhausted_memory),
        cmocka_unit_test(survives_every_cut_of_the_demo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
