import CKernels
import Support
import TensorCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A `.safetensors` file, mapped into memory and not read: a tensor costs memory when it is touched.
package final class SafetensorsFile: WeightsReader {
    package struct Entry: Sendable {
        package let type: String
        package let shape: [Int]
        fileprivate let range: Range<Int>
        package var count: Int { shape.reduce(1, *) }
        /// A matrix is one of so many rows of so many columns; a vector is one row.
        fileprivate var matrixShape: (rows: Int, columns: Int) {
            let rows = shape.count > 1 ? shape[0] : 1
            return (rows, count / max(1, rows))
        }
        fileprivate var format: WeightFormat {
            switch type {
            case "F16": .float16
            case "BF16": .bfloat16
            default: .float32
            }
        }
    }

    package let path: String
    /// Every tensor of the file by name.
    package let entries: [String: Entry]
    /// The free-text pairs of the header.
    package let metadata: [String: String]
    private let base: UnsafeRawPointer
    private let size: Int
    private let dataStart: Int

    /// Maps a file and checks its header: sizes, types and ranges must agree with the file's length.
    package init(_ path: String) throws {
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw Failure.configuration("\(path): cannot be read: \(systemReason())")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw Failure.configuration("\(path): expected a safetensors file, found something else")
        }
        let size = Int(status.st_size)
        guard size >= 8 else {
            throw Failure.configuration(
                "\(path): truncated: expected a safetensors header, found \(size) bytes")
        }
        guard let mapped = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), mapped != MAP_FAILED else {
            throw Failure.configuration("\(path): cannot be mapped: \(systemReason())")
        }
        base = UnsafeRawPointer(mapped)
        self.size = size
        do {
            let headerSize = Int(exactly: base.loadUnaligned(as: UInt64.self)) ?? Int.max
            guard headerSize <= min(size - 8, 100_000_000) else {
                throw Failure.configuration(
                    "\(path): truncated: expected a header of \(headerSize) bytes, found a file of \(size)")
            }
            dataStart = 8 + headerSize
            let bytes = Array(UnsafeRawBufferPointer(start: base + 8, count: headerSize))
            let header = try JSONReader(parsing: bytes, file: path)
            (entries, metadata) = try Self.read(header, dataSize: size - dataStart)
        } catch {
            munmap(mapped, size)
            throw error
        }
    }

    deinit { munmap(UnsafeMutableRawPointer(mutating: base), size) }

    private static func read(_ header: JSONReader, dataSize: Int) throws -> (
        [String: Entry], [String: String]
    ) {
        var entries: [String: Entry] = [:]
        var metadata: [String: String] = [:]
        for (name, value) in try header.object().all {
            if name == "__metadata__" {
                for (key, text) in try value.object().all { metadata[key] = try text.string() }
                continue
            }
            let object = try value.object()
            let type = try object.required("dtype").string()
            let shape = try object.required("shape").array().map { try $0.integer(in: 0...Int.max) }
            let ends = try object.required("data_offsets").array().map { try $0.integer(in: 0...Int.max) }
            guard ends.count == 2, ends[0] <= ends[1], ends[1] <= dataSize else {
                throw Failure.configuration(
                    "\(header.file): truncated: tensor \"\(name)\" ends at byte \(ends.last ?? 0) of the data, "
                        + "found \(dataSize) bytes")
            }
            guard isCountable(shape) else {
                throw Failure.configuration(
                    "\(header.file): tensor \"\(name)\": expected a shape that fits the file, found \(shape)")
            }
            let entry = Entry(type: type, shape: shape, range: ends[0]..<ends[1])
            let width = [
                "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
                "BOOL": 1,
            ][type]
            if let width, width * entry.count != entry.range.count {
                throw Failure.configuration(
                    "\(header.file): tensor \"\(name)\" of shape \(shape) needs \(width * entry.count) bytes, "
                        + "found \(entry.range.count)")
            }
            entries[name] = entry
        }
        return (entries, metadata)
    }

    /// Whether the bytes of a shape can be counted: otherwise the product would stop the process and name no file.
    private static func isCountable(_ shape: [Int]) -> Bool {
        var count = 8
        for size in shape {
            let (product, overflows) = count.multipliedReportingOverflow(by: size)
            if overflows { return false }
            count = product
        }
        return true
    }

    /// A tensor as float32: a view of the mapping when it is stored so, a converted copy of half-precision storage.
    ///
    /// - Throws: when the name is missing or the type is not a floating-point one.
    package func tensor(_ name: String, ledger: Ledger, category: MemoryCategory = .weights) throws -> Tensor
    {
        let entry = try entry(name)
        let start = base + dataStart + entry.range.lowerBound
        let (rows, columns) = entry.matrixShape
        if entry.type == "F32", Int(bitPattern: start) % MemoryLayout<Float>.alignment == 0 {
            let storage = Storage(
                borrowing: start.assumingMemoryBound(to: Float.self), count: entry.count, owner: self,
                category: category, ledger: ledger)
            return Tensor(storage, rows: rows, columns: columns)
        }
        let copy = Tensor(rows: rows, columns: columns, category: category, ledger: ledger)
        try convert(entry, name, into: copy.pointer)
        return copy
    }

    /// A matrix as it is stored: half-precision storage as a view of the mapping, anything else as `tensor` gives it.
    package func weight(_ name: String, ledger: Ledger) throws -> Weight {
        let entry = try entry(name)
        guard entry.format != .float32, entry.count > 0 else {
            return .float32(try tensor(name, ledger: ledger))
        }
        let (rows, columns) = entry.matrixShape
        return .stored(
            StoredMatrix(
                borrowing: base + dataStart + entry.range.lowerBound, entry.format, rows: rows,
                columns: columns,
                owner: self, ledger: ledger))
    }

    package var names: [String] { Array(entries.keys) }
    package func shape(of name: String) -> [Int]? { entries[name]?.shape }
    package func storedType(of name: String) -> String? { entries[name]?.type }
    package func format(of name: String) -> WeightFormat? { entries[name]?.format }

    /// A tensor's values as float32.
    package func floats(_ name: String) throws -> [Float] {
        let entry = try entry(name)
        return try [Float](unsafeUninitializedCapacity: entry.count) { buffer, count in
            if entry.count > 0 { try convert(entry, name, into: buffer.baseAddress!) }
            count = entry.count
        }
    }

    /// A tensor's values in float64, whatever floating-point type stores them.
    package func doubles(_ name: String) throws -> [Double] {
        let entry = try entry(name)
        guard entry.type == "F64" else { return try floats(name).map(Double.init) }
        let start = base + dataStart + entry.range.lowerBound
        return (0..<entry.count).map { start.loadUnaligned(fromByteOffset: $0 * 8, as: Double.self) }
    }

    /// A tensor's values as 32-bit integers.
    package func integers(_ name: String) throws -> [Int32] {
        let entry = try entry(name)
        let start = base + dataStart + entry.range.lowerBound
        switch entry.type {
        case "I32":
            return (0..<entry.count).map { start.loadUnaligned(fromByteOffset: $0 * 4, as: Int32.self) }
        case "I64":
            return (0..<entry.count).map {
                Int32(truncatingIfNeeded: start.loadUnaligned(fromByteOffset: $0 * 8, as: Int64.self))
            }
        default:
            throw Failure.configuration(
                "\(path): tensor \"\(name)\": expected I32 or I64, found \(entry.type)")
        }
    }

    private func entry(_ name: String) throws -> Entry {
        guard let entry = entries[name] else {
            throw Failure.configuration("\(path): the tensor \"\(name)\" is missing")
        }
        return entry
    }

    private func convert(_ entry: Entry, _ name: String, into out: UnsafeMutablePointer<Float>) throws {
        let start = base + dataStart + entry.range.lowerBound
        switch entry.type {
        case "F32": memcpy(out, start, entry.range.count)
        case "F16", "BF16":
            // The format aligns nothing: go through an aligned copy of the 16-bit words.
            let words = [UInt16](unsafeUninitializedCapacity: entry.count) { buffer, count in
                memcpy(buffer.baseAddress ?? UnsafeMutablePointer(bitPattern: 2)!, start, entry.range.count)
                count = entry.count
            }
            entry.type == "F16"
                ? ck_float_from_half(out, words, entry.count)
                : ck_float_from_bfloat16(out, words, entry.count)
        case "F64":
            for i in 0..<entry.count {
                out[i] = Float(start.loadUnaligned(fromByteOffset: i * 8, as: Double.self))
            }
        default:
            throw Failure.configuration(
                "\(path): tensor \"\(name)\": expected a floating-point type, found \(entry.type)")
        }
    }

    /// A fingerprint of the header and of up to 4 KiB of every tensor: it changes with any fine-tuning of the file and
    /// costs no pass over gigabytes.
    package var fingerprint: String {
        var crc = ck_crc32c(0, base, dataStart)
        for (_, entry) in entries.sorted(by: { $0.value.range.lowerBound < $1.value.range.lowerBound }) {
            crc = ck_crc32c(crc, base + dataStart + entry.range.lowerBound, min(4096, entry.range.count))
        }
        let hex = String(crc, radix: 16)
        return String(repeating: "0", count: 8 - hex.count) + hex + "-\(size)"
    }
}
