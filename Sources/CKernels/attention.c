// Attention's softmax and its products for narrow heads, one sequence and one head at a time.
#include "internal.h"
#include "softmax.h"

CK_DISPATCH void ck_attention_softmax(float *scores, const float *bias, float scale, int causal, size_t nq,
                                      size_t nk) {
    for (size_t q = 0; q < nq; q++) {
        float *row = scores + q * nk;
        const ptrdiff_t position = (ptrdiff_t)q + (ptrdiff_t)nk - (ptrdiff_t)nq;
        const size_t visible = causal ? (size_t)(position + 1) : nk;
        if (bias) {
            const float *shifted = bias - position;
            CK_INDEPENDENT for (size_t t = 0; t < visible; t++) row[t] = scale * row[t] + shifted[t];
        } else {
            CK_INDEPENDENT for (size_t t = 0; t < visible; t++) row[t] *= scale;
        }
        const float max = ck_row_max(row, visible);
        const float factor = (float)(1.0 / ck_row_exp(row, row, max, visible));
        CK_INDEPENDENT for (size_t t = 0; t < visible; t++) row[t] *= factor;
        for (size_t t = visible; t < nk; t++) row[t] = 0.0f;
    }
}

CK_DISPATCH void ck_attention_softmax_backward(float *dp, const float *p, float *dbias, float scale, size_t nq,
                                               size_t nk) {
    for (size_t q = 0; q < nq; q++) {
        float *gradient = dp + q * nk;
        const float *row = p + q * nk;
        float lanes[CK_LANES] = {0};
        size_t t = 0;
        for (; t + CK_LANES <= nk; t += CK_LANES)
            for (size_t l = 0; l < CK_LANES; l++) lanes[l] += row[t + l] * gradient[t + l];
        float dot = 0;
        for (; t < nk; t++) dot += row[t] * gradient[t];
        dot += ck_lane_sum(lanes);
        if (dbias) {
            float *shifted = dbias - ((ptrdiff_t)q + (ptrdiff_t)nk - (ptrdiff_t)nq);
            CK_INDEPENDENT for (size_t k = 0; k < nk; k++) {
                const float ds = row[k] * (gradient[k] - dot);
                shifted[k] += ds;
                gradient[k] = scale * ds;
            }
        } else {
            CK_INDEPENDENT for (size_t k = 0; k < nk; k++) gradient[k] = scale * (row[k] * (gradient[k] - dot));
        }
    }
}
