import Models
import TensorCore

/// Weights for measuring: the true shapes, filled by repeating a few thousand normal numbers.
///
/// The time of a layer does not depend on which numbers it multiplies, as long as they are ordinary ones. Drawing a
/// language model's matrix of 25 million would take longer than all the measuring.
final class TiledSource: ParameterSource {
    /// Scalars asked for, in their true shapes.
    private(set) var parameterCount = 0

    /// Rows that a shortened table has: a lookup takes as long in it, as it reads one row for each token.
    static let shortenedRowCount = 4096

    private let tile: Tensor
    private let shortened: String?
    private let ledger: Ledger

    /// - Parameter shortened: the name of a table that only has tokens looked up in it.
    init(seed: UInt64, shortened: String?, ledger: Ledger) throws {
        tile = try RandomSource(seed: seed, ledger: ledger).parameter("tile", [2, 2039])
        self.shortened = shortened
        self.ledger = ledger
    }

    func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        let count = shape.reduce(1, *)
        parameterCount += count
        let trueRows = shape.count > 1 ? shape[0] : 1
        let columns = count / max(1, trueRows)
        let rows = name == shortened ? min(trueRows, Self.shortenedRowCount) : trueRows
        let tensor = Tensor(rows: rows, columns: columns, category: .weights, ledger: ledger)
        if shape.count == 1 { tensor.fill(name.hasSuffix("bias") ? 0 : 1) } else { fill(tensor) }
        return tensor
    }

    /// Fills a tensor with normal numbers of standard deviation 0.02.
    func fill(_ tensor: Tensor) {
        for start in stride(from: 0, to: tensor.count, by: tile.count) {
            (tensor.pointer + start).update(from: tile.pointer, count: min(tile.count, tensor.count - start))
        }
    }
}
