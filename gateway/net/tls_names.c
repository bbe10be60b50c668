/*
 * tls_names.c: a sorted array, searched for the name and then for the wildcard of its first label.
 */
#include "net/tls_names.h"

#include <assert.h>
#include <stdlib.h>

static struct fg_tls_name *find_added(struct fg_tls_names *names, const char *text)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->names[i].text, text) == 0)
            return &names->names[i];
    }
    return NULL;
}

static struct fg_tls_name *append(struct fg_tls_names *names, const char *text)
{
    if (names->count == names->room) {
        size_t room = names->room == 0 ? 16 : names->room * 2;
        struct fg_tls_name *grown = realloc(names->names, room * sizeof(*grown));
        if (grown == NULL)
            return NULL;
        names->names = grown;
        names->room = room;
    }
    struct fg_tls_name *name = &names->names[names->count];
    *name = (struct fg_tls_name){.text = strdup(text)};
    if (name->text == NULL)
        return NULL;
    names->count++;
    return name;
}

enum fg_status fg_tls_names_add(struct fg_tls_names *names, unsigned index, unsigned key_type,
                                const char *text)
{
    assert(index < FG_TLS_CERTIFICATES_MAX && key_type < FG_TLS_CERTIFICATES_MAX);
    names->types[key_type] |= UINT64_C(1) << index;
    struct fg_tls_name *name = find_added(names, text);
    if (name == NULL)
        name = append(names, text);
    if (name == NULL)
        return FG_ERR_NO_MEMORY;
    name->covering |= UINT64_C(1) << index;
    if ((name->having & names->types[key_type]) == 0)
        name->having |= UINT64_C(1) << index;
    return FG_OK;
}

static int by_text(const void *left, const void *right)
{
    const struct fg_tls_name *a = left;
    const struct fg_tls_name *b = right;
    return strcmp(a->text, b->text);
}

void fg_tls_names_complete(struct fg_tls_names *names)
{
    if (names->count > 0)
        qsort(names->names, names->count, sizeof(*names->names), by_text);
}

static const struct fg_tls_name *find_text(const struct fg_tls_names *names, char *text)
{
    const struct fg_tls_name key = {.text = text};
    return bsearch(&key, names->names, names->count, sizeof(*names->names), by_text);
}

/* The entries of the name itself and of the wildcard for it; NULL: nobody has it. */
static void find_both(const struct fg_tls_names *names, struct fg_span name,
                      const struct fg_tls_name **exact, const struct fg_tls_name **wildcard)
{
    char text[FG_TLS_NAME_MAX + 1];
    *exact = *wildcard = NULL;
    if (name.len > 0 && name.data[name.len - 1] == '.')
        name.len--; /* a name written as a whole one */
    if (names->count == 0 || name.len < 2 || name.len > FG_TLS_NAME_MAX ||
        memchr(name.data, '*', name.len) != NULL)
        return;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        text[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    text[name.len] = '\0';
    *exact = find_text(names, text);
    char *dot = strchr(text, '.');
    if (dot == NULL || dot == text)
        return;
    dot[-1] = '*'; /* one label, whole */
    *wildcard = find_text(names, dot - 1);
}

uint64_t fg_tls_names_find(const struct fg_tls_names *names, struct fg_span name)
{
    const struct fg_tls_name *exact, *wildcard;
    find_both(names, name, &exact, &wildcard);
    return exact != NULL ? exact->having : wildcard != NULL ? wildcard->having : 0;
}

uint64_t fg_tls_names_covering(const struct fg_tls_names *names, struct fg_span name)
{
    const struct fg_tls_name *exact, *wildcard;
    find_both(names, name, &exact, &wildcard);
    return (exact == NULL ? 0 : exact->covering) | (wildcard == NULL ? 0 : wildcard->covering);
}

void fg_tls_names_fini(struct fg_tls_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i].text);
    free(names->names);
    *names = (struct fg_tls_names){0};
}
