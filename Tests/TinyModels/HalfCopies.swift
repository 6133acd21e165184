import Models
import Support
import WeightFiles

/// Copies of a tiny checkpoint in 16 bits a number, and in 32 bits with the same numbers.
extension TinyModel {
    /// Writes the model with its numbers cut to "F16" or "BF16" and stored so.
    package func writeHalf(_ type: String, to directory: String) throws {
        var header: [(String, JSONValue)] = []
        var bytes: [UInt8] = []
        for (name, shape, words) in try words(type) {
            let start = bytes.count
            for word in words { bytes += [UInt8(word & 0xFF), UInt8(word >> 8)] }
            header.append(
                (
                    name,
                    .dictionary([
                        ("dtype", .string(type)), ("shape", .array(shape.map { JSONValue($0) })),
                        ("data_offsets", .array([JSONValue(start), JSONValue(bytes.count)])),
                    ])
                ))
        }
        var text = Array(JSONValue.dictionary(header).text().utf8)
        // As the format's own library does: the data begins at a multiple of 8.
        while text.count % 8 != 0 { text.append(UInt8(ascii: " ")) }
        let size = withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) }
        try writeFileAtomically(size + text + bytes, to: directory + "/model.safetensors")
        try writeConfiguration(to: directory)
    }

    /// Writes the model with the same numbers as float32.
    package func writeExpanded(_ type: String, to directory: String) throws {
        let tensors = try words(type).map { name, shape, words in
            (
                name: name, shape: shape,
                values: words.map {
                    type == "F16" ? Float(Float16(bitPattern: $0)) : Float(bitPattern: UInt32($0) << 16)
                }
            )
        }
        try writeSafetensors(tensors, to: directory + "/model.safetensors")
        try writeConfiguration(to: directory)
    }

    private func words(_ type: String) throws -> [(name: String, shape: [Int], words: [UInt16])] {
        let original = try SafetensorsFile(directory + "/checkpoint/model.safetensors")
        return try original.entries.keys.sorted().map { name in
            (
                name, original.entries[name]!.shape,
                try original.floats(name).map {
                    type == "F16" ? Float16($0).bitPattern : UInt16($0.bitPattern >> 16)
                }
            )
        }
    }

    private func writeConfiguration(to directory: String) throws {
        try writeFileAtomically(
            try readFile(self.directory + "/checkpoint/config.json"), to: directory + "/config.json")
    }
}
