/*
 * give_way.c: when an answer that its client does not take must make room for who waits.
 * Job      a client that reads nothing holds a connection to a server for as long as it likes; that
 *          is no harm while there are others, and cannot be while somebody waits for it. One client
 *          that keeps many waiting is bounded by a share: else the next of its requests takes each
 *          place that is made.
 * Thread   one owner at a time.
 * Never    cuts an answer for nobody's sake, or one that gets on, however slowly.
 * Source   the share is that of policies/address_share: a bound on what one source can hold.
 * Law      patience is grace for what is above the share, stalled_max for the others. Goes:
 *          now - since >= patience and made < waiting; above the share also for everybody's sake,
 *          while the process is short of what answers hold. One more: held < share. `made` counts
 *          places that nobody has taken yet: one that was made shows in the number of those who
 *          wait only a moment later, and until then everybody stalled would go for the sake of one.
 *          A place can be lost (to a newcomer, to a server that takes no connection): settle_ns
 *          after the last one they count no more.
 */
#include "policies/give_way.h"

#include "policies/wide_math.h"

#include <assert.h>

#define LOOKS 4u       /* in stalled_max: so much later at most it is noticed */
#define GRACE_LOOKS 2u /* in grace */

void fg_give_way_init(struct fg_give_way *gw, uint64_t stalled_max_ns, uint64_t settle_ns)
{
    *gw = (struct fg_give_way){
        .stalled_max_ns = stalled_max_ns, .settle_ns = settle_ns, .share = UINT32_MAX};
}

void fg_give_way_set_share(struct fg_give_way *gw, uint32_t connections, uint32_t permille,
                           unsigned loops, uint64_t grace_ns)
{
    assert(loops > 0);
    uint64_t whole = fg_multiply_divide(connections, permille, 1000);
    if (whole < FG_GIVE_WAY_SHARE_LEAST)
        whole = FG_GIVE_WAY_SHARE_LEAST;
    uint64_t part = whole / loops + (whole % loops != 0);
    gw->share = permille == 0 || part > UINT32_MAX ? UINT32_MAX : (uint32_t)part;
    gw->grace_ns = grace_ns;
}

uint64_t fg_give_way_look_ns(const struct fg_give_way *gw)
{
    uint64_t usual_ns = gw->stalled_max_ns / LOOKS;
    uint64_t above_ns = gw->share == UINT32_MAX ? 0 : gw->grace_ns / GRACE_LOOKS;
    if (usual_ns == 0 || above_ns == 0)
        return usual_ns + above_ns;
    return usual_ns < above_ns ? usual_ns : above_ns;
}

static uint64_t patience_ns(const struct fg_give_way *gw, bool is_above)
{
    uint64_t usual_ns = gw->stalled_max_ns == 0 ? UINT64_MAX : gw->stalled_max_ns;
    return is_above && gw->grace_ns < usual_ns ? gw->grace_ns : usual_ns;
}

bool fg_give_way_decide(struct fg_give_way *gw, uint64_t now_ns, uint64_t stalled_since_ns,
                        struct fg_give_way_need need)
{
    bool is_above = need.held > gw->share;
    if (stalled_since_ns == 0 || now_ns < stalled_since_ns ||
        now_ns - stalled_since_ns < patience_ns(gw, is_above))
        return false;
    if (is_above && need.is_short)
        return true;
    if (now_ns < gw->made_ns || now_ns - gw->made_ns >= gw->settle_ns)
        gw->made = 0;
    if (gw->made >= need.waiting)
        return false;
    gw->made++;
    gw->made_ns = now_ns;
    return true;
}

bool fg_give_way_admits(const struct fg_give_way *gw, uint32_t held)
{
    return held < gw->share;
}

void fg_give_way_taken(struct fg_give_way *gw)
{
    if (gw->made > 0)
        gw->made--;
}
