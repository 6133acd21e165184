import CKernels
import Support

/// The geometry of an attention over packed sequences.
public struct AttentionShape: Sendable {
    /// Rows of each sequence's queries, and of its keys and values.
    public let querySpans: [Range<Int>]
    public let keySpans: [Range<Int>]
    public let headCount: Int
    /// Fewer than `headCount` under grouped-query attention: query head j reads kv head j · kv / H.
    public let keyValueHeadCount: Int
    public let headSize: Int
    public let scale: Float
    /// A query at position p sees keys 0...p; the last query stands at the last key's position.
    public let isCausal: Bool

    public init(
        querySpans: [Range<Int>], keySpans: [Range<Int>], headCount: Int, keyValueHeadCount: Int,
        headSize: Int,
        scale: Float, isCausal: Bool
    ) {
        precondition(querySpans.count == keySpans.count && headCount % keyValueHeadCount == 0)
        self.querySpans = querySpans
        self.keySpans = keySpans
        self.headCount = headCount
        self.keyValueHeadCount = keyValueHeadCount
        self.headSize = headSize
        self.scale = scale
        self.isCausal = isCausal
    }

    var longestQuery: Int { querySpans.map(\.count).max() ?? 0 }
    var longestKey: Int { keySpans.map(\.count).max() ?? 0 }
}

/// A learned bias that depends on the head and on the bucket of the distance (key position - query position): T5's.
public struct PositionBias {
    /// [buckets, heads], row-major.
    public let table: Tensor
    /// The bucket of a distance.
    public let bucket: (Int) -> Int

    public init(table: Tensor, bucket: @escaping (Int) -> Int) {
        self.table = table
        self.bucket = bucket
    }
}

/// Dropout of attention probabilities: one stream for each sequence, which every head divides further.
public struct AttentionDropout: Sendable {
    public let probability: Float
    public let keys: [UInt64]

    public init(probability: Float, keys: [UInt64]) {
        self.probability = probability
        self.keys = keys
    }

    fileprivate func apply(
        _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, sequence: Int, head: Int, _ count: Int
    ) {
        ck_dropout(out, x, CounterRandom(keys[sequence], UInt64(head)).key, 0, probability, count)
    }
}

/// Attends within each sequence, head by head: softmax(scale q kᵀ + bias) v.
///
/// - Shapes: q [n, H·h], k and v [m, H_kv·h]; result [n, H·h]. Padding does not exist here: each sequence is a span of
///   rows.
/// - Saved for backward: q, k and v; the probabilities are computed again.
public func attention(
    _ q: Tensor, _ k: Tensor, _ v: Tensor, _ shape: AttentionShape, bias: PositionBias? = nil,
    dropout: AttentionDropout? = nil
) -> Tensor {
    let dropout = dropout.flatMap { $0.probability > 0 ? $0 : nil }
    precondition(q.columns == shape.headCount * shape.headSize)
    precondition(k.columns == shape.keyValueHeadCount * shape.headSize && v.columns == k.columns)
    let output = Tensor(rows: q.rows, columns: q.columns, ledger: q.ledger)
    let distances = bias.map { DistanceBias($0, shape, q.ledger) }
    let division = shape.division
    let allScores = shape.scores(division, q.ledger)
    let products = HeadProducts(headSize: shape.headSize)
    shape.forEachHead(division) { part, sequence, head, kv in
        let scores = allScores[part]
        let (queries, keys) = (shape.querySpans[sequence], shape.keySpans[sequence])
        let (nq, nk) = (queries.count, keys.count)
        guard nq > 0 else { return }
        let at = (queries.lowerBound, head * shape.headSize)
        products.nt(
            scores.pointer, nk, q.at(at), q.rowStride, k.at((keys.lowerBound, kv)), k.rowStride, nq, nk)
        ck_attention_softmax(
            scores.pointer, distances?.pointer(head), shape.scale, shape.isCausal ? 1 : 0, nq, nk)
        dropout?.apply(scores.pointer, scores.pointer, sequence: sequence, head: head, nq * nk)
        products.nn(
            output.at(at), output.rowStride, scores.pointer, nk, v.at((keys.lowerBound, kv)), v.rowStride, nq,
            nk, 0)
    }
    return recorded(output, inputs: [q, k, v, bias?.table]) {
        AttentionPullback(
            q: q.detached, k: k.detached, v: v.detached, shape: shape,
            bias: bias.map { PositionBias(table: $0.table.detached, bucket: $0.bucket) }, dropout: dropout)
    }
}

