/*
 * float16.h: IEEE 754 half precision and bfloat16, to and from float, in integer arithmetic.
 * Thread   any; pure functions.
 * Source   IEEE 754-2008 section 3.6; rounding is to nearest, ties to even.
 */
#ifndef FG_INFERENCE_FLOAT16_H
#define FG_INFERENCE_FLOAT16_H

#include <stdint.h>
#include <string.h>

static inline float fg_bits_to_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint32_t fg_f32_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float fg_bf16_to_f32(uint16_t half)
{
    return fg_bits_to_f32((uint32_t)half << 16);
}

static inline float fg_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t fraction = half & 0x3ffu;
    if (exponent == 0x1f) /* infinity, NaN (made quiet, as the hardware does) */
        return fg_bits_to_f32(sign | 0x7f800000u | (fraction << 13) |
                              (fraction != 0 ? 0x400000u : 0));
    if (exponent != 0)
        return fg_bits_to_f32(sign | ((exponent + 112) << 23) | (fraction << 13));
    /* Subnormal: fraction * 2^-24, exact in float. */
    float magnitude = (float)fraction * fg_bits_to_f32(0x33800000u);
    return fg_bits_to_f32(sign | fg_f32_to_bits(magnitude));
}

static inline uint16_t fg_f32_to_f16_one(float value)
{
    uint32_t bits = fg_f32_to_bits(value);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) /* NaN keeps its upper bits and becomes quiet */
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x47800000u) /* 65536 and up */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: subnormal, let the float adder round */
        float shifted = fg_bits_to_f32(magnitude) + 0.5f;
        return (uint16_t)(sign | (fg_f32_to_bits(shifted) - 0x3f000000u));
    }
    uint32_t odd = (magnitude >> 13) & 1u;
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

#endif
