/*
 * attention_avx512.c: softmax(q k) v over KV blocks, sixteen lanes wide.
 * Thread   any.
 */
#include "avx512.h"

#include "vec.h"

#include "inference/kernels/attention/attention_lanes.h"

void fg_attention_avx512(const struct fg_attention *a)
{
    attention_lanes(a);
}
