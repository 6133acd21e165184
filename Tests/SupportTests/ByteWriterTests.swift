import Support
import Testing

@Suite struct ByteWriterTests {
    @Test("what is written is read in the same order") func whatIsWrittenIsRead() throws {
        var writer = ByteWriter(mark: "x-1")
        writer.write(-7)
        writer.write(UInt16(0x0102))
        writer.write(-0.0)
        writer.write([Int32.min, 5])
        writer.write([Int]())
        writer.write([Float.infinity, -1.5])
        writer.write("é")
        let bytes = writer.bytes
        #expect(bytes.starts(with: Array("x-1".utf8) + [0xF9] + Array(repeating: 0xFF, count: 7) + [2, 1]))
        func read(_ bytes: [UInt8]) throws {
            var reader = try ByteReader(bytes, "a thing", mark: "x-1")
            #expect(try reader.integer() == -7)
            #expect(try reader.integer(UInt16.self) == 0x0102)
            #expect(try reader.double().sign == .minus)
            #expect(try reader.list(of: Int32.self) == [.min, 5])
            #expect(try reader.list(of: Int.self) == [])
            #expect(try reader.floats() == [.infinity, -1.5])
            #expect(try reader.text() == "é")
            try reader.requireEnd()
        }
        try read(bytes)
        #expect(throws: Failure.self) { try read(bytes + [0]) }
        #expect(throws: Failure.self) { try ByteReader(bytes, "a thing", mark: "x-2") }
    }

    @Test("a count that the bytes cannot hold is a failure", arguments: [Int.min, -1, 3, Int.max])
    func wrongCounts(count: Int) {
        var writer = ByteWriter()
        writer.write(count)
        writer.write(UInt16(0))
        let message = "a thing arrived damaged: expected what the sending rank wrote"
        var lists = ByteReader(writer.bytes, "a thing")
        #expect(throws: Failure.run(message)) { try lists.list(of: UInt8.self) }
        var counts = ByteReader(writer.bytes, "a thing")
        #expect(throws: Failure.run(message)) { try counts.count() }
    }
}
