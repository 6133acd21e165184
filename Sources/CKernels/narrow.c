// Products of attention heads so narrow that a GEMM call is all overhead. The narrow dimension h is unrolled into
// registers and the long one runs along the lanes of 8-wide vectors, which the compiler maps to whatever the processor
// has. The usual widths are compiled with the constant; the others share a general version.
#include "internal.h"

typedef float vector8 __attribute__((vector_size(32), aligned(4), may_alias));

#define WIDTH 8          // lanes of a vector
#define LARGEST_HEAD 16  // columns of the widest head
#define NN_BLOCK 128     // rows of B that A B copies at a time

// C[m, width] = A[m, h] B[width, h]^T for width <= 8: B stands transposed in registers.
CK_INLINE void nt_columns(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                          size_t width, const size_t h) {
    float transposed[LARGEST_HEAD][WIDTH] = {{0}};
    for (size_t j = 0; j < width; j++)
        for (size_t k = 0; k < h; k++) transposed[k][j] = b[j * ldb + k];
    vector8 column[LARGEST_HEAD];
    for (size_t k = 0; k < h; k++) column[k] = *(const vector8 *)transposed[k];
    for (size_t i = 0; i < m; i++) {
        vector8 even = {0}, odd = {0};  // two chains of additions, so that they overlap
        for (size_t k = 0; k + 1 < h; k += 2) {
            even += a[i * lda + k] * column[k];
            odd += a[i * lda + k + 1] * column[k + 1];
        }
        if (h % 2 != 0) even += a[i * lda + h - 1] * column[h - 1];
        even += odd;
        if (width == WIDTH)
            *(vector8 *)(c + i * ldc) = even;
        else
            for (size_t j = 0; j < width; j++) c[i * ldc + j] = even[j];
    }
}

CK_INLINE void narrow_nt(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                         size_t n, const size_t h) {
    size_t j = 0;
    for (; j + WIDTH <= n; j += WIDTH) nt_columns(c + j, ldc, a, lda, b + j * ldb, ldb, m, WIDTH, h);
    if (j == n) return;
    // The last full vector again, shifted to the end, is faster than a partial one.
    if (n >= WIDTH)
        nt_columns(c + n - WIDTH, ldc, a, lda, b + (n - WIDTH) * ldb, ldb, m, WIDTH, h);
    else
        nt_columns(c, ldc, a, lda, b, ldb, m, n, h);
}

CK_DISPATCH void ck_narrow_nt(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                              size_t n, size_t h) {
    switch (h) {
    case 4: narrow_nt(c, ldc, a, lda, b, ldb, m, n, 4); break;
    case 8: narrow_nt(c, ldc, a, lda, b, ldb, m, n, 8); break;
    case 16: narrow_nt(c, ldc, a, lda, b, ldb, m, n, 16); break;
    default: narrow_nt(c, ldc, a, lda, b, ldb, m, n, h);
    }
}

// C[width, h] = A[m, width]^T B[m, h] + beta C for width <= 8, C's sums transposed in registers. Rows before `first`
// are not stored.
CK_INLINE void tn_rows(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                       size_t first, size_t width, const size_t h, float beta) {
    vector8 sum[LARGEST_HEAD];
    for (size_t k = 0; k < h; k++) sum[k] = (vector8){0};
    for (size_t i = 0; i < m; i++) {
        vector8 row = {0};
        if (width == WIDTH)
            row = *(const vector8 *)(a + i * lda);
        else
            for (size_t j = 0; j < width; j++) row[j] = a[i * lda + j];
        for (size_t k = 0; k < h; k++) sum[k] += b[i * ldb + k] * row;
    }
    float transposed[LARGEST_HEAD][WIDTH];
    for (size_t k = 0; k < h; k++) *(vector8 *)transposed[k] = sum[k];
    for (size_t j = first; j < width; j++)
        for (size_t k = 0; k < h; k++)
            c[j * ldc + k] = transposed[k][j] + (beta == 0.0f ? 0.0f : c[j * ldc + k]);
}

