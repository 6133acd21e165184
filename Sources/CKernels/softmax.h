// The passes over a row that softmax and cross-entropy share.
#ifndef PAC_CKERNELS_SOFTMAX_H
#define PAC_CKERNELS_SOFTMAX_H
#include "internal.h"

// Elements summed in float before a partial sum moves to double: bounds the error for vocabularies.
#define CK_SUM_BLOCK 2048

// The largest element; -infinity for an empty row.
CK_INLINE float ck_row_max(const float *x, size_t n) {
    float lanes[CK_LANES];
    for (size_t l = 0; l < CK_LANES; l++) lanes[l] = -__builtin_inff();
    size_t i = 0;
    for (; i + CK_LANES <= n; i += CK_LANES)
        for (size_t l = 0; l < CK_LANES; l++) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (; i < n; i++) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    return ck_lane_max(lanes);
}

// Stores exp(x - max) to out, which may be x, and returns the sum.
CK_INLINE double ck_row_exp(float *out, const float *x, float max, size_t n) {
    double sum = 0;
    for (size_t start = 0; start < n; start += CK_SUM_BLOCK) {
        const size_t end = n - start < CK_SUM_BLOCK ? n : start + CK_SUM_BLOCK;
        CK_INDEPENDENT for (size_t i = start; i < end; i++) out[i] = ck_exp_negative(x[i] - max);
        float lanes[CK_LANES] = {0};
        size_t i = start;
        for (; i + CK_LANES <= end; i += CK_LANES)
            for (size_t l = 0; l < CK_LANES; l++) lanes[l] += out[i + l];
        float tail = 0;
        for (; i < end; i++) tail += out[i];
        sum += (double)(tail + ck_lane_sum(lanes));
    }
    return sum;
}

// The sum of exp(x - max), storing nothing.
CK_INLINE double ck_row_exp_sum(const float *x, float max, size_t n) {
    float block[CK_SUM_BLOCK];
    double sum = 0;
    for (size_t start = 0; start < n; start += CK_SUM_BLOCK)
        sum += ck_row_exp(block, x + start, max, n - start < CK_SUM_BLOCK ? n - start : CK_SUM_BLOCK);
    return sum;
}
#endif
