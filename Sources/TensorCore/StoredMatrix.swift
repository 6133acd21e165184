/// A frozen matrix in the bytes that a file stores it in: expanded to float32, a panel of rows at a time, where it is used.
///
/// It is on the ledger under `weights` with its stored bytes, whether it has them to itself or views a mapped file.
public final class StoredMatrix {
    package let format: WeightFormat
    package let rows: Int
    package let columns: Int
    package let ledger: Ledger
    private let pointer: UnsafeRawPointer
    private let memory: Memory

    /// Whose the bytes are.
    private enum Memory {
        /// Someone else's, who keeps them alive.
        case view(AnyObject)
        /// Of the matrix alone, and entered on the ledger by the storage.
        case own(Storage)
    }

    private init(
        _ format: WeightFormat, rows: Int, columns: Int, _ pointer: UnsafeRawPointer, _ memory: Memory,
        _ ledger: Ledger
    ) {
        precondition(rows > 0 && columns > 0 && columns % format.groupSize == 0)
        (self.format, self.rows, self.columns) = (format, rows, columns)
        (self.pointer, self.memory, self.ledger) = (pointer, memory, ledger)
        if case .view = memory { ledger.register(byteCount, .weights) }
    }

    /// Views a matrix that `owner` keeps alive, row after row. What is not aligned as the format asks is copied.
    package convenience init(
        borrowing pointer: UnsafeRawPointer, _ format: WeightFormat, rows: Int, columns: Int,
        owner: AnyObject, ledger: Ledger
    ) {
        if Int(bitPattern: pointer) % format.alignment == 0 {
            self.init(format, rows: rows, columns: columns, pointer, .view(owner), ledger)
        } else {
            self.init(copying: pointer, format, rows: rows, columns: columns, ledger: ledger)
            withExtendedLifetime(owner) {}
        }
    }

    /// Copies a matrix, row after row.
    package convenience init(
        copying pointer: UnsafeRawPointer, _ format: WeightFormat, rows: Int, columns: Int, ledger: Ledger
    ) {
        let bytes = format.bytes(rows * columns)
        let storage = Storage(count: (bytes + 3) / 4, category: .weights, ledger: ledger)
        let target = UnsafeMutableRawPointer(storage.pointer)
        target.copyMemory(from: pointer, byteCount: bytes)
        self.init(format, rows: rows, columns: columns, target, .own(storage), ledger)
    }

    /// Makes a matrix that repeats some bytes, which are whole groups of numbers.
    package convenience init(
        repeating bytes: [UInt8], _ format: WeightFormat, rows: Int, columns: Int, ledger: Ledger
    ) {
        let count = format.bytes(rows * columns)
        let storage = Storage(count: (count + 3) / 4, category: .weights, ledger: ledger)
        let target = UnsafeMutableRawPointer(storage.pointer)
        bytes.withUnsafeBytes {
            for start in stride(from: 0, to: count, by: bytes.count) {
                (target + start).copyMemory(
                    from: $0.baseAddress!, byteCount: min(bytes.count, count - start))
            }
        }
        self.init(format, rows: rows, columns: columns, target, .own(storage), ledger)
    }

    deinit {
        if case .view = memory { ledger.release(byteCount, .weights) }
    }

    /// What the matrix takes as it is stored.
    package var byteCount: Int { format.bytes(rows * columns) }

    /// The same bytes in memory of their own.
    func copy(ledger: Ledger) -> StoredMatrix {
        withExtendedLifetime(self) {
            StoredMatrix(copying: pointer, format, rows: rows, columns: columns, ledger: ledger)
        }
    }

    /// Expands some columns of some rows, side by side. Columns begin and end between groups of the format.
    func expand(rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Float>) {
        guard columns.count < self.columns else { return expand(rows: rows, into: out) }
        for (i, row) in rows.enumerated() {
            format.expand(
                pointer + format.bytes(row * self.columns + columns.lowerBound), count: columns.count,
                into: out + i * columns.count)
        }
    }

    /// Expands whole rows, side by side.
    func expand(rows: Range<Int>, into out: UnsafeMutablePointer<Float>) {
        format.expand(
            pointer + format.bytes(rows.lowerBound * columns), count: rows.count * columns, into: out)
    }
}
