// Softmax, cross-entropy and argmax over rows.
#include "internal.h"
#include "softmax.h"
#include <math.h>

CK_DISPATCH double ck_cross_entropy(float *dlogits, const float *logits, const int32_t *labels, float weight,
                                    size_t rows, size_t columns) {
    double total = 0;
    for (size_t i = 0; i < rows; i++) {
        const float *row = logits + i * columns;
        const size_t label = (size_t)labels[i];
        const float chosen = row[label];  // read first: dlogits may be logits
        const float max = ck_row_max(row, columns);
        float *gradient = dlogits ? dlogits + i * columns : NULL;
        const double sum = ck_row_exp(gradient, row, max, columns);
        total += log(sum) + ((double)max - (double)chosen);
        if (!gradient) continue;
        const float factor = (float)((double)weight / sum);
        CK_INDEPENDENT for (size_t c = 0; c < columns; c++) gradient[c] *= factor;
        gradient[label] -= weight;
    }
    return total;
}

CK_DISPATCH void ck_argmax_rows(int32_t *out, const float *x, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++) {
        const float *row = x + i * columns;
        const float max = ck_row_max(row, columns);
        size_t c = 0;
        while (c < columns && row[c] != max) c++;
        out[i] = c < columns ? (int32_t)c : 0;  // a row of NaN has no largest element
    }
}

CK_DISPATCH void ck_softmax_rows(float *out, const float *x, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++) {
        float *result = out + i * columns;
        const float max = ck_row_max(x + i * columns, columns);
        const float factor = (float)(1.0 / ck_row_exp(result, x + i * columns, max, columns));
        CK_INDEPENDENT for (size_t c = 0; c < columns; c++) result[c] *= factor;
    }
}
