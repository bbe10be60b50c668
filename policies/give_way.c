/*
 * give_way.c: when an answer that its client does not take must make room for who waits.
 * Job      a client that reads nothing holds a connection to a server for as long as it likes; that
 *          is no harm while there are others, and cannot be while somebody waits for it.
 * Thread   one owner at a time.
 * Never    cuts an answer for nobody's sake, or one that gets on, however slowly.
 * Law      goes: now - since >= stalled_max and made < waiting; or >= a quarter of it while the
 *          process is short of what answers hold, for everybody's sake. `made` counts places that
 *          nobody has taken yet: one that was made shows in the number of those who wait only a
 *          moment later, and until then everybody stalled would go for the sake of one. A place can
 *          be lost (to a newcomer, to a server that takes no connection): settle_ns after the last
 *          one they count no more.
 */
#include "policies/give_way.h"

#define SHORT_PATIENCE_INVERSE 4u

void fg_give_way_init(struct fg_give_way *gw, uint64_t stalled_max_ns, uint64_t settle_ns)
{
    *gw = (struct fg_give_way){.stalled_max_ns = stalled_max_ns, .settle_ns = settle_ns};
}

bool fg_give_way_decide(struct fg_give_way *gw, uint64_t now_ns, uint64_t stalled_since_ns,
                        struct fg_give_way_need need)
{
    if (gw->stalled_max_ns == 0 || stalled_since_ns == 0 || now_ns < stalled_since_ns)
        return false;
    uint64_t stalled_ns = now_ns - stalled_since_ns;
    if (need.is_short && stalled_ns >= gw->stalled_max_ns / SHORT_PATIENCE_INVERSE)
        return true;
    if (stalled_ns < gw->stalled_max_ns)
        return false;
    if (now_ns < gw->made_ns || now_ns - gw->made_ns >= gw->settle_ns)
        gw->made = 0;
    if (gw->made >= need.waiting)
        return false;
    gw->made++;
    gw->made_ns = now_ns;
    return true;
}

void fg_give_way_taken(struct fg_give_way *gw)
{
    if (gw->made > 0)
        gw->made--;
}
