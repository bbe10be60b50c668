/*
 * json_spell.c: 15 digits give most numbers that people write back as they were, 17 every one.
 * Control characters are written in lower case, as the templates that models learned from do.
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

/* The digits of \uXXXX; a backslash stands before another character in strings alone. */
static void lower_escapes(char *text)
{
    for (char *at = text; *at != '\0'; at++) {
        if (*at != '\\')
            continue;
        at++;
        for (size_t i = 1; *at == 'u' && i <= 4; i++) {
            if (at[i] >= 'A' && at[i] <= 'F')
                at[i] = (char)(at[i] - 'A' + 'a');
        }
    }
}

char *fg_json_spell(const json_t *value)
{
    char *text = NULL;
    for (size_t digits = 15; digits <= 17; digits++) {
        free(text);
        text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        if (text == NULL || is_same(text, value))
            break;
    }
    if (text != NULL)
        lower_escapes(text);
    return text;
}
