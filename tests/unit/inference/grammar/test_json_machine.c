/*
 * test_json_machine.c: what may be written under a schema and what may not, and that a blind walk
 * through what is allowed always ends in JSON that keeps to it.
 */
#include "inference/grammar/json_machine.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define PERSON                                                                                     \
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":8},"         \
    "\"age\":{\"type\":\"integer\"},\"nick\":{\"type\":[\"string\",\"null\"]}},"                   \
    "\"required\":[\"name\",\"age\"],\"additionalProperties\":false}"

/* Values of names beside "a" and the one with a quotation mark are integers. */
#define NAMED                                                                                      \
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},"                            \
    "\"b\\\"\":{\"type\":\"integer\"}},\"additionalProperties\":{\"type\":\"integer\"}}"

#define ONE(name)                                                                                  \
    "{\"type\":\"object\",\"properties\":{\"n\":{\"const\":\"" name "\"}},\"required\":[\"n\"]}"
#define MANY                                                                                       \
    "{\"anyOf\":[" ONE("t1") "," ONE("t2") "," ONE("t3") "," ONE("t4") "," ONE("t5") "," ONE(      \
        "t6") "," ONE("t7") "," ONE("t8") "," ONE("t9") "," ONE("t0") "]}"

#define OVERLAPPING                                                                                \
    "{\"anyOf\":[{\"type\":\"string\",\"minLength\":3},{\"type\":\"string\",\"maxLength\":2},"     \
    "{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"array\"},{\"$ref\":\"#\"}]}}]}"
#define BESIDE                                                                                     \
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":"           \
    "\"string\"}},\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]},{\"type\":\"array\"}]}"
#define ALL_OF                                                                                     \
    "{\"allOf\":[{\"$ref\":\"#/$defs/a\"},{\"properties\":{\"b\":{\"type\":\"null\"},"             \
    "\"a\":{\"type\":[\"integer\",\"null\"]}},\"required\":[\"b\"]}],\"$defs\":{\"a\":{"           \
    "\"properties\":{\"a\":{\"type\":\"number\"}},\"required\":[\"a\"]}}}"

static void compile(struct fg_json_schema *schema, const char *text)
{
    struct fg_error error = {0};
    if (fg_json_schema_compile(schema, fg_span_from_string(text), &error) != FG_OK)
        fail_msg("%s", error.message);
}

/* 'w' whole, 'p' a beginning, '-' not to be written. */
static char judge(const char *schema_text, const char *answer)
{
    static struct fg_json_machine machine;
    struct fg_json_schema schema;
    char verdict = '-';
    compile(&schema, schema_text);
    fg_json_machine_init(&machine, &schema);
    if (fg_json_machine_take(&machine, fg_span_from_string(answer)))
        verdict = fg_json_machine_may_end(&machine) ? 'w' : 'p';
    fg_json_schema_fini(&schema);
    return verdict;
}

