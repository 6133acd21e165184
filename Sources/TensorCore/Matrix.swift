import CBLAS
import CKernels

/// General matrix products through CBLAS, row-major, on raw pointers with leading dimensions.
enum Matrix {
    /// Multiplications and additions that are worth a thread.
    private static let grain = 500_000

    /// C [m, n] = alpha op(A) op(B) + beta C, on all threads. Empty products leave C scaled by beta.
    static func multiply(
        _ c: UnsafeMutablePointer<Float>, _ ldc: Int, _ a: UnsafePointer<Float>, _ lda: Int,
        transposeA: Bool = false,
        _ b: UnsafePointer<Float>, _ ldb: Int, transposeB: Bool = false, m: Int, n: Int, k: Int,
        alpha: Float = 1,
        beta: Float = 0
    ) {
        guard m > 0, n > 0 else { return }
        let threads = division(m: m, n: n, k: k).partCount
        let grid = Grid(m, n, partCount: threads)
        Division(threads, grain: 1).run { part, _ in
            let (rows, columns) = grid[part]
            guard !rows.isEmpty, !columns.isEmpty else { return }
            let (i, j) = (rows.lowerBound, columns.lowerBound)
            cblas_sgemm(
                CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
                blasint(rows.count), blasint(columns.count), blasint(k), alpha,
                a + (transposeA ? i : i * lda), blasint(max(1, lda)),
                b + (transposeB ? j * ldb : j), blasint(max(1, ldb)), beta,
                c + i * ldc + j, blasint(max(1, ldc)))
        }
    }

    /// A product in as many parts as it is worth threads.
    static func division(m: Int, n: Int, k: Int) -> Division { Division(m * n * max(1, k), grain: grain) }

    /// A part of some rows or columns. Parts begin where the kernels' tiles do, and at multiples of `step`, a power of two.
    static func cut(_ size: Int, _ part: Int, of count: Int, step: Int = 1) -> Range<Int> {
        let step = max(16, step)
        func bound(_ part: Int) -> Int { part == count ? size : size * part / count / step * step }
        return bound(part)..<bound(part + 1)
    }

    /// A result cut into blocks whose rows and columns together are fewest: each thread packs those of the factors.
    private struct Grid {
        let m: Int
        let n: Int
        let height: Int
        let width: Int

        init(_ m: Int, _ n: Int, partCount: Int) {
            (self.m, self.n) = (m, n)
            func cost(_ height: Int) -> Int { m / height + n / (partCount / height) }
            height = (1...partCount).filter { partCount % $0 == 0 }.min { cost($0) < cost($1) }!
            width = partCount / height
        }

        subscript(part: Int) -> (rows: Range<Int>, columns: Range<Int>) {
            (Matrix.cut(m, part / width, of: height), Matrix.cut(n, part % width, of: width))
        }
    }
}

/// What OpenBLAS found out about this processor ("Cooperlake"): ranks that differ round differently.
public var blasCoreType: String { String(cString: openblas_get_corename()) }

/// How OpenBLAS was built, in its own words: "OpenBLAS 0.3.21 DYNAMIC_ARCH ... Zen MAX_THREADS=128".
public var blasConfiguration: String { String(cString: openblas_get_config()) }

/// Prepares this process for computing: malloc keeps what a step frees, for the next.
public func prepareAllocator() { ck_keep_free_memory() }
