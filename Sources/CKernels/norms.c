// LayerNorm and RMSNorm. A row stays in the first-level cache between its passes.
#include "internal.h"
#include <math.h>

CK_INLINE float row_sum(const float *x, size_t n) {
    float lanes[CK_LANES] = {0};
    size_t i = 0;
    for (; i + CK_LANES <= n; i += CK_LANES)
        for (size_t l = 0; l < CK_LANES; l++) lanes[l] += x[i + l];
    float sum = 0;
    for (; i < n; i++) sum += x[i];
    return sum + ck_lane_sum(lanes);
}

CK_INLINE float row_sum_squares(const float *x, float centre, size_t n) {
    float lanes[CK_LANES] = {0};
    size_t i = 0;
    for (; i + CK_LANES <= n; i += CK_LANES)
        for (size_t l = 0; l < CK_LANES; l++) lanes[l] += (x[i + l] - centre) * (x[i + l] - centre);
    float sum = 0;
    for (; i < n; i++) sum += (x[i] - centre) * (x[i] - centre);
    return sum + ck_lane_sum(lanes);
}

CK_DISPATCH void ck_layer_norm(float *out, float *mean, float *rstd, const float *x, const float *weight,
                               const float *bias, float eps, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++) {
        const float *row = x + i * columns;
        float *result = out + i * columns;
        const float mu = row_sum(row, columns) / (float)columns;
        const float r = 1.0f / sqrtf(row_sum_squares(row, mu, columns) / (float)columns + eps);
        CK_INDEPENDENT for (size_t c = 0; c < columns; c++) result[c] = (row[c] - mu) * r * weight[c] + bias[c];
        if (mean) mean[i] = mu;
        if (rstd) rstd[i] = r;
    }
}

// With xhat = (x - mean) rstd and g = dy weight: dx = rstd (g - mean(g) - xhat mean(g xhat)).
CK_DISPATCH void ck_layer_norm_backward(float *dx, float *dweight, float *dbias, const float *dy, const float *x,
                                        const float *weight, const float *mean, const float *rstd, size_t rows,
                                        size_t columns) {
    for (size_t i = 0; i < rows; i++) {
        const float *row = x + i * columns, *gradient = dy + i * columns;
        const float mu = mean[i], r = rstd[i];
        if (dweight) {
            CK_INDEPENDENT for (size_t c = 0; c < columns; c++) dweight[c] += gradient[c] * ((row[c] - mu) * r);
        }
        if (dbias) {
            CK_INDEPENDENT for (size_t c = 0; c < columns; c++) dbias[c] += gradient[c];
        }
        if (!dx) continue;
        float sums[CK_LANES] = {0}, products[CK_LANES] = {0};
        size_t c = 0;
        for (; c + CK_LANES <= columns; c += CK_LANES)
            for (size_t l = 0; l < CK_LANES; l++) {
                const float g = gradient[c + l] * weight[c + l];
                sums[l] += g;
                products[l] += g * ((row[c + l] - mu) * r);
            }
        float sum = 0, product = 0;
        for (; c < columns; c++) {
            const float g = gradient[c] * weight[c];
            sum += g;
            product += g * ((row[c] - mu) * r);
        }
        sum = (sum + ck_lane_sum(sums)) / (float)columns;
        product = (product + ck_lane_sum(products)) / (float)columns;
        float *result = dx + i * columns;
        CK_INDEPENDENT for (size_t k = 0; k < columns; k++)
            result[k] = r * (gradient[k] * weight[k] - sum - (row[k] - mu) * r * product);
    }
}

CK_DISPATCH void ck_rms_norm(float *out, float *rstd, const float *x, const float *weight, float eps, size_t rows,
                             size_t columns) {
    for (size_t i = 0; i < rows; i++) {
        const float *row = x + i * columns;
        float *result = out + i * columns;
        const float r = 1.0f / sqrtf(row_sum_squares(row, 0.0f, columns) / (float)columns + eps);
        CK_INDEPENDENT for (size_t c = 0; c < columns; c++) result[c] = row[c] * r * weight[c];
        if (rstd) rstd[i] = r;
    }
}

// With g = dy weight: dx = rstd (g - xhat mean(g xhat)), xhat = x rstd.
CK_DISPATCH void ck_rms_norm_backward(float *dx, float *dweight, const float *dy, const float *x, const float *weight,
                                      const float *rstd, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++) {
        const float *row = x + i * columns, *gradient = dy + i * columns;
        const float r = rstd[i];
        if (dweight) {
            CK_INDEPENDENT for (size_t c = 0; c < columns; c++) dweight[c] += gradient[c] * (row[c] * r);
        }
        if (!dx) continue;
        float products[CK_LANES] = {0};
        size_t c = 0;
        for (; c + CK_LANES <= columns; c += CK_LANES)
            for (size_t l = 0; l < CK_LANES; l++)
                products[l] += gradient[c + l] * weight[c + l] * (row[c + l] * r);
        float product = 0;
        for (; c < columns; c++) product += gradient[c] * weight[c] * (row[c] * r);
        product = (product + ck_lane_sum(products)) / (float)columns;
        float *result = dx + i * columns;
        CK_INDEPENDENT for (size_t k = 0; k < columns; k++)
            result[k] = r * (gradient[k] * weight[k] - row[k] * r * product);
    }
}
