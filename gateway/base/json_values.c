/*
 * json_values.c: strings are gone over for what is in them, not for what ends them: what stands
 * behind a backslash ends none.
 */
#include "json_values.h"

size_t fg_json_values_most(struct fg_span text)
{
    size_t count = 1;
    bool is_in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '"')
            is_in_string = !is_in_string;
        else if (is_in_string)
            i += c == '\\';
        else
            count += c == ',' || c == '[' || c == '{';
    }
    return count;
}
