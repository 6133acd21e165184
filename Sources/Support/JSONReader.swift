/// Strict reading of one JSON value: a wrong type, a missing or an unknown key is an error that names file, line, key
/// path, what was expected and what was found.
public struct JSONReader: Sendable {
    public let value: JSONValue
    public let file: String
    public let line: Int
    /// The dotted path of this value ("task.max_sequence_length"), empty at the top.
    public let path: String

    public init(_ value: JSONValue, file: String, line: Int = 1, path: String = "") {
        self.value = value
        self.file = file
        self.line = line
        self.path = path
    }

    /// Parses a text; `file` names it in errors. Throws when it is not JSON.
    public init(parsing text: [UInt8], file: String, line: Int = 1) throws {
        self.init(try JSONValue(parsing: text, file: file), file: file, line: line)
    }

    /// Reads and parses a file. Throws when it is missing, unreadable or not JSON.
    public init(contentsOf path: String) throws {
        self.init(try JSONValue(contentsOf: path), file: path)
    }

    /// An error about this value.
    public func failure(expected: String) -> Failure {
        .configuration("\(place): expected \(expected), found \(value.kindDescription)")
    }

    /// "file:line: key path".
    public var place: String {
        (line > 0 ? "\(file):\(line)" : file) + (path.isEmpty ? "" : ": \(path)")
    }

    public var isNull: Bool { value == .null }

    public func string() throws -> String {
        guard let text = value.string else { throw failure(expected: "a string") }
        return text
    }

    public func bool() throws -> Bool {
        guard let flag = value.bool else { throw failure(expected: "true or false") }
        return flag
    }

    public func integer(in range: ClosedRange<Int> = Int.min...Int.max) throws -> Int {
        guard let number = value.integer, range.contains(number) else {
            throw failure(expected: Self.describe("an integer", range.lowerBound, range.upperBound))
        }
        return number
    }

    public func number(
        in range: ClosedRange<Double> = -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
    )
        throws -> Double
    {
        guard let number = value.number, range.contains(number) else {
            throw failure(expected: "a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// One of the listed words.
    ///
    /// - Parameter suggestsNearest: whether an error names the nearest of them, which helps where a person wrote the word.
    public func choice(_ words: [String], suggestsNearest: Bool = false) throws -> String {
        if let text = value.string, words.contains(text) { return text }
        let failure = failure(expected: "one of " + words.map { "\"\($0)\"" }.joined(separator: ", "))
        guard suggestsNearest, let text = value.string, let nearest = Self.nearest(to: text, among: words)
        else { throw failure }
        throw Failure.configuration("\(failure.message). Did you mean \"\(nearest)\"?")
    }

    public func array() throws -> [JSONReader] {
        guard let items = value.array else { throw failure(expected: "an array") }
        return items.enumerated().map { JSONReader($1, file: file, line: line, path: "\(path)[\($0)]") }
    }

    /// This value as an object. With `keys`, any other key is an error that suggests the nearest of them.
    public func object(keys: [String]? = nil) throws -> JSONObjectReader {
        guard let members = value.members else { throw failure(expected: "an object") }
        if let keys {
            for member in members where !keys.contains(where: { $0.utf8.elementsEqual(member.key.utf8) }) {
                let nearest =
                    Self.nearest(to: member.key, among: keys).map { " Did you mean \"\($0)\"?" } ?? ""
                throw Failure.configuration(
                    "\(member.line > 0 ? "\(file):\(member.line)" : file): unknown key \"\(dotted(member.key))\"."
                        + nearest + " Known here: \(keys.joined(separator: ", ")).")
            }
        }
        return JSONObjectReader(members: members, reader: self)
    }

    func dotted(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    private static func describe(_ kind: String, _ low: Int, _ high: Int) -> String {
        switch (low, high) {
        case (Int.min, Int.max): kind
        case (_, Int.max): "\(kind) of at least \(low)"
        default: "\(kind) from \(low) to \(high)"
        }
    }

    /// The candidate with the smallest edit distance, when it is near enough to be a slip of the pen.
    public static func nearest(to word: String, among candidates: [String]) -> String? {
        let scored = candidates.map { ($0, editDistance(Array(word.utf8), Array($0.utf8))) }
        guard let best = scored.min(by: { $0.1 < $1.1 }), best.1 <= max(2, word.utf8.count / 3) else {
            return nil
        }
        return best.0
    }

    private static func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for i in 0..<a.count {
            var diagonal = row[0]
            row[0] = i + 1
            for j in 0..<b.count {
                let substituted = diagonal + (a[i] == b[j] ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(substituted, row[j] + 1, row[j + 1] + 1)
            }
        }
        return row[b.count]
    }
}

/// The members of an object that is being read strictly.
public struct JSONObjectReader {
    let members: [JSONMember]
    /// The object itself, for errors about it as a whole.
    public let reader: JSONReader

    /// The value of a key; nil when it is absent or null.
    public func optional(_ key: String) -> JSONReader? {
        guard let member = members.first(where: { $0.key.utf8.elementsEqual(key.utf8) }),
            member.value != .null
        else { return nil }
        return JSONReader(
            member.value, file: reader.file, line: member.line, path: reader.dotted(key))
    }

    /// The value of a key that must be there.
    public func required(_ key: String) throws -> JSONReader {
        guard let value = optional(key) else {
            throw Failure.configuration("\(reader.place): the key \"\(reader.dotted(key))\" is missing")
        }
        return value
    }

    /// Every key with its value, in file order.
    public var all: [(key: String, value: JSONReader)] {
        members.map {
            ($0.key, JSONReader($0.value, file: reader.file, line: $0.line, path: reader.dotted($0.key)))
        }
    }
}
