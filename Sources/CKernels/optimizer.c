// The optimizer's update, one pass over parameter, moments and gradient.
#include "internal.h"
#include <math.h>

CK_DISPATCH void ck_adamw(float *p, float *m, float *v, const float *g, float lr, float beta1, float beta2, float eps,
                          float weight_decay, float grad_scale, int64_t step, size_t n) {
    // Everything that does not depend on the element is computed in double: 1 - beta2 in float has lost 4 digits.
    const float decay = (float)(1.0 - (double)lr * (double)weight_decay);
    const float fresh1 = (float)(1.0 - (double)beta1);
    const float fresh2 = (float)(1.0 - (double)beta2);
    const float rate = (float)((double)lr / (1.0 - pow((double)beta1, (double)step)));
    const float root = (float)(1.0 / sqrt(1.0 - pow((double)beta2, (double)step)));
    CK_INDEPENDENT for (size_t i = 0; i < n; i++) {
        const float gradient = grad_scale * g[i];
        const float first = beta1 * m[i] + fresh1 * gradient;
        const float second = beta2 * v[i] + fresh2 * (gradient * gradient);
        m[i] = first;
        v[i] = second;
        p[i] = decay * p[i] - rate * first / (sqrtf(second) * root + eps);
    }
}
