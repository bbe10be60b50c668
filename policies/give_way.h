/*
 * give_way.h: when an answer that its client does not take must make room for who waits, and when
 *             a client that has many of those gets no more.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_GIVE_WAY_H
#define FG_POLICIES_GIVE_WAY_H

#include <stdbool.h>
#include <stdint.h>

/* However few connections there are, one client may leave so many answers unread. */
#define FG_GIVE_WAY_SHARE_LEAST 8u

struct fg_give_way {
    uint64_t stalled_max_ns; /* without progress; 0: nobody within the share ever gives way */
    uint64_t settle_ns;      /* after which a place that was made is taken for lost */
    uint32_t share;          /* of paused answers, of one client; UINT32_MAX: no bound */
    uint64_t grace_ns;       /* without progress, of those above the share */
    /* state */
    uint64_t made_ns; /* when the last place was made */
    uint32_t made;    /* places that nobody has taken yet */
};

/* Without a share: fg_give_way_set_share. */
void fg_give_way_init(struct fg_give_way *gw, uint64_t stalled_max_ns, uint64_t settle_ns);

/*
 * One client may hold `permille` of the `connections`, and at least SHARE_LEAST, divided among
 * `loops` that count for themselves; 0: no bound. Above it `grace_ns` without progress is enough.
 */
void fg_give_way_set_share(struct fg_give_way *gw, uint32_t connections, uint32_t permille,
                           unsigned loops, uint64_t grace_ns);

/* How often an answer that is not taken is to be looked at, by the patience that it may meet; 0:
 * never. */
uint64_t fg_give_way_look_ns(const struct fg_give_way *gw);

/* How scarce what an answer holds is, and how much of it its client has. */
struct fg_give_way_need {
    uint32_t waiting; /* others who wait for its place */
    bool is_short;    /* the process runs out of descriptors or memory */
    uint32_t held;    /* paused answers of the same client, this one among them */
};

/*
 * An answer has made no progress since `stalled_since_ns` (0: it does). True: it must go. No more
 * go at once than wait; but what a client has above its share goes whoever waits while the process
 * is short.
 */
bool fg_give_way_decide(struct fg_give_way *gw, uint64_t now_ns, uint64_t stalled_since_ns,
                        struct fg_give_way_need need);

/* While connections are short: may one who keeps `held` answers waiting be given one more? */
bool fg_give_way_admits(const struct fg_give_way *gw, uint32_t held);

/* One who waited has a place, or waits no longer. */
void fg_give_way_taken(struct fg_give_way *gw);

#endif
