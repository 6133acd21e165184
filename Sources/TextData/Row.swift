import ChatTemplates
import Support
import Tokenizers

/// One row of a data file, not yet tokenized.
public struct Row: Sendable, Equatable {
    /// A text and the name under which its file keeps it.
    public struct Field: Sendable, Equatable {
        public let name: String
        public let text: String

        public init(name: String, text: String) {
            self.name = name
            self.text = text
        }
    }

    public enum Label: Sendable, Equatable {
        case index(Int)
        case score(Double)
        case text(String)
    }

    /// The 1-based line in the file; 0 for a row that no file holds.
    public let line: Int
    /// One text or two; none for a conversation.
    public let fields: [Field]
    /// nil where none was read.
    public internal(set) var label: Label?
    /// The turns of a conversation; empty for rows of texts.
    public let messages: [ChatMessage]

    public init(line: Int = 0, fields: [Field], label: Label? = nil, messages: [ChatMessage] = []) {
        self.line = line
        self.fields = fields
        self.label = label
        self.messages = messages
    }

    /// What was read as an object, for writing the row beside its prediction.
    public var json: JSONValue { .dictionary(members) }

    /// The members of `json`.
    public var members: [(String, JSONValue)] {
        if !messages.isEmpty {
            let turns = messages.map { message -> JSONValue in
                .dictionary([("role", .string(message.role)), ("content", .string(message.content))])
            }
            return [("messages", .array(turns))]
        }
        return fields.map { ($0.name, .string($0.text)) }
    }
}

/// The lines of a data file.
struct DataFile {
    let path: String
    private let bytes: [UInt8]
    /// The 1-based number and the bytes of every line, without its end; empty lines at the end are left out.
    let lines: [(number: Int, range: Range<Int>)]

    init(_ path: String) throws {
        self.path = path
        bytes = try readFile(path)
        var lines: [(Int, Range<Int>)] = []
        // A byte order mark, as in MRPC, is no part of the first field.
        var start = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
        while start < bytes.count {
            let end = bytes[start...].firstIndex(of: 0x0A) ?? bytes.count
            let isCRLF = end > start && bytes[end - 1] == 0x0D
            lines.append((lines.count + 1, start..<(isCRLF ? end - 1 : end)))
            start = end + 1
        }
        while let last = lines.last, last.1.isEmpty { lines.removeLast() }
        self.lines = lines
    }

    subscript(_ range: Range<Int>) -> ArraySlice<UInt8> { bytes[range] }

    /// The documents of a plain text with their first lines: the whole file, or what stands between lines of
    /// `<|endoftext|>`, as corpora of many texts are written. White space around a document is no part of it.
    ///
    /// - Throws: at the first line that is not UTF-8.
    func documents() throws -> [(line: Int, text: String)] {
        let separator = "<|endoftext|>"
        var documents: [(line: Int, text: String)] = []
        for part in try lines.split(whereSeparator: {
            try text(bytes[$0.range], line: $0.number, field: "text") == separator
        }) {
            let all = bytes[part.first!.range.lowerBound..<part.last!.range.upperBound]
            let kept = UTF8Text.trimmed(String(decoding: all, as: UTF8.self))
            if !kept.isEmpty { documents.append((part.first!.number, String(decoding: kept, as: UTF8.self))) }
        }
        return documents
    }

    /// The text of some bytes. Throws when they are not UTF-8.
    func text(_ slice: ArraySlice<UInt8>, line: Int, field: String) throws -> String {
        if slice.contains(where: { $0 >= 0x80 }), let wrong = Self.firstInvalidByte(slice) {
            let hex = String(wrong, radix: 16, uppercase: true)
            throw failure(line: line, field: field, expected: "UTF-8", found: "the byte 0x\(hex)")
        }
        return String(decoding: slice, as: UTF8.self)
    }

    /// The first byte that is part of no valid sequence; nil when all are UTF-8.
    private static func firstInvalidByte(_ bytes: ArraySlice<UInt8>) -> UInt8? {
        var iterator = bytes.makeIterator()
        var decoder = UTF8()
        var position = bytes.startIndex
        while true {
            switch decoder.decode(&iterator) {
            case .scalarValue(let scalar): position += UTF8.width(scalar)
            case .emptyInput: return nil
            case .error: return bytes[position]
            }
        }
    }

    func failure(line: Int, field: String, expected: String, found: String) -> Failure {
        .configuration("\(path):\(line): \(field): expected \(expected), found \(found)")
    }

    var emptyFailure: Failure { .configuration("\(path): expected at least one row, found none") }
}

/// A number in decimal notation, white space around it allowed; nil for anything else, infinities and NaN included.
func decimalNumber(_ text: String) -> Double? {
    let kept = UTF8Text.trimmed(text)
    let allowed = kept.allSatisfy { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
    guard allowed, let number = Double(String(decoding: kept, as: UTF8.self)), number.isFinite else {
        return nil
    }
    return number
}
