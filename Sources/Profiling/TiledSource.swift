import Models
import TensorCore

/// Weights for measuring: the true shapes, filled by repeating a few thousand normal numbers.
///
/// The time of a layer does not depend on which numbers it multiplies, as long as they are ordinary ones. Drawing a
/// language model's matrix of 25 million would take longer than all the measuring.
final class TiledSource: ParameterSource {
    /// Rows that a shortened table has: a lookup takes as long in it, as it reads one row for each token.
    static let shortenedRowCount = 4096

    private let tile: Tensor
    private let shortened: String?
    private let formats: StoredFormats
    private let ledger: Ledger

    /// - Parameters: `shortened` names a table that only has tokens looked up in it; matrices are stored in `formats`.
    init(seed: UInt64, shortened: String?, _ formats: StoredFormats, ledger: Ledger) throws {
        tile = try RandomSource(seed: seed, ledger: ledger).parameter("tile", [2, 2039])
        self.shortened = shortened
        self.formats = formats
        self.ledger = ledger
    }

    func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        let (rows, columns) = size(name, shape)
        let tensor = Tensor(rows: rows, columns: columns, category: .weights, ledger: ledger)
        if shape.count == 1 { tensor.fill(name.hasSuffix("bias") ? 0 : 1) } else { fill(tensor) }
        return tensor
    }

    func weight(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Weight {
        let format = formats.format(of: name)
        guard format != .float32 else {
            return .float32(try parameter(name, shape, sharingGroup: sharingGroup))
        }
        let (rows, columns) = size(name, shape)
        let whole = tile.values.prefix(tile.count / format.groupSize * format.groupSize)
        return .stored(
            StoredMatrix(
                repeating: format.encoded(Array(whole)), format, rows: rows, columns: columns, ledger: ledger)
        )
    }

    private func size(_ name: String, _ shape: [Int]) -> (rows: Int, columns: Int) {
        let rows = shape.count > 1 ? shape[0] : 1
        let columns = shape.reduce(1, *) / max(1, rows)
        return (name == shortened ? min(rows, Self.shortenedRowCount) : rows, columns)
    }

    /// Fills a tensor with normal numbers of standard deviation 0.02.
    func fill(_ tensor: Tensor) {
        for start in stride(from: 0, to: tensor.count, by: tile.count) {
            (tensor.pointer + start).update(from: tile.pointer, count: min(tile.count, tensor.count - start))
        }
    }
}
