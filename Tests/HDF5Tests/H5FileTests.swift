import Foundation
import HDF5
import Support
import Testing

@Suite(.serialized) struct H5FileTests {
    let folder = try! Folder()

    // MARK: Rows

    /// Writes in uneven batches, closes, opens again and reads all and parts, into memory with sentinels behind.
    private func roundTrip<Element: H5Element & Equatable>(
        _ type: Element.Type, rowShape: [Int], rowsPerChunk: Int? = nil, _ value: (Int) -> Element
    ) throws {
        let path = folder.file("\(type)-\(rowShape.count).h5")
        let width = rowShape.reduce(1, *)
        let values = (0..<97 * width).map(value)
        let file = try H5File.create(path)
        let written = try file.createDataset(
            "a/b/rows", type: Element.elementType, rowShape: rowShape, rowsPerChunk: rowsPerChunk)
        #expect(written.rowCount == 0)
        #expect(written.rowByteCount == width * MemoryLayout<Element>.size)
        var next = 0
        for count in [1, 0, 5, 13, 78] {
            try written.append(Array(values[next * width..<(next + count) * width]))
            next += count
            #expect(written.rowCount == next)
        }
        #expect(try written.read(type) == values)
        try file.close()

        let again = try H5File.openForReading(path)
        let rows = try again.openDataset("/a/b/rows", type: Element.elementType)
        #expect(rows.rowCount == 97)
        #expect(rows.rowShape == rowShape)
        #expect(rows.type == Element.elementType)
        #expect(rows.isExtendible)
        #expect(rows.path == "/a/b/rows")
        for range in [0..<97, 0..<1, 96..<97, 3..<71, 50..<50, 97..<97] {
            let expected = Array(values[range.lowerBound * width..<range.upperBound * width])
            #expect(try rows.read(type, rows: range) == expected)
            var bytes = [UInt8](repeating: 0xA5, count: range.count * rows.rowByteCount + 32)
            try bytes.withUnsafeMutableBytes {
                try rows.read(rows: range, into: UnsafeMutableRawBufferPointer(rebasing: $0.dropLast(32)))
            }
            #expect(Array(bytes.dropLast(32)) == expected.withUnsafeBytes(Array.init))
            #expect(bytes.suffix(32).allSatisfy { $0 == 0xA5 })
        }
        try again.close()
    }

    @Test func everyElementTypeComesBack() throws {
        try roundTrip(Float.self, rowShape: [3, 5]) { Float($0) * 0.37 - 100 }
        // Rows above the size from which the chunk cache is bypassed, in chunks of several rows and in parts of chunks.
        try roundTrip(Float.self, rowShape: [2, 3, 128], rowsPerChunk: 7) { Float($0).squareRoot() }
        try roundTrip(UInt16.self, rowShape: []) { UInt16(truncatingIfNeeded: $0 &* 40_503) }
        try roundTrip(UInt16.self, rowShape: [4, 256]) { UInt16(truncatingIfNeeded: $0 &* 40_503) }
        try roundTrip(Int32.self, rowShape: [2]) { Int32(truncatingIfNeeded: $0 &* 0x9E37_79B9) }
        try roundTrip(Int64.self, rowShape: []) { Int64($0) &* Int64(bitPattern: 0x9E37_79B9_7F4A_7C15) }
        try roundTrip(UInt32.self, rowShape: []) { UInt32(truncatingIfNeeded: $0 &* 0x9E37_79B9) }
    }

    /// All 65,536 half-precision patterns come back bit for bit: no conversion touches them, not even of NaNs.
    @Test func halfPrecisionIsNotConverted() throws {
        let path = folder.file("half.h5")
        let patterns = (0...UInt16.max).map { $0 }
        let file = try H5File.create(path)
        let written = try file.createDataset("half", type: .float16, rowShape: [256])
        try patterns.withUnsafeBytes { try written.append($0) }
        try file.close()

        let again = try H5File.openForReading(path)
        let rows = try again.openDataset("half", type: .float16)
        var found = [UInt16](repeating: 0, count: patterns.count)
        try found.withUnsafeMutableBytes { try rows.read(rows: 0..<256, into: $0) }
        #expect(found == patterns)
        let failure = #expect(throws: Failure.self) { _ = try rows.read(UInt16.self) }
        #expect(failure?.message == "\(path): /half: expected elements of type float16, found uint16")
    }

