import CKernels

/// Adds up rows of tables: Σ tableⱼ[idsⱼ[i]], a token embedding or the sum of BERT's three.
///
/// - Parameter paddingID: the row of the first table that gets no gradient from here (PyTorch's `padding_idx`).
/// - Shapes: each table [vocabulary, d], each ids [n]; result [n, d].
/// - Saved for backward: nothing but the ids.
package func embedding(_ tables: [(table: Weight, ids: [Int32])], paddingID: Int32? = nil) -> Tensor {
    let first = tables[0]
    let y = Tensor(rows: first.ids.count, columns: first.table.columns, ledger: first.table.ledger)
    for (j, (table, ids)) in tables.enumerated() {
        precondition(ids.count == y.rows && table.columns == y.columns)
        for id in ids {
            precondition(id >= 0 && id < table.rows, "embedding: id \(id) of a table of \(table.rows) rows")
        }
        var out = y.pointer
        table.forEachRow(ids.lazy.map { Int($0) }) { row in
            if j == 0 { out.update(from: row, count: y.columns) } else { ck_axpy(out, 1, row, y.columns) }
            out += y.columns
        }
    }
    return recorded(y, inputs: tables.map { $0.table.differentiable }) {
        EmbeddingPullback(
            ids: tables.map { $0.ids }, tableRows: tables.map { $0.table.rows }, paddingID: paddingID)
    }
}

/// The same from tables of float32, which may be trained.
public func embedding(_ tables: [(table: Tensor, ids: [Int32])], paddingID: Int32? = nil) -> Tensor {
    embedding(tables.map { (Weight.float32($0.table), $0.ids) }, paddingID: paddingID)
}

private struct EmbeddingPullback: Pullback {
    let ids: [[Int32]]
    let tableRows: [Int]
    let paddingID: Int32?
    var saved: [Tensor] { [] }

    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        for (j, node) in inputs.enumerated() {
            guard let node else { continue }
            let (gradient, beta) = node.destination(
                rows: tableRows[j], columns: dy.columns, ledger: dy.ledger)
            if beta == 0 { gradient.fill(0) }
            for (i, id) in ids[j].enumerated() where j > 0 || id != paddingID {
                ck_axpy(gradient.pointer + Int(id) * dy.columns, 1, dy.pointer + i * dy.columns, dy.columns)
            }
        }
    }
}

/// Which rows of a packed batch reach the head.
public enum RowSelection: Sendable {
    /// These rows, in this order: the [CLS] tokens, or the tokens with a label.
    case rows([Int])
    /// The mean over each sequence's rows.
    case meanPerSequence([Range<Int>])

    public var count: Int {
        switch self {
        case .rows(let rows): rows.count
        case .meanPerSequence(let spans): spans.count
        }
    }
}

/// Gathers the rows of a selection, or averages them.
///
/// - Shapes: x [n, d], rows may be strided; result [selection.count, d].
/// - Saved for backward: nothing but the selection.
public func select(_ x: Tensor, _ selection: RowSelection) -> Tensor {
    let y = Tensor(rows: selection.count, columns: x.columns, ledger: x.ledger)
    switch selection {
    case .rows(let rows):
        for (i, row) in rows.enumerated() {
            precondition(row >= 0 && row < x.rows)
            (y.pointer + i * y.columns).update(from: x.pointer + row * x.rowStride, count: x.columns)
        }
    case .meanPerSequence(let spans):
        y.fill(0)
        for (i, span) in spans.enumerated() {
            precondition(!span.isEmpty && span.upperBound <= x.rows, "a mean needs at least one row")
            for row in span {
                ck_axpy(
                    y.pointer + i * y.columns, 1 / Float(span.count), x.pointer + row * x.rowStride, x.columns
                )
            }
        }
    }
    return recorded(y, inputs: [x]) { SelectPullback(selection: selection, rows: x.rows) }
}

private struct SelectPullback: Pullback {
    let selection: RowSelection
    let rows: Int
    var saved: [Tensor] { [] }

    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        guard let node = inputs[0] else { return }
        let (dx, beta) = node.destination(rows: rows, columns: dy.columns, ledger: dy.ledger)
        if beta == 0 { dx.fill(0) }
        switch selection {
        case .rows(let indices):
            for (i, row) in indices.enumerated() {
                ck_axpy(dx.pointer + row * dx.columns, 1, dy.pointer + i * dy.columns, dy.columns)
            }
        case .meanPerSequence(let spans):
            for (i, span) in spans.enumerated() {
                for row in span {
                    ck_axpy(
                        dx.pointer + row * dx.columns, 1 / Float(span.count), dy.pointer + i * dy.columns,
                        dy.columns)
                }
            }
        }
    }
}