static void accepts_what_the_schema_says(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *answer;
        char expected;
    } cases[] = {
        {"", "{}", 'w'},
        {"", " {\n \"a\" : [1, 2.5e-3, {\"b\": null}], \"c\": \"x\\u00e9\\n\"} ", 'w'},
        {"", "[", '-'},
        {"", "{\"a\"", 'p'},
        {"", "{\"a\":01", '-'},
        {"", "{\"a\":1.}", '-'},
        {"", "{\"a\":-", 'p'},
        {"", "{\"a\":truf", '-'},
        {"", "{\"a\":\"\x01", '-'},
        {"", "{\"a\":\"\xff", '-'},
        {"", "{\"a\":\"\xe5\xa5\xb6\"}", 'w'},
        {"", "{\"a\":\"\xed\xa0", '-'},
        {"", "{\"a\":\"\\x", '-'},
        {"", "{,", '-'},
        {"", "{\"a\":1,}", '-'},
        {"", "{} x", '-'},
        {PERSON, "{\"name\": \"Bo\", \"age\": 7}", 'w'},
        {PERSON, "{\"age\": 7, \"name\": \"Bo\", \"nick\": null}", 'w'},
        {PERSON, "{\"name\": \"Bo\"}", '-'},
        {PERSON, "{\"name\": \"Bo\", \"age\": 7.", '-'},
        {PERSON, "{\"name\": \"Bo\", \"name\"", '-'},
        {PERSON, "{\"na", 'p'},
        {PERSON, "{\"nx", '-'},
        {PERSON, "{\"name\": \"123456789", '-'},
        {PERSON, "{\"name\": \"\xe5\xa5\xb6\xe5\xa5\xb6\xe5\xa5\xb6\xe5\xa5\xb6\", \"age\": 0}",
         'w'},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}",
         "[1,2]", 'w'},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}",
         "[]", '-'},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}",
         "[1,2,", '-'},
        {"{\"enum\":[\"red\",\"redder\",5]}", "\"red\"", 'w'},
        {"{\"enum\":[\"red\",\"redder\",5]}", "\"redd", 'p'},
        {"{\"enum\":[\"red\",\"redder\",5]}", "5", 'w'},
        {"{\"enum\":[\"red\",\"redder\",5]}", "\"blue", '-'},
        {"{\"enum\":[1,12]}", "1", 'w'},
        {"{\"enum\":[1,12]}", "12", 'w'},
        {"{\"enum\":[1,12]}", "13", '-'},
        {"{\"const\":{\"a\":[1]}}", "{\"a\": [1]}", 'w'},
        {"{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},"
         "\"required\":[\"a\"]},"
         "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}},\"required\":[\"a\"]}]"
         "}",
         "{\"a\": \"x\"}", 'w'},
        {"{\"type\":\"boolean\"}", "false", 'w'},
        {"{\"type\":\"number\"}", "-0.5E+10", 'w'},
        {"{\"type\":\"integer\"}", "1e", '-'},
        {"{\"$ref\":\"#/$defs/list\",\"$defs\":{\"list\":{\"type\":\"object\",\"properties\":{"
         "\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/"
         "list\"},{\"type\":\"null\"}]}},\"required\":[\"next\"]}}}",
         "{\"next\": {\"next\": {\"next\": null}}}", 'w'},
        {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}",
         "{\"x\": 1, \"y\": 2}", 'w'},
        {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}", "{\"x\": \"",
         '-'},
        {"{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}", "{}", 'w'},
        {"{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}", "{\"", '-'},
        {"true", "[1]", 'w'},
        /* What stands beside a keyword counts, too. */
        {"{\"type\":\"integer\",\"enum\":[\"a\",2,2.5,3.0]}", "2", 'w'},
        {"{\"type\":\"integer\",\"enum\":[\"a\",2,2.5,3.0]}", "3.0", 'w'},
        {"{\"type\":\"integer\",\"enum\":[\"a\",2,2.5,3.0]}", "2.", '-'},
        {"{\"type\":\"integer\",\"enum\":[\"a\",2,2.5,3.0]}", "\"", '-'},
        {"{\"minLength\":2,\"enum\":[\"a\",\"\xe5\xa5\xb6\",\"bb\"]}", "\"a", '-'},
        {"{\"minLength\":2,\"enum\":[\"a\",\"\xe5\xa5\xb6\",\"bb\"]}", "\"\xe5", '-'},
        {"{\"minLength\":2,\"enum\":[\"a\",\"\xe5\xa5\xb6\",\"bb\"]}", "\"bb\"", 'w'},
        {"{\"const\":0.30000000000000004}", "0.30000000000000004", 'w'},
        {"{\"const\":0.1}", "0.1", 'w'},
        {BESIDE, "{\"a\": 1}", 'w'},
        {BESIDE, "{\"a\": 1, \"b\": \"x\"}", 'w'},
        {BESIDE, "{\"b\": \"x\"}", 'w'},
        {BESIDE, "{}", '-'},
        {BESIDE, "[", '-'},
        {BESIDE, "{\"a\": \"", '-'},
        {ALL_OF, "{\"a\": 7, \"b\": null}", 'w'},
        {ALL_OF, "{\"a\": 7}", '-'},
        {ALL_OF, "{\"a\": 7.", '-'},
        {"{\"$ref\":\"#/$defs/s\",\"maxLength\":1,\"$defs\":{\"s\":{\"type\":\"string\","
         "\"minLength\":1}}}",
         "\"ab", '-'},
        {"{\"$ref\":\"#/$defs/a~1b~0/anyOf/1\",\"$defs\":{\"a/b~\":{\"anyOf\":[true,{\"type\":"
         "\"null\"}]}}}",
         "null", 'w'},
        {"{\"required\":[\"a\"],\"additionalProperties\":{\"type\":\"integer\"}}", "{\"a\": 1}",
         'w'},
        {"{\"required\":[\"a\"],\"additionalProperties\":{\"type\":\"integer\"}}", "{\"b\": 1}",
         '-'},
        {"{\"minLength\":3}", "\"ab\"", '-'},
        {"{\"items\":{\"type\":\"null\"}}", "[null]", 'w'},
        {"{\"items\":{\"type\":\"null\"}}", "[1", '-'},
        {"{\"unevaluatedProperties\":false}", "{\"", '-'},
        /* What some reader of JSON would refuse. */
        {"", "{\"a\":\"\\ud83d\\uDE00\"}", 'w'},
        {"", "{\"a\":\"\\uD7ff\\ue000\\u0001\"}", 'w'},
        {"", "{\"a\":\"\\ud83d\"", '-'},
        {"", "{\"a\":\"\\ud83d\\n", '-'},
        {"", "{\"a\":\"\\ud83d\\u0041", '-'},
        {"", "{\"a\":\"\\ud83d\\ud8", '-'},
        {"", "{\"a\":\"\\udc", '-'},
        {"", "{\"a\":\"\\u0000", '-'},
        {"{\"type\":\"string\",\"maxLength\":1}", "\"\\ud83d\\ude00\"", 'w'},
        {"{\"type\":\"string\",\"maxLength\":1}", "\"\\ud83d\\ude00x", '-'},
        {"true", "-123456789012345678", 'w'},
        {"true", "-1234567890123456789", '-'},
        {"true", "0.5e-99", 'w'},
        {"true", "1e100", '-'},
        /* A name has one spelling. */
        {NAMED, "{\"a\": \"x\", \"b\\\"\": 1, \"c\": 2}", 'w'},
        {NAMED, "{\"\\u0061", '-'},
        {NAMED, "{\"b\\u0022", '-'},
        {NAMED, "{\"c\\n", '-'},
        {"", "{\"\\u0061\": 1}", 'w'},
        /* All of many that begin the same stay possible. */
        {MANY, "{\"n\": \"t9\"}", 'w'},
        {MANY, "{\"n\": \"t0\"}", 'w'},
        /* Blanks: at most 32 in a row between values, as many as there are in a text. */
        {"", "{                                ", 'p'},
        {"", "{                                 ", '-'},
        {"", "{                \n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\t", '-'},
        {"",
         "{\"                                    \":  \"                                    \"}",
         'w'},
        {"{\"enum\":[\"a  b\",\"a   c\"]}", "\"a   c\"", 'w'},
        {"{\"enum\":[\"a  b\",\"a   c\"]}", "\"a    ", '-'},
        {"{\"enum\":[1,12]}", "1                                        ", 'w'},
        {"{\"type\":\"string\",\"maxLength\":3}", "\"    ", '-'},
        {"{\"type\":\"array\"}", "[1                                 ", '-'},
        /* Nothing is opened that could not be closed. */
        {"", "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1", 'p'},
        {"", "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1", '-'},
        {"", "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{\"", '-'},
        {"", "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{}", 'p'},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char verdict = judge(cases[i].schema, cases[i].answer);
        if (verdict != cases[i].expected)
            fail_msg("%s under %s: %c, expected %c", cases[i].answer, cases[i].schema, verdict,
                     cases[i].expected);
    }
}

