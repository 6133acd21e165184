// IEEE half and bfloat16 storage, by bit arithmetic that every processor vectorises and that is exact: subnormals,
// infinities and NaN included, rounding to nearest even.
#include "internal.h"

CK_DISPATCH void ck_float_from_half(float *out, const uint16_t *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const uint32_t sign = ((uint32_t)x[i] & 0x8000u) << 16;
        const uint32_t magnitude = ((uint32_t)x[i] & 0x7FFFu) << 13;
        // The product rebases the exponent and is exact, for subnormal halves too.
        const uint32_t finite = ck_bits(ck_float(magnitude) * 0x1p112f);
        const uint32_t special = magnitude | 0x7F800000u;
        out[i] = ck_float(sign | (magnitude >= 0x0F800000u ? special : finite));
    }
}

CK_DISPATCH void ck_half_from_float(uint16_t *out, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const uint32_t bits = ck_bits(x[i]);
        const uint32_t magnitude = bits & 0x7FFFFFFFu;
        // From 65536 on: infinity; a NaN keeps its high payload bits and becomes quiet.
        const uint32_t special =
            magnitude > 0x7F800000u ? 0x7E00u | ((magnitude >> 13) & 0x1FFu) : 0x7C00u;
        // Below 2^-14: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits.
        const uint32_t subnormal = ck_bits(ck_float(magnitude) + 0.5f) - 0x3F000000u;
        // Otherwise rebase the exponent and round to even; a carry runs into the exponent, up to infinity.
        const uint32_t normal = (magnitude - 0x38000000u + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
        const uint32_t half =
            magnitude >= 0x47800000u ? special : (magnitude < 0x38800000u ? subnormal : normal);
        out[i] = (uint16_t)(((bits >> 16) & 0x8000u) | half);
    }
}

CK_DISPATCH void ck_float_from_bfloat16(float *out, const uint16_t *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) out[i] = ck_float((uint32_t)x[i] << 16);
}

CK_DISPATCH void ck_bfloat16_from_float(uint16_t *out, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const uint32_t bits = ck_bits(x[i]);
        const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
        const uint32_t quiet = (bits >> 16) | 0x40u;  // rounding could carry a NaN into infinity
        out[i] = (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
    }
}
