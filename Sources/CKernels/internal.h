// What the kernels share: run-time dispatch, loop annotations, bit casts and the exponential.
#ifndef PAC_CKERNELS_INTERNAL_H
#define PAC_CKERNELS_INTERNAL_H
#include "CKernels.h"
#include <string.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

// One clone of the function for each processor generation, chosen by the dynamic loader (glibc's ifuncs). Under
// ThreadSanitizer the resolvers run before its runtime does and crash. Only what is inlined into such a function is
// compiled for the processor: helpers are CK_INLINE.
#if defined(__x86_64__) && defined(__ELF__) && defined(__GLIBC__) && !__has_feature(thread_sanitizer)
#define CK_DISPATCH __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CK_DISPATCH
#endif

#define CK_INLINE static inline __attribute__((always_inline))

// The iterations that follow are independent, also when the output is one of the inputs. Sanitizers and coverage keep
// loops from being vectorised, which is no news there.
#pragma clang diagnostic ignored "-Wpass-failed"
#define CK_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")

// Partial sums that a float reduction keeps: 64 bytes, one register of AVX-512, two of AVX2, four of NEON and SSE.
#define CK_LANES 16

CK_INLINE uint32_t ck_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

CK_INLINE float ck_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// Declares what exp(clamped) is made of, for a float or a vector of them: y, a polynomial in what the reduction leaves, and
// shifted, whose low bits are the power of two to multiply it by.
#define CK_EXP_STEPS(type, clamped, shifted, y)                                  \
    const type shifted = clamped * 1.44269504088896341f + 12582912.0f;           \
    const type whole = shifted - 12582912.0f;                                    \
    const type r = (clamped - whole * 0.693359375f) - whole * -2.12194440e-4f;   \
    type y = (type){0} + 1.9875691500e-4f;                                       \
    y = y * r + 1.3981999507e-3f;                                                \
    y = y * r + 8.3334519073e-3f;                                                \
    y = y * r + 4.1665795894e-2f;                                                \
    y = y * r + 1.6666665459e-1f;                                                \
    y = y * r + 5.0000001201e-1f;                                                \
    y = y * (r * r) + r + 1.0f

// exp(x) for x <= 0 to 1.5 units in the last place; 0 below -87.3, where the result would be subnormal; NaN stays NaN.
// Cody-Waite reduction and the polynomial of Cephes' expf. Adding 1.5 * 2^23 rounds to an integer in the low bits,
// which -ffast-math would cancel.
CK_INLINE float ck_exp_negative(float x) {
    const float clamped = x < -87.33f ? -87.33f : x;
    CK_EXP_STEPS(float, clamped, shifted, y);
    const float power = ck_float((ck_bits(shifted) + 127u) << 23);
    return x < -87.33f ? 0.0f : y * power;
}

// Pairwise, so that the additions do not wait for each other.
CK_INLINE float ck_lane_sum(const float *lanes) {
    float half[CK_LANES / 2];
    for (size_t l = 0; l < CK_LANES / 2; l++) half[l] = lanes[l] + lanes[l + CK_LANES / 2];
    const float even = (half[0] + half[4]) + (half[2] + half[6]);
    const float odd = (half[1] + half[5]) + (half[3] + half[7]);
    return even + odd;
}

CK_INLINE float ck_larger(float a, float b) { return a > b ? a : b; }

CK_INLINE float ck_lane_max(const float *lanes) {
    float half[CK_LANES / 2];
    for (size_t l = 0; l < CK_LANES / 2; l++) half[l] = ck_larger(lanes[l], lanes[l + CK_LANES / 2]);
    const float even = ck_larger(ck_larger(half[0], half[4]), ck_larger(half[2], half[6]));
    const float odd = ck_larger(ck_larger(half[1], half[5]), ck_larger(half[3], half[7]));
    return ck_larger(even, odd);
}
#endif