static void refuses_what_it_cannot_keep_to(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *words;
    } cases[] = {
        {"{\"type\":\"string\",\"pattern\":\"a+\"}", "'pattern' is not supported"},
        {"{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\",\"minimum\":1}}}",
         "at \"#/n\": 'minimum' is not supported"},
        {"{\"type\":\"thing\"}", "'type' is none of"},
        {"{\"$ref\":\"#/$defs/none\"}", "'$ref' leads nowhere"},
        {"{\"$ref\":\"#\"}", "'$ref' refers to itself"},
        {"{\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":false}",
         "'required' names what may not"},
        {"{\"required\":\"a\"}", "'required' must be an array"},
        {"{\"enum\":[]}", "'enum' must be an array"},
        {"{\"allOf\":[]}", "'allOf' must be an array"},
        {"{\"allOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", "no value keeps to"},
        {"{\"type\":\"null\",\"anyOf\":[{\"type\":\"string\"},{\"items\":true,\"type\":\"array\"}]"
         "}",
         "goes with what stands beside it"},
        {"{\"properties\":{\"a\":true},\"additionalProperties\":false,"
         "\"anyOf\":[{\"properties\":{\"b\":true}}]}",
         "'additionalProperties' on both sides"},
        {"{\"type\":\"null\",\"enum\":[1]}", "'enum' has no value"},
        {"{\"items\":true,\"const\":[]}", "'items' beside 'enum'"},
        {"{\"$ref\":\"#\",\"type\":\"object\"}", "nested too deeply"},
        {"{\"unevaluatedProperties\":{}}", "must be true or false"},
        {"{\"contains\":false}", "'contains' is not supported"},
        {"{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"type\":\"object\",\"properties\":{"
         "\"b\":{\"$ref\":\"#/$defs/a\"}},\"required\":[\"b\"]}}}",
         "no value keeps to it"},
        {"[]", "must be an object or true"},
        {"{", "is not JSON"},
        {"{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", "'minItems' is more than"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_json_schema schema;
        struct fg_error error = {0};
        assert_int_equal(
            fg_json_schema_compile(&schema, fg_span_from_string(cases[i].schema), &error),
            FG_ERR_CONFIG);
        if (strstr(error.message, cases[i].words) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", error.message, cases[i].words);
    }
}

