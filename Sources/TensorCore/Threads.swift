import CBLAS
import CKernels

/// Sets the number of threads of this process: loops and matrix products are divided among them, and each thread calls BLAS
/// by itself. OpenBLAS's own threads stall on narrow matrices.
///
/// Another number of threads rounds sums over rows, and possibly matrix products, differently; nothing else changes.
///
/// - Returns: the number of threads, with the calling one; fewer than asked for if the system refuses more.
@discardableResult
public func setThreadCount(_ count: Int) -> Int {
    openblas_set_num_threads(1)
    return ck_set_thread_count(count)
}

/// Threads that loops are divided among, the calling one among them.
public var threadCount: Int { ck_thread_count() }

/// A loop's iterations in parts of equal size, one for each thread, or in one part where a thread would get too few.
struct Division {
    let count: Int
    let partCount: Int

    /// - Parameter grain: the fewest iterations that are worth a thread, some ten microseconds of work.
    init(_ count: Int, grain: Int) {
        self.count = count
        partCount = max(1, min(ck_thread_count(), count / max(1, grain)))
    }

    /// A simple loop over the rows of a matrix.
    init(rows: Int, columns: Int) {
        self.init(rows, grain: Self.elementGrain / max(1, columns))
    }

    /// Elements of a simple loop that are worth a thread.
    static let elementGrain = 16384

    private func range(_ part: Int) -> Range<Int> {
        count * part / partCount..<count * (part + 1) / partCount
    }

    /// Calls `body(part, iterations)` for every part, on any thread. It must not touch a ledger.
    func run(_ body: (Int, Range<Int>) -> Void) {
        guard partCount > 1 else { return body(0, 0..<count) }
        withoutActuallyEscaping(body) { body in
            var job = Job(division: self, body: body)
            withUnsafeMutablePointer(to: &job) { job in
                ck_for_each_part(
                    partCount,
                    { context, part in
                        let job = context!.assumingMemoryBound(to: Job.self)
                        job.pointee.body(part, job.pointee.division.range(part))
                    }, job)
            }
        }
    }

    /// What `body` gives for each part, in order.
    func map(_ body: (Range<Int>) -> Double) -> [Double] {
        [Double](unsafeUninitializedCapacity: partCount) { results, initialized in
            let base = results.baseAddress!
            run { base[$0] = body($1) }
            initialized = partCount
        }
    }

    private struct Job {
        let division: Division
        let body: (Int, Range<Int>) -> Void
    }
}

/// Runs a simple loop over elements on all threads.
func inParallel(elements count: Int, _ body: (Range<Int>) -> Void) {
    Division(count, grain: Division.elementGrain).run { body($1) }
}

/// Runs a simple loop over the rows of a matrix on all threads.
func inParallel(rows: Int, columns: Int, _ body: (Range<Int>) -> Void) {
    Division(rows: rows, columns: columns).run { body($1) }
}

/// Runs a loop over rows that adds to vectors, on all threads: the first part adds to the vectors themselves, the others to
/// zeros, which are then added in order.
///
/// - Parameters: `vectors` have `columns` elements each; `body(rows, vectors)` adds to what it is given.
func sumInParallel(
    rows: Int, columns: Int, into vectors: [Tensor?], ledger: Ledger,
    _ body: (Range<Int>, [UnsafeMutablePointer<Float>?]) -> Void
) {
    let division = Division(rows: rows, columns: columns)
    let partial = (1..<division.partCount).map { _ in
        vectors.map { vector in
            vector.map { _ in
                let zeros = Tensor(rows: 1, columns: columns, category: .gradients, ledger: ledger)
                zeros.fill(0)
                return zeros
            }
        }
    }
    let targets = ([vectors] + partial).map { $0.map { $0?.pointer } }
    division.run { part, rows in body(rows, targets[part]) }
    for sums in partial {
        for (vector, sum) in zip(vectors, sums) {
            if let vector, let sum { vector.accumulate(sum) }
        }
    }
}
