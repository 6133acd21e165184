extension JSONValue {
    /// Applies `key.path=value` to an object; objects on the way are made. The value is read as JSON where it is JSON
    /// (numbers, true, null, "quoted", arrays, objects), and as a plain word otherwise.
    ///
    /// - Throws: a configuration failure when the text has no "=" or the path leads through something else than objects.
    public mutating func apply(override text: String) throws {
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
            throw Failure.configuration("--set: expected key.path=value, found \"\(text)\"")
        }
        let word = String(text[text.index(after: equals)...])
        let looksLikeJSON =
            ["true", "false", "null"].contains(word)
            || word.first.map { "\"[{-0123456789".contains($0) } == true
        let source = "--set \(text)"
        // A path or a word may begin with a digit: what is no number is a word.
        let value: JSONValue
        if looksLikeJSON {
            do {
                value = try JSONValue(parsing: Array(word.utf8), file: source)
            } catch {
                guard let first = word.first, first.isNumber || first == "-" else { throw error }
                value = .string(word)
            }
        } else {
            value = .string(word)
        }
        let keys = text[..<equals].split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard !keys.contains("") else {
            throw Failure.configuration("--set: expected key.path=value, found \"\(text)\"")
        }
        try set(keys[...], to: value, source: source)
    }

    private mutating func set(_ keys: ArraySlice<String>, to value: JSONValue, source: String) throws {
        guard let key = keys.first else {
            self = value
            return
        }
        if self == .null { self = .object([]) }
        guard case .object(var members) = self else {
            throw Failure.configuration(
                "\(source): expected an object above \"\(key)\", found \(kindDescription)")
        }
        if let index = members.firstIndex(where: { $0.key.utf8.elementsEqual(key.utf8) }) {
            try members[index].value.set(keys.dropFirst(), to: value, source: source)
        } else {
            var inner = JSONValue.null
            try inner.set(keys.dropFirst(), to: value, source: source)
            members.append(JSONMember(key: key, value: inner, line: 0))
        }
        self = .object(members)
    }
}
