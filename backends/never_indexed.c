/*
 * never_indexed.c: see never_indexed.h.
 */
#include "backends/never_indexed.h"

bool fg_never_indexed_add(struct fg_never_indexed **list, struct fg_arena *arena,
                          struct fg_span name)
{
    if (fg_never_indexed_has(*list, name))
        return true;
    if (*list == NULL) {
        *list = fg_arena_try_alloc(arena, sizeof(**list));
        if (*list == NULL)
            return false;
        **list = (struct fg_never_indexed){0};
    }
    if ((*list)->count == FG_NEVER_INDEXED_MAX) {
        (*list)->is_all = true;
        return true;
    }
    struct fg_span copy = fg_arena_try_copy(arena, name);
    if (copy.data == NULL)
        return false;
    (*list)->names[(*list)->count++] = copy;
    return true;
}
