// The passes over a row that softmax and cross-entropy share.
#ifndef PAC_CKERNELS_SOFTMAX_H
#define PAC_CKERNELS_SOFTMAX_H
#include "internal.h"

// Blocks summed in float before a partial sum moves to double: bounds the error for vocabularies.
#define CK_SUM_BLOCKS 128

// The end of a row is the last CK_LANES elements, part of which earlier blocks have handled: rows of attention scores
// are short, and element by element their ends would cost more than the rest.

// The largest element; -infinity for an empty row.
CK_INLINE float ck_row_max(const float *x, size_t n) {
    float lanes[CK_LANES];
    for (size_t l = 0; l < CK_LANES; l++) lanes[l] = -__builtin_inff();
    if (n < CK_LANES) {
        for (size_t i = 0; i < n; i++) lanes[i] = x[i];
        return ck_lane_max(lanes);
    }
    for (size_t i = 0; i + CK_LANES <= n; i += CK_LANES)
        for (size_t l = 0; l < CK_LANES; l++) lanes[l] = ck_larger(x[i + l], lanes[l]);
    for (size_t l = 0; l < CK_LANES; l++) lanes[l] = ck_larger(x[n - CK_LANES + l], lanes[l]);
    return ck_lane_max(lanes);
}

CK_INLINE void ck_exp_lanes(float *values, float max) {
    CK_INDEPENDENT for (size_t l = 0; l < CK_LANES; l++) values[l] = ck_exp_negative(values[l] - max);
}

// Stores exp(x - max) to out, which may be x or NULL (nothing stored), and returns the sum.
CK_INLINE double ck_row_exp(float *out, const float *x, float max, size_t n) {
    float end[CK_LANES], values[CK_LANES], lanes[CK_LANES] = {0};
    if (n < CK_LANES) {
        for (size_t l = 0; l < CK_LANES; l++) end[l] = l < n ? x[l] : -__builtin_inff();
        ck_exp_lanes(end, max);
        for (size_t l = 0; out && l < n; l++) out[l] = end[l];
        return (double)ck_lane_sum(end);
    }
    memcpy(end, x + n - CK_LANES, sizeof end);  // before its first elements are overwritten
    double sum = 0;
    size_t blocks = 0;
    for (size_t i = 0; i + CK_LANES <= n; i += CK_LANES) {
        memcpy(values, x + i, sizeof values);
        ck_exp_lanes(values, max);
        for (size_t l = 0; l < CK_LANES; l++) lanes[l] += values[l];
        if (out) memcpy(out + i, values, sizeof values);
        if (++blocks % CK_SUM_BLOCKS == 0) {
            sum += (double)ck_lane_sum(lanes);
            memset(lanes, 0, sizeof lanes);
        }
    }
    const size_t handled = n % CK_LANES == 0 ? CK_LANES : CK_LANES - n % CK_LANES;
    if (handled < CK_LANES) {
        ck_exp_lanes(end, max);
        if (out) memcpy(out + n - CK_LANES, end, sizeof end);
        for (size_t l = 0; l < CK_LANES; l++) lanes[l] += l < handled ? 0.0f : end[l];
    }
    return sum + (double)ck_lane_sum(lanes);
}
#endif
