// What Swift cannot see of mpi.h. Open MPI spells its predefined handles and special addresses as macros that cast the
// address of a library variable, or a number, to a pointer; the importer takes only literal macros.
#ifndef CMPI_SHIM_H
#define CMPI_SHIM_H

// The C++ bindings were removed from the standard in MPI-3; without this an older mpi.h pulls them in.
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

// Communicators: casts of &ompi_mpi_comm_world and of &ompi_mpi_comm_null.
static inline MPI_Comm _Nonnull cmpi_comm_world(void) { return MPI_COMM_WORLD; }
static inline MPI_Comm _Nonnull cmpi_comm_null(void) { return MPI_COMM_NULL; }

// Element types: casts of &ompi_mpi_byte and its siblings.
static inline MPI_Datatype _Nonnull cmpi_byte(void) { return MPI_BYTE; }
static inline MPI_Datatype _Nonnull cmpi_float(void) { return MPI_FLOAT; }
static inline MPI_Datatype _Nonnull cmpi_double(void) { return MPI_DOUBLE; }
static inline MPI_Datatype _Nonnull cmpi_int64(void) { return MPI_INT64_T; }

// Reductions: casts of &ompi_mpi_op_sum and &ompi_mpi_op_max.
static inline MPI_Op _Nonnull cmpi_sum(void) { return MPI_SUM; }
static inline MPI_Op _Nonnull cmpi_max(void) { return MPI_MAX; }

// A request that is complete: a cast of &ompi_request_null.
static inline MPI_Request _Nonnull cmpi_request_null(void) { return MPI_REQUEST_NULL; }

// The handler that makes calls return their error instead of ending the process: a cast of &ompi_mpi_errors_return.
static inline MPI_Errhandler _Nonnull cmpi_errors_return(void) { return MPI_ERRORS_RETURN; }

// The color of ranks that take no part in a split: a macro with a cast in some implementations.
static inline int cmpi_undefined(void) { return MPI_UNDEFINED; }

// Wildcards of a probe: negative literals in Open MPI, macros with casts elsewhere.
static inline int cmpi_any_source(void) { return MPI_ANY_SOURCE; }
static inline int cmpi_any_tag(void) { return MPI_ANY_TAG; }

// The highest level of thread support: an enumerator in Open MPI, a plain macro elsewhere; here always an int.
static inline int cmpi_thread_multiple(void) { return MPI_THREAD_MULTIPLE; }

#endif
