#ifndef CBLAS_SHIM_H
#define CBLAS_SHIM_H
#include <cblas.h>  // imports as it is: cblas_sgemm, openblas_set_num_threads, openblas_get_corename
#endif
