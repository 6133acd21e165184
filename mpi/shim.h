#ifndef CMPI_SHIM_H
#define CMPI_SHIM_H
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>
#endif
