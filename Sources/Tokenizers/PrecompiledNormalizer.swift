import Support

/// sentencepiece's precompiled character map, applied as the `tokenizers` library does.
///
/// The map is base64 of: trie size in bytes (u32), a Darts double array (u32 units), NUL-terminated replacements. A
/// grapheme cluster of fewer than 6 bytes is looked up whole and replaced entirely by the replacement of the shortest key
/// that begins it; otherwise each scalar is looked up alone. (sentencepiece itself takes the longest key at each position.)
struct PrecompiledNormalizer: Normalizer {
    private let units: [UInt32]
    private let strings: [UInt8]
    /// The replacement of every ASCII byte that stands alone; nil where it stays.
    private let ascii: [[UInt8]?]
    private let changesASCII: [Bool]

    init(_ object: JSONObjectReader) throws {
        let field = try object.required("precompiled_charsmap")
        guard let raw = Self.base64(try field.string()) else {
            throw Failure.configuration("\(field.place): expected a character map in base64")
        }
        try self.init(raw, place: field.place)
    }

    /// - Parameter place: where the map stands, for error messages.
    init(_ raw: [UInt8], place: String) throws {
        guard raw.count >= 4 else {
            throw Failure.configuration(
                "\(place): expected a character map of at least 4 bytes, found \(raw.count)")
        }
        func word(_ at: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(raw[at + $1]) << UInt32(8 * $1) } }
        let size = Int(word(0))
        guard size >= 4, size % 4 == 0, 4 + size <= raw.count else {
            throw Failure.configuration(
                "\(place): expected a trie of at most \(raw.count - 4) bytes, found a size of \(size)")
        }
        units = (0..<size / 4).map { word(4 + 4 * $0) }
        strings = Array(raw[(4 + size)...])
        let (trie, texts) = (units, strings)
        ascii = (0..<128).map { byte in
            [UInt8(byte)].withUnsafeBufferPointer {
                Self.replacement(of: $0[...], trie, texts).map { Array($0) }
            }
        }
        changesASCII = ascii.map { $0 != nil }
    }

    func normalize(_ text: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(text.count + 8)
        text.withUnsafeBufferPointer { text in
            var index = 0
            while index < text.count {
                // Between two ASCII bytes there is a cluster boundary, except in CR LF.
                let end = Self.boundary(after: index, in: text)
                if end == index + 1 {
                    let byte = Int(text[index])
                    if changesASCII[byte], let new = ascii[byte] {
                        out += new
                    } else {
                        out.append(text[index])
                    }
                } else {
                    appendClusters(text[index..<end], to: &out)
                }
                index = end
            }
        }
        return out
    }

    /// The next position that is surely a cluster boundary.
    @inline(__always)
    private static func boundary(after start: Int, in text: UnsafeBufferPointer<UInt8>) -> Int {
        var index = start + 1
        while index < text.count {
            if text[index - 1] < 0x80, text[index] < 0x80, !(text[index - 1] == 0x0D && text[index] == 0x0A) {
                break
            }
            index += 1
        }
        return index
    }

    private func appendClusters(_ bytes: Slice<UnsafeBufferPointer<UInt8>>, to out: inout [UInt8]) {
        var start = bytes.startIndex
        for cluster in String(decoding: bytes, as: UTF8.self) {
            let end = start + cluster.utf8.count
            defer { start = end }
            if end - start < 6, let new = Self.replacement(of: bytes[start..<end], units, strings) {
                out += new
                continue
            }
            var index = start
            while index < end {
                let next = index + UTF8Text.width(of: bytes[index])
                if let new = Self.replacement(of: bytes[index..<next], units, strings) {
                    out += new
                } else {
                    out += bytes[index..<next]
                }
                index = next
            }
        }
    }

    /// The replacement that belongs to the shortest key with which `key` begins.
    private static func replacement(
        of key: Slice<UnsafeBufferPointer<UInt8>>, _ units: [UInt32], _ strings: [UInt8]
    ) -> ArraySlice<UInt8>? {
        var position = offset(units[0])
        for byte in key {
            guard byte != 0 else { return nil }
            position ^= Int(byte)
            guard position < units.count else { return nil }
            let unit = units[position]
            guard unit & 0x8000_00FF == UInt32(byte) else { return nil }
            position ^= offset(unit)
            if unit >> 8 & 1 == 1 {
                guard position < units.count else { return nil }
                let start = Int(units[position] & 0x7FFF_FFFF)
                guard start < strings.count else { return nil }
                return strings[start...].prefix { $0 != 0 }
            }
        }
        return nil
    }

    private static func offset(_ unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & 1 << 9) >> 6) }

    private static func base64(_ text: String) -> [UInt8]? {
        var out: [UInt8] = []
        out.reserveCapacity(text.utf8.count * 3 / 4)
        var bits: UInt32 = 0
        var count = 0
        for character in text.utf8 {
            let value: UInt8
            switch character {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = character - UInt8(ascii: "A")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = character - UInt8(ascii: "a") + 26
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = character - UInt8(ascii: "0") + 52
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            case UInt8(ascii: "="): continue
            default: return nil
            }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                out.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return out
    }
}
