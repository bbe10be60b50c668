/*
 * kv_peak.h: the most blocks that running sequences can ever need together, if all of them grow to
 * their limit at the same pace and give back what is theirs at their end.
 * Thread   any; a pure function over the caller's memory.
 * Source   the admission test of S-LoRA and VTC (Sheng et al. 2023): after sorting by what remains,
 *          the need is greatest just before one of them ends. Ours counts blocks, not tokens, and
 *          blocks that several share once.
 */
#ifndef FG_INFERENCE_KV_PEAK_H
#define FG_INFERENCE_KV_PEAK_H

#include <stdint.h>

struct fg_kv_demand {
    uint32_t tokens;     /* recorded now */
    uint32_t remaining;  /* tokens that it may still add */
    uint32_t blocks;     /* held now, shared ones included */
    uint32_t blocks_own; /* of those, held by it alone: they come back at its end */
};

/*
 * `blocks_shared` are held by more than one and counted for the whole time. Sorts `demands` by what
 * remains. O(count log count) for the sort, O(count squared) at worst for the sum: counts are those
 * of running sequences.
 */
uint64_t fg_kv_peak(struct fg_kv_demand *demands, uint32_t count, uint64_t blocks_shared);

#endif
