// Sums. Float addition is not associative, so the compiler may not vectorise a plain sum: partial sums, one for each
// lane, say which order is meant.
#include "internal.h"

CK_DISPATCH void ck_column_sums(float *sums, const float *x, size_t rows, size_t columns) {
    size_t i = 0;
    for (; i + 4 <= rows; i += 4) {  // four rows at a time: a quarter of the traffic on `sums`
        const float *r0 = x + i * columns, *r1 = r0 + columns, *r2 = r1 + columns, *r3 = r2 + columns;
        CK_INDEPENDENT for (size_t c = 0; c < columns; c++) sums[c] += (r0[c] + r1[c]) + (r2[c] + r3[c]);
    }
    for (; i < rows; i++) {
        const float *row = x + i * columns;
        CK_INDEPENDENT for (size_t c = 0; c < columns; c++) sums[c] += row[c];
    }
}

CK_DISPATCH double ck_sum_squares(const float *x, size_t n) {
    double lanes[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t l = 0; l < 16; l++) lanes[l] += (double)x[i + l] * (double)x[i + l];
    double sum = 0;
    for (; i < n; i++) sum += (double)x[i] * (double)x[i];
    for (size_t l = 0; l < 16; l++) sum += lanes[l];
    return sum;
}

CK_DISPATCH double ck_dot_difference(const float *a, const float *b, const float *g, size_t n) {
    double lanes[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] += ((double)a[i + l] - (double)b[i + l]) * (double)g[i + l];
    double sum = 0;
    for (; i < n; i++) sum += ((double)a[i] - (double)b[i]) * (double)g[i];
    for (size_t l = 0; l < 16; l++) sum += lanes[l];
    return sum;
}

// |w| 2^24 is exact in double, so the integer does not depend on the processor.
static inline int64_t importance(float w) { return (int64_t)(__builtin_fabs((double)w) * 16777216.0); }

void ck_importance_rows(int64_t *scores, const float *w, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++) {
        int64_t sum = 0;
        for (size_t c = 0; c < columns; c++) sum += importance(w[i * columns + c]);
        scores[i] += sum;
    }
}

void ck_importance_columns(int64_t *scores, const float *w, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < columns; c++) scores[c] += importance(w[i * columns + c]);
}
