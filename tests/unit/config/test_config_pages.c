/*
 * test_config_pages.c: the checked-in JSON Schema and reference are those of the tables, and every
 * key of the tables can be written with its own default.
 */
#include "config/loader.h"
#include "config/reference.h"
#include "config_fixture.h"

static char *read_from_root(const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", FG_SOURCE_ROOT, name);
    return read_whole(path);
}

static void schema_is_current(void **state)
{
    (void)state;
    json_t *made = fg_config_schema();
    assert_non_null(made);
    char *text = json_dumps(made, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    char *kept = read_from_root("conf/floodgate.schema.json");
    size_t len = strlen(text);
    if (strlen(kept) != len + 1 || strncmp(kept, text, len) != 0)
        fail_msg("make it anew: config-pages schema > conf/floodgate.schema.json");
    free(kept);
    free(text);
    json_decref(made);
}

static void reference_is_current(void **state)
{
    (void)state;
    char *made = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&made, &len);
    assert_non_null(out);
    fg_config_write_reference(out);
    assert_int_equal(fclose(out), 0);
    char *kept = read_from_root("docs/configuration.md");
    if (strcmp(kept, made) != 0)
        fail_msg("make it anew: config-pages reference > docs/configuration.md");
    free(kept);
    free(made);
}

/* A sane table: sentences, ranges, and a default or a reason to have none. */
static void check_table(const struct fg_table *table)
{
    assert_non_null(table->path);
    assert_non_null(table->doc);
    assert_non_null(table->example);
    assert_true(table->bytes > 0);
    for (const struct fg_key *key = table->keys; key->name != NULL; key++) {
        print_message("%s.%s\n", table->path, key->name);
        assert_non_null(key->doc);
        assert_true(strlen(key->doc) > 3 && key->doc[strlen(key->doc) - 1] == '.');
        assert_true(key->offset < table->bytes);
        assert_true(key->min <= key->max);
        assert_false(key->is_required && key->initial != NULL);
        assert_true((key->type == FG_KEY_ENUM || key->type == FG_KEY_WORD ||
                     key->type == FG_KEY_BITS) == (key->choices != NULL));
        for (const struct fg_key *other = table->keys; other != key; other++)
            assert_string_not_equal(other->name, key->name);
        if (key->table != NULL)
            check_table(key->table);
    }
}

static void tables_are_sane(void **state)
{
    (void)state;
    check_table(&fg_table_root); /* defaults parse: asserted whenever a table is loaded */
}

/* The schema allows, key by key, what the tables know, and nothing else. */
static void check_schema(const struct fg_table *table, const json_t *schema)
{
    const json_t *any = json_object_get(schema, "anyOf");
    for (size_t i = 0; i < json_array_size(any); i++) {
        const json_t *one = json_array_get(any, i);
        if (json_object_get(one, "properties") != NULL)
            schema = one;
    }
    assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
    const json_t *properties = json_object_get(schema, "properties");
    size_t count = 0;
    for (const struct fg_key *key = table->keys; key->name != NULL; key++, count++) {
        const json_t *one = json_object_get(properties, key->name);
        assert_non_null(one);
        assert_string_equal(json_string_value(json_object_get(one, "description")), key->doc);
        if (key->type == FG_KEY_LIST)
            one = json_object_get(one, "items");
        else if (key->type == FG_KEY_MAP)
            one = json_object_get(one, "additionalProperties");
        if (key->table != NULL)
            check_schema(key->table, one);
    }
    assert_int_equal(json_object_size(properties), count);
}

static void schema_follows_the_tables(void **state)
{
    (void)state;
    json_t *schema = fg_config_schema();
    check_schema(&fg_table_root, schema);
    json_decref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schema_is_current),
        cmocka_unit_test(reference_is_current),
        cmocka_unit_test(tables_are_sane),
        cmocka_unit_test(schema_follows_the_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
