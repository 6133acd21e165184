import ChatTemplates
import Support

/// Reads a task's rows from a file: the official TSV of a GLUE task, the documents of a plain text, JSONL otherwise.
///
/// Errors are `file:line: field: expected, found`. Fields that a task does not use are ignored.
struct RowReader {
    let kind: TaskKind
    let name: GLUETask?

    /// All rows; class labels are still texts.
    func rows(contentsOf path: String, labelled: Bool) throws -> [Row] {
        let file = try DataFile(path)
        let isJSON = path.hasSuffix(".jsonl") || path.hasSuffix(".json")
        let rows =
            if let name, !isJSON {
                try tabSeparatedRows(of: file, name, labelled: labelled)
            } else if kind == .text, !isJSON {
                try file.documents().map {
                    Row(line: $0.line, fields: [Row.Field(name: "text", text: $0.text)])
                }
            } else {
                try file.lines.map {
                    try jsonRow(of: file, line: $0.number, file[$0.range], labelled: labelled)
                }
            }
        guard !rows.isEmpty else { throw file.emptyFailure }
        return rows
    }

    // MARK: TSV

    /// Tabs part the columns and quotes mean nothing.
    private func tabSeparatedRows(of file: DataFile, _ task: GLUETask, labelled: Bool) throws -> [Row] {
        guard let header = file.lines.first else { throw file.emptyFailure }
        let names = try file[header.range].split(separator: 0x09, omittingEmptySubsequences: false).map {
            try file.text($0, line: 1, field: "header")
        }
        func column(_ name: String) throws -> Int {
            guard let index = names.firstIndex(of: name) else {
                let found = names.map { "\"\($0)\"" }.joined(separator: ", ")
                throw file.failure(line: 1, field: name, expected: "a column of this name", found: found)
            }
            return index
        }
        let texts = try task.columns.map(column)
        let labelIndex = labelled ? try column(task.labelColumn) : nil
        return try file.lines.dropFirst().map { number, range in
            let cells = file[range].split(separator: 0x09, omittingEmptySubsequences: false)
            guard cells.count == names.count else {
                let missing = cells.count < names.count ? names[cells.count] : "row"
                throw file.failure(
                    line: number, field: missing, expected: "\(names.count) columns", found: "\(cells.count)")
            }
            let fields = try zip(texts, zip(task.columns, task.fieldNames)).map { index, name in
                Row.Field(name: name.1, text: try file.text(cells[index], line: number, field: name.0))
            }
            let label = try labelIndex.map {
                try tabSeparatedLabel(cells[$0], task, file, line: number)
            }
            return Row(line: number, fields: fields, label: label)
        }
    }

    private func tabSeparatedLabel(_ cell: ArraySlice<UInt8>, _ task: GLUETask, _ file: DataFile, line: Int)
        throws
        -> Row.Label
    {
        let text = try file.text(cell, line: line, field: task.labelColumn)
        if let known = task.fileLabels {
            guard let index = known.firstIndex(of: text) else {
                let words = known.map { "\"\($0)\"" }.joined(separator: " or ")
                throw file.failure(line: line, field: task.labelColumn, expected: words, found: "\"\(text)\"")
            }
            return .index(index)
        }
        guard let score = decimalNumber(text), 0...5 ~= score else {
            throw file.failure(
                line: line, field: task.labelColumn, expected: "a number from 0 to 5", found: "\"\(text)\"")
        }
        return .score(score)
    }

    // MARK: JSONL

    private func jsonRow(of file: DataFile, line: Int, _ bytes: ArraySlice<UInt8>, labelled: Bool) throws
        -> Row
    {
        let value = try JSONValue(parsing: Array(bytes), file: file.path, firstLine: line)
        let object = try JSONReader(value, file: file.path, line: line).object()
        if kind == .chat {
            return Row(line: line, fields: [], messages: try messages(object, labelled: labelled))
        }
        let fields = try fieldNames(object).map { Row.Field(name: $0, text: try field(object, $0).string()) }
        return Row(line: line, fields: fields, label: labelled && kind != .text ? try jsonLabel(object) : nil)
    }

    /// The turns of a conversation, in which an assistant has to say something when it is to be learned from.
    private func messages(_ object: JSONObjectReader, labelled: Bool) throws -> [ChatMessage] {
        let value = try field(object, "messages")
        let messages = try value.array().map { turn -> ChatMessage in
            let message = try turn.object()
            return ChatMessage(
                role: try field(message, "role").choice(["system", "user", "assistant"]),
                content: try field(message, "content").string())
        }
        guard !messages.isEmpty else { throw value.failure(expected: "at least one message") }
        guard !labelled || messages.contains(where: { $0.role == "assistant" }) else {
            throw value.failure(expected: "a message of the role \"assistant\", from which to learn")
        }
        return messages
    }

    private func fieldNames(_ object: JSONObjectReader) throws -> [String] {
        if let name { return name.fieldNames }
        if kind == .textToText { return ["source"] }
        if kind == .text { return ["text"] }
        let single = object.optional("text")
        let isPair = object.optional("text_a") != nil || object.optional("text_b") != nil
        guard (single != nil) != isPair else {
            let found = single == nil ? "neither" : "both"
            throw Failure.configuration(
                "\(object.reader.place): text: expected either \"text\" or \"text_a\" and \"text_b\", found \(found)"
            )
        }
        return isPair ? ["text_a", "text_b"] : ["text"]
    }

    private func field(_ object: JSONObjectReader, _ name: String) throws -> JSONReader {
        guard let value = object.optional(name) else {
            throw Failure.configuration("\(object.reader.place): \(name): expected this field, found none")
        }
        return value
    }

    private func jsonLabel(_ object: JSONObjectReader) throws -> Row.Label {
        if kind == .textToText { return .text(try field(object, "target").string()) }
        let label = try field(object, "label")
        if kind == .regression { return .score(try label.number()) }
        if name == .stsb { return .score(try label.number(in: 0...5)) }
        switch label.value {
        case .string(let text) where !text.isEmpty: return .text(text)
        // GLUE's own files count the classes from zero.
        case .integer(let index):
            guard let labels = name?.labels, labels.indices.contains(Int(index)) else {
                return .text(String(index))
            }
            return .text(labels[Int(index)])
        default: throw label.failure(expected: "a label (a text or an integer)")
        }
    }
}
