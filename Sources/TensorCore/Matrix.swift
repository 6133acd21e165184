import CBLAS
import CKernels

/// General matrix products through CBLAS, row-major, on raw pointers with leading dimensions.
enum Matrix {
    /// C [m, n] = alpha op(A) op(B) + beta C. Empty products leave C scaled by beta.
    static func multiply(
        _ c: UnsafeMutablePointer<Float>, _ ldc: Int, _ a: UnsafePointer<Float>, _ lda: Int,
        transposeA: Bool = false,
        _ b: UnsafePointer<Float>, _ ldb: Int, transposeB: Bool = false, m: Int, n: Int, k: Int,
        alpha: Float = 1,
        beta: Float = 0
    ) {
        guard m > 0, n > 0 else { return }
        cblas_sgemm(
            CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
            blasint(m), blasint(n), blasint(k), alpha, a, blasint(max(1, lda)), b, blasint(max(1, ldb)), beta,
            c,
            blasint(max(1, ldc)))
    }
}

/// What OpenBLAS found out about this processor ("Cooperlake"): ranks that differ round differently.
public var blasCoreType: String { String(cString: openblas_get_corename()) }

/// How OpenBLAS was built, in its own words: "OpenBLAS 0.3.21 DYNAMIC_ARCH ... Zen MAX_THREADS=128".
public var blasConfiguration: String { String(cString: openblas_get_config()) }

/// Prepares this process for computing: the allocator keeps what a step frees, for the next.
public func prepareAllocator() { ck_keep_free_memory() }

/// Lets every BLAS call use this many threads. One is right for a rank that owns one core.
public func setBLASThreadCount(_ count: Int) { openblas_set_num_threads(Int32(count)) }
