// Rotary position embedding in the "rotate half" form.
#include "internal.h"

CK_DISPATCH void ck_rotate_half(float *out, const float *x, const float *table, const int32_t *positions, float sign,
                                size_t rows, size_t heads, size_t h) {
    const size_t half = h / 2;
    for (size_t i = 0; i < rows; i++) {
        const float *cosines = table + (size_t)positions[i] * h;
        const float *sines = cosines + half;
        for (size_t head = 0; head < heads; head++) {
            const size_t start = (i * heads + head) * h;
            const float *from = x + start;
            float *to = out + start;
            CK_INDEPENDENT for (size_t p = 0; p < half; p++) {
                const float first = from[p], second = from[p + half], sine = sign * sines[p];
                to[p] = first * cosines[p] - second * sine;
                to[p + half] = second * cosines[p] + first * sine;
            }
        }
    }
}
