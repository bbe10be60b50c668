/*
 * json_spell.c: 15 digits give most numbers that people write back as they were, 17 every one.
 */
#include "inference/grammar/json_spell.h"

#include <stdbool.h>
#include <stdlib.h>

static bool is_same(const char *text, const json_t *value)
{
    json_t *read = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool is_same = json_equal(read, value) != 0;
    json_decref(read);
    return is_same;
}

char *fg_json_spell(const json_t *value)
{
    char *text = NULL;
    for (size_t digits = 15; digits <= 17; digits++) {
        free(text);
        text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        if (text == NULL || digits == 17 || is_same(text, value))
            break;
    }
    return text;
}
