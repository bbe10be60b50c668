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

/* How scarce what an answer holds is. */
struct fg_give_way_need {
    uint32_t waiting; /* others who wait for its place */
    bool is_short;    /* the process runs out of descriptors or memory */
};

/*
 * An answer has made no progress since `stalled_since_ns` (0: it does). True: it must go. While the
 * process is short that is so after a quarter of the patience, whoever waits; else no more go at
 * once than wait.
 */
bool fg_give_way_decide(struct fg_give_way *gw, uint64_t now_ns, uint64_t stalled_since_ns,
                        struct fg_give_way_need need);

/* One who waited has a place, or waits no longer. */
void fg_give_way_taken(struct fg_give_way *gw);

#endif
