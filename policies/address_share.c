/*
 * address_share.c: what one address may hold of the connections while they are short.
 * Job      when many are served by few descriptors, an address that has more than its share gets no
 *          further connections, and of those above the share the ones without progress are closed,
 *          the longest without it first.
 * Thread   one owner at a time.
 * Never    names a connection that makes progress: behind one address may be a carrier with
 *          thousands of clients, who are at work when a hoard of stalled connections is not. Nor
 *          takes an address below its share.
 * Source   fair shares as a bound on what one source can hold, like max-min fairness (D. Bertsekas,
 *          R. Gallager, "Data Networks", section 6.5.2) with equal shares and without its search
 *          for the largest: addresses are many and shares small, so that the exact share that would
 *          use everything up is not worth finding.
 * Law      closed: held > share and now - since >= grace. A pick of k among n takes n log k: a heap
 *          of the k oldest, the youngest of them at the root, which makes way for an older one.
 */
#include "policies/address_share.h"

#include "policies/wide_math.h"

#include <assert.h>

struct fg_address_share fg_address_share_make(uint64_t connections_max, uint32_t permille,
                                              unsigned loops, uint64_t grace_ns)
{
    assert(loops > 0);
    uint64_t whole = fg_multiply_divide(connections_max, permille, 1000);
    if (whole < FG_ADDRESS_SHARE_LEAST)
        whole = FG_ADDRESS_SHARE_LEAST;
    uint64_t part = whole / loops + (whole % loops != 0);
    return (struct fg_address_share){.connections = part > UINT32_MAX ? UINT32_MAX : (uint32_t)part,
                                     .grace_ns = grace_ns};
}

bool fg_address_share_admits(const struct fg_address_share *share, uint32_t held)
{
    return held < share->connections;
}

static bool is_younger(const struct fg_address_share_pick *a, const struct fg_address_share_pick *b)
{
    return a->since_ns > b->since_ns;
}

static void swap(struct fg_address_share_pick *a, struct fg_address_share_pick *b)
{
    struct fg_address_share_pick kept = *a;
    *a = *b;
    *b = kept;
}

static void sift_up(struct fg_address_share_pick *heap, size_t at)
{
    while (at > 0 && is_younger(&heap[at], &heap[(at - 1) / 2])) {
        swap(&heap[at], &heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static void sift_down(struct fg_address_share_pick *heap, size_t count)
{
    size_t at = 0;
    while (2 * at + 1 < count) {
        size_t child = 2 * at + 1;
        if (child + 1 < count && is_younger(&heap[child + 1], &heap[child]))
            child++;
        if (!is_younger(&heap[child], &heap[at]))
            break;
        swap(&heap[at], &heap[child]);
        at = child;
    }
}

bool fg_address_share_offer(const struct fg_address_share *share,
                            struct fg_address_share_picks *picks, uint64_t now_ns, uint32_t held,
                            uint64_t since_ns, void *connection)
{
    bool is_stalled = since_ns != 0 && now_ns >= since_ns && now_ns - since_ns >= share->grace_ns;
    if (held <= share->connections || !is_stalled)
        return false;
    struct fg_address_share_pick pick = {since_ns, connection};
    if (picks->count < FG_ADDRESS_SHARE_PICKED_MAX) {
        picks->by_age[picks->count] = pick;
        sift_up(picks->by_age, picks->count++);
        return true;
    }
    if (!is_younger(&picks->by_age[0], &pick))
        return false;
    picks->by_age[0] = pick;
    sift_down(picks->by_age, picks->count);
    return true;
}

void fg_address_share_sort(struct fg_address_share_picks *picks)
{
    for (size_t left = picks->count; left > 1; left--) {
        swap(&picks->by_age[0], &picks->by_age[left - 1]);
        sift_down(picks->by_age, left - 1);
    }
}

void fg_address_share_note(struct fg_address_share *share, uint64_t now_ns, uint64_t excess,
                           uint64_t open)
{
    if (excess > 0 && excess >= open / 4)
        share->blamed_ns = now_ns;
}

bool fg_address_share_spares(const struct fg_address_share *share, uint64_t now_ns, uint32_t held)
{
    return share->blamed_ns != 0 && held <= share->connections && now_ns >= share->blamed_ns &&
           now_ns - share->blamed_ns < FG_ADDRESS_SHARE_SPARED_NS;
}

bool fg_address_share_takes(const struct fg_address_share *share, uint32_t held)
{
    return held > share->connections;
}