private struct AttentionPullback: Pullback {
    let q: Tensor
    let k: Tensor
    let v: Tensor
    let shape: AttentionShape
    let bias: PositionBias?
    let dropout: AttentionDropout?

    var saved: [Tensor] { [q, k, v] + (bias.map { [$0.table] } ?? []) }

    func callAsFunction(_ dout: Tensor, _ inputs: [Node?]) {
        let ledger = dout.ledger
        func gradient(of tensor: Tensor) -> Tensor {
            Tensor(rows: tensor.rows, columns: tensor.columns, category: .gradients, ledger: ledger)
        }
        let (dq, dk, dv) = (gradient(of: q), gradient(of: k), gradient(of: v))
        let distances = bias.map { DistanceBias($0, shape, ledger) }
        let dbias = inputs[3] == nil ? nil : distances?.zeros(ledger)
        let division = shape.division
        let probabilities = shape.scores(division, ledger)
        let dprobabilities = shape.scores(division, ledger)
        let allDropped = dropout.map { _ in shape.scores(division, ledger) }
        let products = HeadProducts(headSize: shape.headSize)
        let groupSize = shape.headCount / shape.keyValueHeadCount
        shape.forEachHead(division) { part, sequence, head, kv in
            let (p, dp) = (probabilities[part].pointer, dprobabilities[part].pointer)
            let (queries, keys) = (shape.querySpans[sequence], shape.keySpans[sequence])
            let (nq, nk) = (queries.count, keys.count)
            let at = (queries.lowerBound, head * shape.headSize)
            let keyAt = (keys.lowerBound, kv)
            // The heads of a group share keys and values: the first overwrites, the others add.
            let beta: Float = head % groupSize == 0 ? 0 : 1
            products.nt(p, nk, q.at(at), q.rowStride, k.at(keyAt), k.rowStride, nq, nk)
            ck_attention_softmax(p, distances?.pointer(head), shape.scale, shape.isCausal ? 1 : 0, nq, nk)
            products.nt(dp, nk, dout.at(at), dout.rowStride, v.at(keyAt), v.rowStride, nq, nk)
            var mixed = p
            if let dropout, let dropped = allDropped?[part] {
                dropout.apply(dropped.pointer, p, sequence: sequence, head: head, nq * nk)
                dropout.apply(dp, dp, sequence: sequence, head: head, nq * nk)
                mixed = dropped.pointer
            }
            products.tn(dv.at(keyAt), dv.rowStride, mixed, nk, dout.at(at), dout.rowStride, nq, nk, beta)
            ck_attention_softmax_backward(
                dp, p, dbias.map { distances!.pointer(head, in: $0) }, shape.scale, nq, nk)
            products.nn(dq.at(at), dq.rowStride, dp, nk, k.at(keyAt), k.rowStride, nq, nk, 0)
            products.tn(dk.at(keyAt), dk.rowStride, dp, nk, q.at(at), q.rowStride, nq, nk, beta)
        }
        inputs[0]?.add(dq, fresh: true)
        inputs[1]?.add(dk, fresh: true)
        inputs[2]?.add(dv, fresh: true)
        if let node = inputs[3], let dbias, let distances {
            let (table, beta) = node.destination(
                rows: distances.source.table.rows, columns: shape.headCount, ledger: ledger)
            if beta == 0 { table.fill(0) }
            distances.scatter(dbias, into: table)
        }
    }
}

extension AttentionShape {
    /// The heads in parts for the threads: those that share keys and values together, each through all sequences, so that
    /// nothing is added up in an order that depends on the parts.
    fileprivate var division: Division {
        let scores = zip(querySpans, keySpans).reduce(0) { $0 + $1.0.count * $1.1.count }
        let work = scores * headSize * headCount / keyValueHeadCount
        return Division(keyValueHeadCount, grain: Self.grain / max(1, work))
    }

    /// Multiplications and additions of a product that are worth a thread.
    private static let grain = 200_000

    /// Room for the scores of a head, for each part.
    fileprivate func scores(_ division: Division, _ ledger: Ledger) -> [Tensor] {
        (0..<division.partCount).map { _ in Tensor(rows: longestQuery, columns: longestKey, ledger: ledger) }
    }

