/*
 * give_way.h: when an answer that its client does not take must make room for who waits.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_GIVE_WAY_H
#define FG_POLICIES_GIVE_WAY_H

#include <stdbool.h>
#include <stdint.h>

struct fg_give_way {
    uint64_t stalled_max_ns; /* without progress; 0: nobody ever gives way */
    uint64_t settle_ns;      /* after which a place that was made is taken for lost */
    /* state */
    uint64_t made_ns; /* when the last place was made */
    uint32_t made;    /* places that nobody has taken yet */
};

void fg_give_way_init(struct fg_give_way *gw, uint64_t stalled_max_ns, uint64_t settle_ns);

/*
 * An answer has made no progress since `stalled_since_ns` (0: it does), and `waiting` others wait
 * for its place. True: it must go, which is counted: no more go at once than wait.
 */
bool fg_give_way_decide(struct fg_give_way *gw, uint64_t now_ns, uint64_t stalled_since_ns,
                        uint32_t waiting);

/* One who waited has a place, or waits no longer. */
void fg_give_way_taken(struct fg_give_way *gw);

#endif
