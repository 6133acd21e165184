// The most multiplications and additions a second that a core can do: what matrix products are measured against.
#ifndef PAC_PEAK_H
#define PAC_PEAK_H
#include <stddef.h>

// Runs `rounds` rounds of independent fused multiply-adds on the widest vectors of this processor, out of registers.
// Returns the floating-point operations that were done.
double peak_multiply_add(size_t rounds);
#endif
