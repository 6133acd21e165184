#include "internal.h"

CK_DISPATCH void ck_narrow_nt(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                              size_t n, size_t h) {
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = 0;
            for (size_t k = 0; k < h; k++) sum += a[i * lda + k] * b[j * ldb + k];
            c[i * ldc + j] = sum;
        }
}

CK_DISPATCH void ck_narrow_nn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                              size_t n, size_t h, float beta) {
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < h; k++) {
            float sum = beta == 0.0f ? 0.0f : c[i * ldc + k];
            for (size_t j = 0; j < n; j++) sum += a[i * lda + j] * b[j * ldb + k];
            c[i * ldc + k] = sum;
        }
}

CK_DISPATCH void ck_narrow_tn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                              size_t n, size_t h, float beta) {
    for (size_t j = 0; j < n; j++)
        for (size_t k = 0; k < h; k++) {
            float sum = beta == 0.0f ? 0.0f : c[j * ldc + k];
            for (size_t i = 0; i < m; i++) sum += a[i * lda + j] * b[i * ldb + k];
            c[j * ldc + k] = sum;
        }
}