CK_INLINE void narrow_tn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                         size_t n, const size_t h, float beta) {
    size_t j = 0;
    for (; j + WIDTH <= n; j += WIDTH) tn_rows(c + j * ldc, ldc, a + j, lda, b, ldb, m, 0, WIDTH, h, beta);
    if (j == n) return;
    if (n >= WIDTH)
        tn_rows(c + (n - WIDTH) * ldc, ldc, a + n - WIDTH, lda, b, ldb, m, WIDTH - (n - j), WIDTH, h, beta);
    else
        tn_rows(c, ldc, a, lda, b, ldb, m, 0, n, h, beta);
}

// Wider heads in parts of 8 and 4 columns: more sums than that do not fit AVX2's registers.
CK_DISPATCH void ck_narrow_tn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                              size_t n, size_t h, float beta) {
    size_t k = 0;
    for (; k + 8 <= h; k += 8) narrow_tn(c + k, ldc, a, lda, b + k, ldb, m, n, 8, beta);
    for (; k + 4 <= h; k += 4) narrow_tn(c + k, ldc, a, lda, b + k, ldb, m, n, 4, beta);
    if (k < h) narrow_tn(c + k, ldc, a, lda, b + k, ldb, m, n, h - k, beta);
}

// C[rows, h] = A[rows, n] B[n, h] + beta C for rows <= `registers`, their sums in registers of `vectors` vectors each.
// B is read 8 * vectors wide. A missing row repeats the last one and is not stored.
CK_INLINE void nn_rows(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t rows,
                       size_t n, size_t h, float beta, const size_t vectors, const size_t registers) {
    vector8 sum[WIDTH][2];
    const float *row[WIDTH];
    for (size_t r = 0; r < registers; r++) {
        row[r] = a + (r < rows ? r : rows - 1) * lda;
        for (size_t v = 0; v < vectors; v++) sum[r][v] = (vector8){0};
    }
    for (size_t j = 0; j < n; j++)
        for (size_t v = 0; v < vectors; v++) {
            const vector8 operand = *(const vector8 *)(b + j * ldb + v * WIDTH);
            for (size_t r = 0; r < registers; r++) sum[r][v] += row[r][j] * operand;
        }
    float stored[WIDTH][2 * WIDTH];
    for (size_t r = 0; r < registers; r++)
        for (size_t v = 0; v < vectors; v++) *(vector8 *)(stored[r] + v * WIDTH) = sum[r][v];
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < h; k++) c[r * ldc + k] = stored[r][k] + (beta == 0.0f ? 0.0f : c[r * ldc + k]);
}

CK_INLINE void narrow_nn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                         size_t n, size_t h, float beta, const size_t vectors) {
    const size_t padded = vectors * WIDTH, registers = WIDTH / vectors;
    float copy[NN_BLOCK * 2 * WIDTH];
    size_t start = 0;
    do {  // once even for n = 0, which must still overwrite C
        const size_t count = n - start < NN_BLOCK ? n - start : NN_BLOCK;
        const float *operand = b + start * ldb;
        size_t stride = ldb;
        if (h != padded) {  // zeros fill B's rows up to whole vectors
            for (size_t j = 0; j < count; j++)
                for (size_t k = 0; k < padded; k++) copy[j * padded + k] = k < h ? operand[j * ldb + k] : 0.0f;
            operand = copy;
            stride = padded;
        }
        for (size_t i = 0; i < m; i += registers)
            nn_rows(c + i * ldc, ldc, a + i * lda + start, lda, operand, stride, m - i < registers ? m - i : registers,
                    count, h, start == 0 ? beta : 1.0f, vectors, registers);
        start += count;
    } while (start < n);
}

CK_DISPATCH void ck_narrow_nn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
                              size_t n, size_t h, float beta) {
    switch (h) {
    case 4: narrow_nn(c, ldc, a, lda, b, ldb, m, n, 4, beta, 1); break;
    case 8: narrow_nn(c, ldc, a, lda, b, ldb, m, n, 8, beta, 1); break;
    case 16: narrow_nn(c, ldc, a, lda, b, ldb, m, n, 16, beta, 2); break;
    default:
        if (h < 8)
            narrow_nn(c, ldc, a, lda, b, ldb, m, n, h, beta, 1);
        else
            narrow_nn(c, ldc, a, lda, b, ldb, m, n, h, beta, 2);
    }
}
