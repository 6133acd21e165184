// The passes over a row that softmax and cross-entropy share.
#ifndef PAC_CKERNELS_SOFTMAX_H
#define PAC_CKERNELS_SOFTMAX_H
#include "internal.h"

// Vectors wider than the processor's registers are passed between functions in memory; these are all inlined.
#pragma clang diagnostic ignored "-Wpsabi"

// Blocks summed in float before a partial sum moves to double: bounds the error for vocabularies.
#define CK_SUM_BLOCKS 128

// CK_LANES numbers at a time, in as many registers as the processor needs for them. Spelt out because the compiler keeps
// arrays of lanes in memory between the steps of the exponential.
typedef float ck_vector __attribute__((vector_size(4 * CK_LANES), aligned(4), may_alias));
typedef int32_t ck_mask __attribute__((vector_size(4 * CK_LANES), aligned(4), may_alias));

#define CK_VECTOR(pointer) (*(ck_vector *)(pointer))
#define CK_CONST_VECTOR(pointer) (*(const ck_vector *)(pointer))
#define CK_CONST_MASK(pointer) (*(const ck_mask *)(pointer))

// From element n on, a mask of the last n lanes.
static const int32_t ck_last_lanes[2 * CK_LANES] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                                    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

CK_INLINE ck_vector ck_vector_select(ck_mask mask, ck_vector a, ck_vector b) {
    return (ck_vector)(((ck_mask)a & mask) | ((ck_mask)b & ~mask));
}

CK_INLINE ck_vector ck_vector_larger(ck_vector a, ck_vector b) { return ck_vector_select(a > b, a, b); }

CK_INLINE float ck_vector_sum(ck_vector x) {
    float lanes[CK_LANES];
    memcpy(lanes, &x, sizeof lanes);
    return ck_lane_sum(lanes);
}

CK_INLINE float ck_vector_max(ck_vector x) {
    float lanes[CK_LANES];
    memcpy(lanes, &x, sizeof lanes);
    return ck_lane_max(lanes);
}

// ck_exp_negative of each lane.
CK_INLINE ck_vector ck_vector_exp_negative(ck_vector x) {
    const ck_vector least = (ck_vector){0} - 87.33f;
    const ck_mask vanishes = x < least;
    const ck_vector clamped = ck_vector_select(vanishes, least, x);
    CK_EXP_STEPS(ck_vector, clamped, shifted, y);
    const ck_vector power = (ck_vector)(((ck_mask)shifted + 127) << 23);
    return (ck_vector)((ck_mask)(y * power) & ~vanishes);
}

// The end of a row is the last CK_LANES elements, part of which earlier blocks have handled: rows of attention scores
// are short, and element by element their ends would cost more than the rest.

// The largest element; -infinity for an empty row.
CK_INLINE float ck_row_max(const float *x, size_t n) {
    if (n < CK_LANES) {
        float max = -__builtin_inff();
        for (size_t i = 0; i < n; i++) max = ck_larger(x[i], max);
        return max;
    }
    ck_vector max = (ck_vector){0} - __builtin_inff();
    for (size_t i = 0; i + CK_LANES <= n; i += CK_LANES) max = ck_vector_larger(CK_CONST_VECTOR(x + i), max);
    return ck_vector_max(ck_vector_larger(CK_CONST_VECTOR(x + n - CK_LANES), max));
}

// Stores exp(x - max) to out, which may be x or NULL (nothing stored), and returns the sum.
CK_INLINE double ck_row_exp(float *out, const float *x, float max, size_t n) {
    if (n < CK_LANES) {
        float row[CK_LANES];
        for (size_t l = 0; l < CK_LANES; l++) row[l] = l < n ? x[l] : -__builtin_inff();
        const ck_vector values = ck_vector_exp_negative(CK_VECTOR(row) - max);
        for (size_t l = 0; out && l < n; l++) out[l] = values[l];
        return (double)ck_vector_sum(values);
    }
    const ck_vector end = CK_CONST_VECTOR(x + n - CK_LANES);  // before its first elements are overwritten
    ck_vector lanes = {0};
    double sum = 0;
    size_t blocks = 0;
    for (size_t i = 0; i + CK_LANES <= n; i += CK_LANES) {
        const ck_vector values = ck_vector_exp_negative(CK_CONST_VECTOR(x + i) - max);
        lanes += values;
        if (out) CK_VECTOR(out + i) = values;
        if (++blocks % CK_SUM_BLOCKS == 0) {
            sum += (double)ck_vector_sum(lanes);
            lanes = (ck_vector){0};
        }
    }
    const size_t rest = n % CK_LANES;
    if (rest != 0) {
        const ck_vector values = ck_vector_exp_negative(end - max);
        if (out) CK_VECTOR(out + n - CK_LANES) = values;
        lanes += (ck_vector)((ck_mask)values & CK_CONST_MASK(ck_last_lanes + rest));
    }
    return sum + (double)ck_vector_sum(lanes);
}
#endif