    /// Calls `body(part, sequence, head, first column of the head's keys)` for every sequence and head, on all threads.
    fileprivate func forEachHead(_ division: Division, _ body: (Int, Int, Int, Int) -> Void) {
        let groupSize = headCount / keyValueHeadCount
        division.run { part, groups in
            for sequence in querySpans.indices {
                for head in groups.lowerBound * groupSize..<groups.upperBound * groupSize {
                    body(part, sequence, head, head / groupSize * headSize)
                }
            }
        }
    }
}

extension Tensor {
    fileprivate func at(_ place: (row: Int, column: Int)) -> UnsafeMutablePointer<Float> {
        pointer + place.row * rowStride + place.column
    }
}

/// The position bias spread over distances: one row of 2m - 1 values a head, m the longest key span.
private struct DistanceBias {
    let source: PositionBias
    let reach: Int
    let values: Tensor

    init(_ bias: PositionBias, _ shape: AttentionShape, _ ledger: Ledger) {
        source = bias
        reach = max(1, shape.longestKey)
        values = Tensor(rows: shape.headCount, columns: 2 * reach - 1, ledger: ledger)
        for distance in (1 - reach)..<reach {
            let row = bias.table.pointer + bias.bucket(distance) * bias.table.columns
            for head in 0..<shape.headCount {
                values.pointer[head * values.columns + distance + reach - 1] = row[head]
            }
        }
    }

    /// A head's value at distance 0.
    func pointer(_ head: Int, in tensor: Tensor? = nil) -> UnsafeMutablePointer<Float> {
        (tensor ?? values).pointer + head * values.columns + reach - 1
    }

    func zeros(_ ledger: Ledger) -> Tensor {
        let tensor = Tensor(rows: values.rows, columns: values.columns, category: .gradients, ledger: ledger)
        tensor.fill(0)
        return tensor
    }

    /// Adds gradients by distance to gradients by bucket.
    func scatter(_ gradient: Tensor, into table: Tensor) {
        for distance in (1 - reach)..<reach {
            let row = table.pointer + source.bucket(distance) * table.columns
            for head in 0..<values.rows {
                row[head] += gradient.pointer[head * values.columns + distance + reach - 1]
            }
        }
    }
}

/// The three products of one head. Narrow heads, as in a side network, go through loops of their own: a GEMM call on
/// such shapes is all overhead.
private struct HeadProducts {
    let headSize: Int
    private var isNarrow: Bool { headSize <= 16 }

    /// C [m, n] = A [m, h] B [n, h]ᵀ
    func nt(
        _ c: UnsafeMutablePointer<Float>, _ ldc: Int, _ a: UnsafePointer<Float>, _ lda: Int,
        _ b: UnsafePointer<Float>,
        _ ldb: Int, _ m: Int, _ n: Int
    ) {
        if isNarrow {
            ck_narrow_nt(c, ldc, a, lda, b, ldb, m, n, headSize)
        } else {
            Matrix.multiply(c, ldc, a, lda, b, ldb, transposeB: true, m: m, n: n, k: headSize)
        }
    }

    /// C [m, h] = A [m, n] B [n, h] + beta C
    func nn(
        _ c: UnsafeMutablePointer<Float>, _ ldc: Int, _ a: UnsafePointer<Float>, _ lda: Int,
        _ b: UnsafePointer<Float>,
        _ ldb: Int, _ m: Int, _ n: Int, _ beta: Float
    ) {
        if isNarrow {
            ck_narrow_nn(c, ldc, a, lda, b, ldb, m, n, headSize, beta)
        } else {
            Matrix.multiply(c, ldc, a, lda, b, ldb, m: m, n: headSize, k: n, beta: beta)
        }
    }

    /// C [n, h] = A [m, n]ᵀ B [m, h] + beta C
    func tn(
        _ c: UnsafeMutablePointer<Float>, _ ldc: Int, _ a: UnsafePointer<Float>, _ lda: Int,
        _ b: UnsafePointer<Float>,
        _ ldb: Int, _ m: Int, _ n: Int, _ beta: Float
    ) {
        if isNarrow {
            ck_narrow_tn(c, ldc, a, lda, b, ldb, m, n, headSize, beta)
        } else {
            Matrix.multiply(c, ldc, a, lda, transposeA: true, b, ldb, m: n, n: headSize, k: m, beta: beta)
        }
    }
}
