import Support

/// Writes float32 tensors as a `.safetensors` file, beside its place and then renamed.
///
/// - Parameter tensors: name, shape and values, in the order they are to stand.
public func writeSafetensors(
    _ tensors: [(name: String, shape: [Int], values: [Float])], metadata: [(String, String)] = [],
    to path: String
) throws {
    var offset = 0
    var members: [(String, JSONValue)] = []
    if !metadata.isEmpty {
        members.append(("__metadata__", .dictionary(metadata.map { ($0.0, .string($0.1)) })))
    }
    for (name, shape, values) in tensors {
        precondition(values.count == shape.reduce(1, *), "\(name): \(values.count) values for \(shape)")
        let end = offset + values.count * 4
        members.append(
            (
                name,
                .dictionary([
                    ("dtype", "F32"), ("shape", .array(shape.map { JSONValue($0) })),
                    ("data_offsets", [JSONValue(offset), JSONValue(end)]),
                ])
            ))
        offset = end
    }
    var header = Array(JSONValue.dictionary(members).text().utf8)
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(8 + header.count + offset)
    withUnsafeBytes(of: UInt64(header.count).littleEndian) { bytes.append(contentsOf: $0) }
    bytes += header
    for (_, _, values) in tensors { values.withUnsafeBytes { bytes.append(contentsOf: $0) } }
    try writeFileAtomically(bytes, to: path)
}
