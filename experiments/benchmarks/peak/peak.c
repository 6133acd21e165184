#include "peak.h"

// As many accumulators as registers allow beside the two factors: enough to hide the latency of each operation.
#define DEFINE_PEAK(name, attributes, bytes, accumulators)                                        \
    typedef float name##_vector __attribute__((vector_size(bytes)));                              \
    attributes static double name(size_t rounds) {                                                \
        name##_vector sums[accumulators];                                                         \
        for (int i = 0; i < accumulators; i++) sums[i] = (name##_vector){0} + (float)i;           \
        name##_vector factor = (name##_vector){0} + 0.999f, term = (name##_vector){0} + 1e-3f;    \
        for (size_t round = 0; round < rounds; round++) {                                         \
            _Pragma("clang loop unroll(full)")                                                    \
            for (int i = 0; i < accumulators; i++) sums[i] = sums[i] * factor + term;             \
            __asm__ volatile("" : "+m"(rounds));                                                  \
        }                                                                                         \
        name##_vector total = sums[0];                                                            \
        for (int i = 1; i < accumulators; i++) total += sums[i];                                  \
        volatile float sink = total[0];                                                           \
        (void)sink;                                                                               \
        return 2.0 * accumulators * (bytes / sizeof(float)) * (double)rounds;                     \
    }

#if defined(__x86_64__)
DEFINE_PEAK(peak_avx512, __attribute__((target("avx512f,fma"))), 64, 24)
DEFINE_PEAK(peak_avx2, __attribute__((target("avx2,fma"))), 32, 12)
#endif
DEFINE_PEAK(peak_plain, , 16, 12)

double peak_multiply_add(size_t rounds) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return peak_avx512(rounds);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return peak_avx2(rounds);
#endif
    return peak_plain(rounds);
}
