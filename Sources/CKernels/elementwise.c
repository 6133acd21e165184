// Elementwise loops. They carry no dependence even when the output is one of the inputs, which CK_INDEPENDENT states:
// the overlap checks the compiler would otherwise insert send in-place calls down a scalar path.
#include "internal.h"
#include <string.h>

CK_DISPATCH void ck_fill(float *out, float value, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) out[i] = value;
}

CK_DISPATCH void ck_add(float *out, const float *a, const float *b, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) out[i] = a[i] + b[i];
}

CK_DISPATCH void ck_multiply(float *out, const float *a, const float *b, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) out[i] = a[i] * b[i];
}

CK_DISPATCH void ck_scale(float *out, const float *x, float factor, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) out[i] = x[i] * factor;
}

CK_DISPATCH void ck_axpy(float *y, float alpha, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) y[i] += alpha * x[i];
}

CK_DISPATCH void ck_add_bias(float *y, const float *bias, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++) {
        float *row = y + i * columns;
        CK_INDEPENDENT for (size_t c = 0; c < columns; c++) row[c] += bias[c];
    }
}

CK_DISPATCH void ck_mix(float *out, float g, const float *a, const float *b, size_t n) {
    const float h = 1.0f - g;
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) out[i] = g * a[i] + h * b[i];
}

void ck_copy_rows(float *out, size_t out_stride, const float *x, size_t x_stride, size_t rows, size_t columns) {
    if (columns == 0) return;
    for (size_t i = 0; i < rows; i++) memcpy(out + i * out_stride, x + i * x_stride, columns * sizeof(float));
}

// The finaliser of SplitMix64, as in Support's CounterRandom: masks are a function of key and position alone. The top
// 32 bits decide, compared as signed numbers, which vector units can do.
CK_INLINE float dropped(float x, float keep, uint64_t word, int64_t threshold) {
    uint64_t z = word;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (int64_t)(z >> 32) >= threshold ? x * keep : 0.0f;
}

CK_DISPATCH void ck_dropout(float *out, const float *x, uint64_t key, uint64_t first, float p, size_t n) {
    const uint64_t golden = 0x9E3779B97F4A7C15u;
    const int64_t threshold = (int64_t)((double)p * 4294967296.0);
    const float keep = 1.0f / (1.0f - p);
    uint64_t word = key + (first + 1) * golden;
    size_t i = 0;
    for (; i + CK_LANES <= n; i += CK_LANES, word += CK_LANES * golden)  // the lanes' multiples are constants
        CK_INDEPENDENT for (size_t l = 0; l < CK_LANES; l++)
            out[i + l] = dropped(x[i + l], keep, word + l * golden, threshold);
    for (; i < n; i++, word += golden) out[i] = dropped(x[i], keep, word, threshold);
}
