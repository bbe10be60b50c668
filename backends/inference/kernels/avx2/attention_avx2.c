/*
 * attention_avx2.c: softmax(q k) v over KV blocks, eight lanes wide.
 * Thread   any.
 */
#include "avx2.h"

#include "vec.h"

#include "inference/kernels/attention/attention_lanes.h"

void fg_attention_avx2(const struct fg_attention *a)
{
    attention_lanes(a);
}
