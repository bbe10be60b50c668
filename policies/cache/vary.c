/*
 * vary.c: which fields of a request select among the stored responses.
 * Job      list the names of a Vary field; bring the fields of requests into one form.
 * Thread   any; pure functions.
 * Never    allocates or reads beyond a length; makes two values equal that may mean different
 *          things.
 * Source   RFC 9111 section 4.1: white space, and what is known to be the same, may be normalised.
 */
#include "policies/cache/vary.h"

#include "policies/ascii.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool fg_vary_next(const char *text, size_t len, size_t *at, const char **name, size_t *name_len)
{
    size_t begin = *at;
    while (begin < len && (is_blank(text[begin]) || text[begin] == ','))
        begin++;
    size_t end = begin;
    while (end < len && text[end] != ',')
        end++;
    *at = end;
    while (end > begin && is_blank(text[end - 1]))
        end--;
    *name = text + begin;
    *name_len = end - begin;
    return end > begin;
}

/* Lists whose members are tokens and tags that compare without case. */
static bool is_token_list(const char *name, size_t len)
{
    static const char *const names[] = {"accept", "accept-charset", "accept-encoding",
                                        "accept-language"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return true;
    }
    return false;
}

/* A list of tokens: no blanks around commas, one for several elsewhere, lower case. */
static size_t fold_list(const char *value, size_t len, char *out)
{
    size_t count = 0;
    bool owes_blank = false;
    for (size_t i = 0; i < len; i++) {
        char c = value[i];
        if (is_blank(c)) {
            owes_blank = count > 0 && out[count - 1] != ',';
            continue;
        }
        if (owes_blank && c != ',')
            out[count++] = ' ';
        owes_blank = false;
        out[count++] = fg_ascii_lower(c);
    }
    return count;
}

size_t fg_vary_normalise(const char *name, size_t name_len, const char *value, size_t len,
                         char *out)
{
    while (len > 0 && is_blank(value[len - 1]))
        len--;
    while (len > 0 && is_blank(value[0])) {
        value++;
        len--;
    }
    if (is_token_list(name, name_len))
        return fold_list(value, len, out);
    if (len > 0)
        memmove(out, value, len);
    return len;
}
