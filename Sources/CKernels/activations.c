// Activation functions and their derivatives, free of branches.
#include "internal.h"

CK_DISPATCH void ck_relu(float *out, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) out[i] = x[i] < 0.0f ? 0.0f : x[i];  // NaN stays NaN
}

CK_DISPATCH void ck_relu_backward(float *dx, const float *dy, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) dx[i] = x[i] > 0.0f ? dy[i] : 0.0f;
}

// The normal distribution's upper tail Q(a) = erfc(a / sqrt 2) / 2 for a >= 0, given e = exp(-a^2 / 2): e times a
// polynomial in t = 1 / (1 + 0.305 a), the form of Abramowitz and Stegun 7.1.26 with 8 terms, fitted for the least
// relative error (1e-7, and 4e-7 with float rounding). The tail, unlike erf, needs no cancelling 1 - erf.
CK_INLINE float normal_tail(float a, float e) {
    const float t = 1.0f / (1.0f + 0.305f * a);
    float y = 3.66992939e-2f;
    y = y * t - 1.52988743e-1f;
    y = y * t + 1.85717640e-1f;
    y = y * t - 3.79774953e-2f;
    y = y * t + 1.21022020e-1f;
    y = y * t + 1.03420768e-1f;
    y = y * t + 1.22466831e-1f;
    y = y * t + 1.21639732e-1f;
    return y * t * e;
}

// x Phi(x) = max(x, 0) - |x| Q(|x|).
CK_DISPATCH void ck_gelu_erf(float *out, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const float a = __builtin_fabsf(x[i]);
        const float positive = x[i] < 0.0f ? 0.0f : x[i];
        out[i] = positive - a * normal_tail(a, ck_exp_negative(-0.5f * a * a));
    }
}

// Phi(x) + x phi(x).
CK_DISPATCH void ck_gelu_erf_backward(float *dx, const float *dy, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const float a = __builtin_fabsf(x[i]);
        const float e = ck_exp_negative(-0.5f * a * a);
        const float tail = normal_tail(a, e);
        const float phi = x[i] < 0.0f ? tail : 1.0f - tail;
        dx[i] = dy[i] * (phi + x[i] * (0.398942280401432678f * e));
    }
}

// With (1 + tanh u) / 2 = sigmoid(2u) and e = exp(-2|u|): x sigmoid(2u) is x / (1 + e) or x e / (1 + e).
CK_DISPATCH void ck_gelu_tanh(float *out, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const float v = x[i];
        const float u2 = 1.59576912160573071f * (v + 0.044715f * v * v * v);
        const float e = ck_exp_negative(-__builtin_fabsf(u2));
        out[i] = v * (v < 0.0f ? e : 1.0f) / (1.0f + e);
    }
}

// s + x s (1 - s) 2 u' with s = sigmoid(2u).
CK_DISPATCH void ck_gelu_tanh_backward(float *dx, const float *dy, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const float v = x[i];
        const float u2 = 1.59576912160573071f * (v + 0.044715f * v * v * v);
        const float slope = 1.59576912160573071f * (1.0f + 0.134145f * v * v);
        const float e = ck_exp_negative(-__builtin_fabsf(u2));
        const float d = 1.0f / (1.0f + e);
        const float s = (v < 0.0f ? e : 1.0f) * d;
        dx[i] = dy[i] * (s + v * slope * (e * d * d));
    }
}

CK_DISPATCH void ck_silu(float *out, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const float v = x[i];
        const float e = ck_exp_negative(-__builtin_fabsf(v));
        out[i] = v * (v < 0.0f ? e : 1.0f) / (1.0f + e);
    }
}

// s + x s (1 - s).
CK_DISPATCH void ck_silu_backward(float *dx, const float *dy, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const float v = x[i];
        const float e = ck_exp_negative(-__builtin_fabsf(v));
        const float d = 1.0f / (1.0f + e);
        const float s = (v < 0.0f ? e : 1.0f) * d;
        dx[i] = dy[i] * (s + v * (e * d * d));
    }
}

// Below 0.625 Cephes' odd polynomial, which keeps the relative precision of small arguments; above it
// (1 - e) / (1 + e) with e = exp(-2|x|).
CK_DISPATCH void ck_tanh(float *out, const float *x, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const float v = x[i];
        const float a = __builtin_fabsf(v);
        const float z = v * v;
        float y = -5.70498872745e-3f;
        y = y * z + 2.06390887954e-2f;
        y = y * z - 5.37397155531e-2f;
        y = y * z + 1.33314422036e-1f;
        y = y * z - 3.33332819422e-1f;
        const float small = y * z * v + v;
        const float e = ck_exp_negative(-2.0f * a);
        const float large = __builtin_copysignf((1.0f - e) / (1.0f + e), v);
        out[i] = a < 0.625f ? small : large;
    }
}

CK_DISPATCH void ck_tanh_backward(float *dx, const float *dy, const float *y, size_t n) {
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) dx[i] = dy[i] * (1.0f - y[i] * y[i]);
}