    @Test func rowsAreOverwrittenInPlace() throws {
        let path = folder.file("over.h5")
        let file = try H5File.create(path)
        let rows = try file.createDataset("r", type: .int32, rowShape: [2])
        try rows.append((0..<20).map(Int32.init))
        try [Int32(-1), -2, -3, -4].withUnsafeBytes { try rows.write(rows: 3..<5, from: $0) }
        try file.close()
        let reopened = try H5File.openForWriting(path)
        let again = try reopened.openDataset("r")
        #expect(
            try again.read(Int32.self) == (0..<6).map(Int32.init) + [-1, -2, -3, -4]
                + (10..<20).map(Int32.init))
        // A file that is opened for writing grows where it ended.
        try again.append([Int32(100), 101])
        try reopened.close()
        let last = try H5File.openForReading(path).openDataset("r").read(Int32.self, rows: 9..<11)
        #expect(last == [18, 19, 100, 101])
    }

    @Test func fixedDatasets() throws {
        let path = folder.file("fixed.h5")
        let file = try H5File.create(path)
        try file.writeDataset("train/offsets", [Int64(0), 7, 19])
        try file.writeDataset("train/empty", [Float]())
        let table = try file.createFixedDataset("table", type: .float32, rowCount: 4, rowShape: [2])
        try (0..<8).map(Float.init).withUnsafeBytes { try table.write(rows: 0..<4, from: $0) }
        #expect(!table.isExtendible)
        let failure = #expect(throws: Failure.self) { try table.append([Float(1), 2]) }
        #expect(failure?.message == "\(path): /table: expected a dataset that grows, found one of 4 rows")
        try file.close()

        let again = try H5File.openForReading(path)
        #expect(try again.openDataset("train/offsets").read(Int64.self) == [0, 7, 19])
        #expect(try again.openDataset("train/offsets").isExtendible == false)
        #expect(try again.openDataset("train/empty").read(Float.self) == [])
        #expect(try again.openDataset("table").read(Float.self, rows: 1..<3) == [2, 3, 4, 5])
        #expect(try again.datasetPaths() == ["/table", "/train/empty", "/train/offsets"])
        #expect(try again.members() == ["table", "train"])
        #expect(try again.members(of: "train") == ["empty", "offsets"])
        #expect(try again.contains("train/offsets"))
        #expect(try again.contains("/train"))
        #expect(try !again.contains("validation/encoder/activations"))
    }

    // MARK: Attributes

    @Test func attributes() throws {
        let path = folder.file("attributes.h5")
        let file = try H5File.create(path)
        let rows = try file.createDataset("x/rows", type: .uint16)
        let values: [(String, H5Attribute)] = [
            ("complete", .bool(false)), ("empty", .string("")), ("family", .string("Bärt 🐻")),
            ("format_version", .integer(1)), ("least", .integer(.min)),
            ("tiny", .double(0x1.fffffffffffffp-1022)),
            ("yes", .bool(true)),
        ]
        for (name, value) in values { try file.setAttribute(name, to: value) }
        try file.setAttribute("bfloat16", to: .bool(true), of: rows.path)
        // In place of the old value, even of another kind and length.
        try file.setAttribute("family", to: .string("bert"))
        try file.setAttribute("yes", to: .integer(7))
        try file.setAttribute("family", to: .string("Bärt 🐻"))
        try file.setAttribute("yes", to: .bool(true))
        try file.close()

        let again = try H5File.openForReading(path)
        #expect(try again.attributeNames() == values.map(\.0))
        for (name, value) in values { #expect(try again.attribute(name) == value) }
        #expect(try again.attribute("bfloat16", of: "x/rows") == .bool(true))
        #expect(try again.attribute("missing") == nil)
    }

    // MARK: Other readers

    /// h5dump understands the file, and reads half precision and truth values as what they are.
    @Test(.enabled(if: (try? run(["h5dump", "--version"]).status) == 0, "h5dump is not installed"))
    func h5dumpReadsTheFile() throws {
        let path = folder.file("dump.h5")
        let file = try H5File.create(path)
        let half = try file.createDataset("half", type: .float16, rowShape: [2])
        try [UInt16(0x3C00), 0xC000, 0x3800, 0x7BFF].withUnsafeBytes { try half.append($0) }
        try file.writeDataset("labels", [Int32(-3), 4])
        try file.setAttribute("complete", to: .bool(true))
        try file.setAttribute("family", to: .string("bert"))
        try file.close()
        let (status, _, text) = try run(["h5dump", path])
        #expect(status == 0)
        let words = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        for part in [
            "DATATYPE 16-bit little-endian floating-point",
            "DATASPACE SIMPLE { ( 2, 2 ) / ( H5S_UNLIMITED, 2 ) }",
            "(0,0): 1, -2, (1,0): 0.5, 65504", "DATATYPE H5T_STD_I32LE", "(0): -3, 4", "(0): TRUE",
            "\"bert\"",
        ] {
            #expect(words.contains(part), "h5dump: \(words)")
        }
    }
}