static void is_over_when_only_blanks_could_follow(void **state)
{
    (void)state;
    static struct fg_json_machine machine, scratch;
    struct fg_json_schema schema;
    compile(&schema, "");
    fg_json_machine_init(&machine, &schema);
    assert_true(fg_json_machine_take(&machine, FG_SPAN("{\"a\": 1")));
    assert_false(fg_json_machine_is_over(&machine));
    assert_true(fg_json_machine_allows(&machine, FG_SPAN("}"), &scratch));
    assert_false(fg_json_machine_allows(&machine, FG_SPAN("}}"), &scratch));
    assert_false(fg_json_machine_allows(&machine, FG_SPAN(""), &scratch));
    assert_false(fg_json_machine_may_end(&machine));
    assert_true(fg_json_machine_take(&machine, FG_SPAN("}")));
    assert_true(fg_json_machine_is_over(&machine));
    fg_json_schema_fini(&schema);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Any allowed byte, with a leaning to end what is open. */
static bool walk_on(struct fg_json_machine *machine, uint32_t *seed, char *byte)
{
    static struct fg_json_machine scratch;
    static const char closing[] = "\"}]:,0";
    for (size_t i = 0; i < sizeof(closing) - 1 && next_random(seed) % 3 != 0; i++) {
        if (fg_json_machine_allows(machine, fg_span_make(&closing[i], 1), &scratch)) {
            *byte = closing[i];
            return true;
        }
    }
    unsigned first = next_random(seed) % 256;
    for (unsigned i = 0; i < 256; i++) {
        *byte = (char)((first + i * 37) % 256);
        if (fg_json_machine_allows(machine, fg_span_make(byte, 1), &scratch))
            return true;
    }
    return false;
}

/* However many readings there are, of which some have choices before them. */
static void allows_what_it_would_take(void **state)
{
    (void)state;
    static struct fg_json_machine machine, scratch, taken;
    static const char *const schemas[] = {"", PERSON, NAMED, MANY, BESIDE, ALL_OF, OVERLAPPING};
    uint32_t seed = 5;
    for (size_t i = 0; i < sizeof(schemas) / sizeof(schemas[0]); i++) {
        struct fg_json_schema schema;
        char text[40];
        compile(&schema, schemas[i]);
        fg_json_machine_init(&machine, &schema);
        for (size_t len = 0; len < sizeof(text) && !fg_json_machine_is_over(&machine); len++) {
            for (unsigned pair = 0; pair < 1 << 16; pair += 1 + next_random(&seed) % 1024) {
                const char bytes[2] = {(char)(pair & 255), (char)(pair >> 8)};
                struct fg_span token = fg_span_make(bytes, 1 + (pair & 1));
                taken = machine;
                assert_int_equal(fg_json_machine_allows(&machine, token, &scratch),
                                 fg_json_machine_take(&taken, token));
            }
            assert_true(walk_on(&machine, &seed, &text[len]));
            assert_true(fg_json_machine_take(&machine, fg_span_make(&text[len], 1)));
        }
        fg_json_schema_fini(&schema);
    }
}

static void a_blind_walk_ends_in_json(void **state)
{
    (void)state;
    static struct fg_json_machine machine;
    uint32_t seed = 11;
    size_t ended = 0;
    for (int round = 0; round < 200; round++) {
        struct fg_json_schema schema;
        char text[2000];
        size_t len = 0;
        compile(&schema, round % 2 == 0 ? PERSON : "");
        fg_json_machine_init(&machine, &schema);
        while (!fg_json_machine_is_over(&machine) && len < sizeof(text)) {
            if (!walk_on(&machine, &seed, &text[len]))
                fail_msg("nothing may follow %.*s", (int)len, text);
            assert_true(fg_json_machine_take(&machine, fg_span_make(&text[len], 1)));
            len++;
        }
        if (fg_json_machine_is_over(&machine)) {
            json_error_t where;
            json_t *value = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
            if (value == NULL)
                fail_msg("%.*s: %s", (int)len, text, where.text);
            if (round % 2 == 0) {
                assert_true(json_is_string(json_object_get(value, "name")));
                assert_true(json_is_integer(json_object_get(value, "age")) ||
                            json_is_real(json_object_get(value, "age")));
            }
            json_decref(value);
            ended++;
        }
        fg_json_schema_fini(&schema);
    }
    assert_true(ended > 100);
}

/* `count` times `part` with commas between, and `after`, behind what is in `text`. */
static void repeat(char *text, size_t room, const char *part, unsigned count, const char *after)
{
    size_t len = strlen(text);
    for (unsigned i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, room - len, "%s%s", i == 0 ? "" : ",", part);
    assert_true(len + strlen(after) < room);
    memcpy(text + len, after, strlen(after) + 1);
}

static void expect_too_large(const char *text)
{
    struct fg_json_schema schema;
    struct fg_error error = {0};
    assert_int_equal(fg_json_schema_compile(&schema, fg_span_from_string(text), &error),
                     FG_ERR_CONFIG);
    assert_non_null(strstr(error.message, "it is too large"));
}

/* Each is short, and would be looked at 10^8 times or more. */
static void refuses_what_would_be_looked_at_without_end(void **state)
{
    (void)state;
    static char text[1 << 16];
    snprintf(text, sizeof(text), "{\"allOf\":[{\"enum\":[");
    repeat(text, sizeof(text), "1", 12000, "]},{\"enum\":[");
    repeat(text, sizeof(text), "2", 12000, "]}]}");
    expect_too_large(text);

    snprintf(text, sizeof(text), "{\"$defs\":{\"a\":{\"properties\":{\"x\":true},\"required\":[");
    repeat(text, sizeof(text), "\"x\"", 12000, "]}},\"anyOf\":[");
    repeat(text, sizeof(text), "{\"allOf\":[{\"$ref\":\"#/$defs/a\"},{\"required\":[\"x\"]}]}", 100,
           "]}");
    expect_too_large(text);

    text[0] = '\0';
    for (unsigned level = 0; level < 3; level++) {
        repeat(text, sizeof(text), "{\"type\":[", 1, "");
        repeat(text, sizeof(text), "\"object\"", 128, "],\"properties\":{\"a\":");
    }
    repeat(text, sizeof(text), "true}}}}}}", 1, "");
    expect_too_large(text);

    snprintf(text, sizeof(text), "{\"type\":[");
    repeat(text, sizeof(text), "\"object\"", 128, "],\"properties\":{\"a\":{\"const\":\"");
    size_t len = strlen(text);
    memset(text + len, 'x', 40000);
    memcpy(text + len + 40000, "\"}}}", 5);
    expect_too_large(text);
}

static void keeps_to_large_ones(void **state)
{
    (void)state;
    static char text[1 << 16];
    struct fg_json_schema schema;
    char object[2048] = "{\"type\":\"object\",\"properties\":{";
    for (unsigned i = 0; i < 15; i++)
        snprintf(
            object + strlen(object), sizeof(object) - strlen(object),
            "%s\"q%u\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}],\"title\":\"t\"}",
            i == 0 ? "" : ",", i);
    repeat(object, sizeof(object), "},\"required\":[\"q1\",\"q2\"]}", 1, "");
    snprintf(text, sizeof(text), "{\"type\":\"object\",\"properties\":{");
    for (unsigned i = 0; i < 30; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s\"p%u\":%s",
                 i == 0 ? "" : ",", i, object);
    repeat(text, sizeof(text), "}}", 1, "");
    compile(&schema, text);
    fg_json_schema_fini(&schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_the_schema_says),
        cmocka_unit_test(refuses_what_it_cannot_keep_to),
        cmocka_unit_test(refuses_what_would_be_looked_at_without_end),
        cmocka_unit_test(keeps_to_large_ones),
        cmocka_unit_test(is_over_when_only_blanks_could_follow),
        cmocka_unit_test(allows_what_it_would_take),
        cmocka_unit_test(a_blind_walk_ends_in_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
