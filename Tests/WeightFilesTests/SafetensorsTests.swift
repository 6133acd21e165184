import Models
import Support
import TensorCore
import Testing
import TinyModels
import WeightFiles

@Suite struct SafetensorsTests {
    private let scratch: ScratchDirectory
    private let ledger = Ledger()
    private var path: String { scratch.path + "/model.safetensors" }

    init() throws { scratch = try ScratchDirectory() }

    /// A file from a header's text and the bytes after it.
    private func write(_ header: String, _ data: [UInt8], size: UInt64? = nil) throws {
        let bytes = Array(header.utf8)
        let length = withUnsafeBytes(of: (size ?? UInt64(bytes.count)).littleEndian) { Array($0) }
        try writeFileAtomically(length + bytes + data, to: path)
    }

    @Test("what is written is read back") func whatIsWrittenIsReadBack() throws {
        let values: [Float] = [1, -2.5, .infinity, 0, 0x1p-149, 6]
        try writeSafetensors(
            [("a", [2, 3], values), ("empty", [0, 4], []), ("vector \"é\"", [1], [7])],
            metadata: [("format", "pt")],
            to: path)
        let file = try SafetensorsFile(path)
        #expect(file.metadata == ["format": "pt"])
        #expect(Set(file.entries.keys) == ["a", "empty", "vector \"é\""])
        #expect(file.entries["a"]?.shape == [2, 3] && file.entries["empty"]?.shape == [0, 4])
        #expect(try file.floats("a") == values && file.floats("empty").isEmpty)
        #expect(try file.doubles("vector \"é\"") == [7])
        let tensor = try file.tensor("a", ledger: ledger)
        #expect(tensor.rows == 2 && tensor.columns == 3 && tensor.values == values)
        let empty = try file.tensor("empty", ledger: ledger)
        #expect(empty.rows == 0 && empty.values.isEmpty)
    }

    @Test("tensors outlive the file's handle") func tensorsOutliveTheFilesHandle() throws {
        try writeSafetensors([("a", [2], [1, 2])], to: path)
        let tensor = try SafetensorsFile(path).tensor("a", ledger: ledger)
        #expect(tensor.values == [1, 2])
        #expect(ledger.live(.weights) == 8)
    }

    @Test("half precision, double precision and integers") func halfPrecisionDoublePrecisionAndIntegers()
        throws
    {
        // 1.5, -2 and the smallest subnormal as IEEE half; 1.5 and -2 as bfloat16; a byte in front makes all unaligned.
        let half: [UInt8] = [0x00, 0x3E, 0x00, 0xC0, 0x01, 0x00]
        let brain: [UInt8] = [0xC0, 0x3F, 0x00, 0xC0]
        let double = withUnsafeBytes(of: (0.1).bitPattern.littleEndian) { Array($0) }
        let long = withUnsafeBytes(of: Int64(-3).littleEndian) { Array($0) }
        let single = withUnsafeBytes(of: Float(0.25).bitPattern.littleEndian) { Array($0) }
        try write(
            """
            {"pad":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
            "half":{"dtype":"F16","shape":[3],"data_offsets":[1,7]},
            "brain":{"dtype":"BF16","shape":[2],"data_offsets":[7,11]},
            "double":{"dtype":"F64","shape":[],"data_offsets":[11,19]},
            "long":{"dtype":"I64","shape":[1],"data_offsets":[19,27]},
            "single":{"dtype":"F32","shape":[1,1],"data_offsets":[27,31]}}
            """, [0] + half + brain + double + long + single)
        let file = try SafetensorsFile(path)
        #expect(try file.floats("half") == [1.5, -2, 0x1p-24])
        #expect(try file.tensor("brain", ledger: ledger).values == [1.5, -2])
        #expect(try file.doubles("double") == [0.1] && file.floats("double") == [Float(0.1)])
        #expect(try file.integers("long") == [-3])
        #expect(try file.tensor("single", ledger: ledger).values == [0.25])
        #expect(
            failure { _ = try file.floats("long") }.contains(
                "\(path): tensor \"long\": expected a floating-point"))
        #expect(
            failure { _ = try file.integers("half") }.contains("\"half\": expected I32 or I64, found F16"))
        #expect(failure { _ = try file.floats("none") } == "\(path): the tensor \"none\" is missing")
    }

    @Test("damaged files are errors that name the file") func damagedFilesAreErrorsThatNameTheFile() throws {
        try writeSafetensors([("a", [2, 3], [1, 2, 3, 4, 5, 6])], to: path)
        let whole = try readFile(path)
        for count in 0..<whole.count {
            try writeFileAtomically(Array(whole[..<count]), to: path)
            let message = failure { _ = try SafetensorsFile(path) }
            #expect(message.hasPrefix("\(path): truncated"), "\(count) bytes: \(message)")
        }
        #expect(failure { _ = try SafetensorsFile(path + "-none") }.contains("No such file"))
        #expect(failure { _ = try SafetensorsFile(scratch.path) }.contains(scratch.path))
        try write("{\"a\":", [])
        #expect(failure { _ = try SafetensorsFile(path) }.hasPrefix("\(path):1: not valid JSON"))
        try write("[1]", [])
        #expect(failure { _ = try SafetensorsFile(path) }.contains("expected an object"))
        try write("{}", [], size: UInt64(Int32.max))
        #expect(failure { _ = try SafetensorsFile(path) }.contains("truncated: expected a header of"))
        try write("{}", [], size: .max)
        #expect(failure { _ = try SafetensorsFile(path) }.contains("truncated"))
    }

    @Test(
        "headers that lie are errors",
        arguments: [
            (
                #"{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,20]}}"#,
                "of shape [2, 3] needs 24 bytes, found 20"
            ),
            (
                #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[20,28]}}"#,
                "truncated: tensor \"a\" ends at byte 28"
            ),
            (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "tensor \"a\""),
            (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}"#, "tensor \"a\""),
            (#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, "a.shape[0]"),
            (
                #"{"a":{"dtype":"F32","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,24]}}"#,
                "tensor \"a\": expected a shape that fits the file"
            ),
            (#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, "the key \"a.dtype\" is missing"),
        ])
    func headersThatLieAreErrors(header: String, expected: String) throws {
        try write(header, [UInt8](repeating: 0, count: 24))
        let message = failure { _ = try SafetensorsFile(path) }
        #expect(message.hasPrefix(path) && message.contains(expected), "\(message)")
    }

    @Test("the fingerprint changes with any tensor") func theFingerprintChangesWithAnyTensor() throws {
        func fingerprint(_ last: Float) throws -> String {
            try writeSafetensors([("a", [2], [1, 2]), ("b", [1], [last])], to: path)
            return try SafetensorsFile(path).fingerprint
        }
        let first = try fingerprint(3)
        #expect(try fingerprint(3) == first)
        #expect(try fingerprint(3.0000002) != first)
    }
}
