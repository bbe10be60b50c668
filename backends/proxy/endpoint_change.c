/*
 * endpoint_change.c: see endpoint_change.h.
 * Law      of all that is said about a host, the last word counts; what no later reader needs to
 *          know is not kept, so the list is as long as what is in force.
 */
#include "proxy/endpoint_change.h"

#include <assert.h>
#include <string.h>

static bool copy(char *to, size_t bytes, struct fg_span from)
{
    if (from.len == 0 || from.len >= bytes)
        return false;
    memcpy(to, from.data, from.len);
    to[from.len] = '\0';
    return true;
}

bool fg_endpoint_change_make(struct fg_endpoint_change *change, enum fg_endpoint_change_kind kind,
                             struct fg_span cluster, struct fg_span address)
{
    *change = (struct fg_endpoint_change){.kind = kind, .weight = 1};
    return copy(change->cluster, sizeof(change->cluster), cluster) &&
           copy(change->address, sizeof(change->address), address);
}

bool fg_endpoint_name_means(struct fg_span name, const char *host_name)
{
    return strncmp(host_name, name.data, name.len) == 0 &&
           (host_name[name.len] == '\0' || host_name[name.len] == ' ');
}

static bool is_of(const struct fg_endpoint_change *change, struct fg_span cluster)
{
    return fg_span_equal(fg_span_from_string(change->cluster), cluster);
}

static bool is_at(const struct fg_endpoint_change *change, struct fg_span cluster,
                  struct fg_span address)
{
    return is_of(change, cluster) && fg_span_equal(fg_span_from_string(change->address), address);
}

void fg_endpoint_changes_forget(struct fg_endpoint_changes *changes, size_t index)
{
    assert(index < changes->count);
    changes->count--;
    memmove(&changes->list[index], &changes->list[index + 1],
            (changes->count - index) * sizeof(changes->list[0]));
}

static struct fg_endpoint_change *find_added(struct fg_endpoint_changes *changes,
                                             struct fg_span cluster, struct fg_span address)
{
    for (size_t i = 0; i < changes->count; i++) {
        if (changes->list[i].kind == FG_ENDPOINT_ADD && is_at(&changes->list[i], cluster, address))
            return &changes->list[i];
    }
    return NULL;
}

/* Words about hosts that a newer one about `name` covers. */
static void forget_covered(struct fg_endpoint_changes *changes, struct fg_span cluster,
                           struct fg_span name)
{
    for (size_t i = changes->count; i-- > 0;) {
        const struct fg_endpoint_change *change = &changes->list[i];
        if (change->kind != FG_ENDPOINT_ADD && is_of(change, cluster) &&
            fg_endpoint_name_means(name, change->address))
            fg_endpoint_changes_forget(changes, i);
    }
}

/* Does a wider word than the one about this address disable it? */
static bool is_name_out(const struct fg_endpoint_changes *changes, struct fg_span cluster,
                        const char *address)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct fg_endpoint_change *change = &changes->list[i];
        if (change->kind == FG_ENDPOINT_DISABLE && is_of(change, cluster) &&
            fg_endpoint_name_means(fg_span_from_string(change->address), address))
            return true;
    }
    return false;
}

enum fg_status fg_endpoint_changes_note(struct fg_endpoint_changes *changes,
                                        const struct fg_endpoint_change *change)
{
    struct fg_span cluster = fg_span_from_string(change->cluster);
    struct fg_span address = fg_span_from_string(change->address);
    if (change->kind == FG_ENDPOINT_ADD) {
        struct fg_endpoint_change *known = find_added(changes, cluster, address);
        if (known != NULL) {
            *known = *change;
            return FG_OK;
        }
    } else {
        forget_covered(changes, cluster, address);
        if (change->kind == FG_ENDPOINT_ENABLE && !is_name_out(changes, cluster, change->address))
            return FG_OK;
    }
    if (changes->count == changes->max)
        return FG_ERR_LIMIT;
    changes->list[changes->count++] = *change;
    return FG_OK;
}

bool fg_endpoint_changes_remove(struct fg_endpoint_changes *changes, struct fg_span cluster,
                                struct fg_span address)
{
    struct fg_endpoint_change *added = find_added(changes, cluster, address);
    if (added == NULL)
        return false;
    fg_endpoint_changes_forget(changes, (size_t)(added - changes->list));
    forget_covered(changes, cluster, address);
    return true;
}

bool fg_endpoint_changes_know(const struct fg_endpoint_changes *changes, struct fg_span cluster,
                              struct fg_span address)
{
    for (size_t i = 0; i < changes->count; i++) {
        if (is_at(&changes->list[i], cluster, address))
            return true;
    }
    return false;
}

bool fg_endpoint_changes_disable(const struct fg_endpoint_changes *changes, const char *host_name)
{
    for (size_t i = changes->count; i-- > 0;) {
        const struct fg_endpoint_change *change = &changes->list[i];
        if (change->kind != FG_ENDPOINT_ADD &&
            fg_endpoint_name_means(fg_span_from_string(change->address), host_name))
            return change->kind == FG_ENDPOINT_DISABLE;
    }
    return false;
}

const char *fg_endpoint_change_name(enum fg_endpoint_change_kind kind)
{
    static const char *const names[] = {
        [FG_ENDPOINT_ADD] = "added",
        [FG_ENDPOINT_DISABLE] = "disabled",
        [FG_ENDPOINT_ENABLE] = "enabled",
    };
    return names[kind];
}
