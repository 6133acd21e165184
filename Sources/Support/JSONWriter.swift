extension JSONValue {
    /// The value as JSON text: one line, or indented by two spaces with short arrays kept on one line.
    public func text(indented: Bool = false) -> String {
        var out = ""
        write(into: &out, indentation: indented ? 0 : nil)
        return out
    }

    private func write(into out: inout String, indentation: Int?) {
        switch self {
        case .null: out += "null"
        case .bool(let flag): out += flag ? "true" : "false"
        case .integer(let number): out += String(number)
        case .number(let number):
            precondition(number.isFinite, "JSON has no \(number)")
            out += "\(number)"
        case .string(let text): Self.quote(text, into: &out)
        case .array(let items):
            let nested = items.contains { if case .object = $0 { true } else { false } }
            writeList(items.count, "[", "]", nested ? indentation : nil, into: &out) { index, out, inner in
                items[index].write(into: &out, indentation: inner)
            }
        case .object(let members):
            writeList(members.count, "{", "}", indentation, into: &out) { index, out, inner in
                Self.quote(members[index].key, into: &out)
                out += indentation == nil ? ":" : ": "
                members[index].value.write(into: &out, indentation: inner)
            }
        }
    }

    private func writeList(
        _ count: Int, _ open: String, _ close: String, _ indentation: Int?, into out: inout String,
        _ item: (Int, inout String, Int?) -> Void
    ) {
        out += open
        let inner = indentation.map { $0 + 2 }
        for index in 0..<count {
            if index > 0 { out += inner == nil ? ", " : "," }
            if let inner { out += "\n" + String(repeating: " ", count: inner) }
            item(index, &out, inner)
        }
        if let indentation, count > 0 { out += "\n" + String(repeating: " ", count: indentation) }
        out += close
    }

    private static func quote(_ text: String, into out: inout String) {
        out += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case "\u{0}"..."\u{1F}":
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }
}
