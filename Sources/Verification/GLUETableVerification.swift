import Support
import TextData
import Tokenizers

/// GLUE's tables: T5's text formats, STS-B's rounding, how written texts are read, and the metrics.
struct GLUETableVerification {
    private let tasks: [GLUETask: TextTask]

    /// - Parameter tokenizer: any; the tables hold texts and numbers only.
    init(_ tokenizer: Tokenizer) throws {
        tasks = try Dictionary(
            uniqueKeysWithValues: GLUETask.allCases.map {
                let specification = TaskSpecification(kind: .glue, name: $0, train: "")
                return ($0, try TextTask(specification, style: .textToText, tokenizer: tokenizer))
            })
    }

    func compare(_ tables: JSONObjectReader, _ comparisons: inout Comparisons) throws {
        for (index, item) in try tables.required("t5_formats").array().enumerated() {
            let (_, task, row) = try format(item)
            let expected = [try member(item, "source").string(), try member(item, "target").string()]
            text(
                [task.source(of: row), task.target(of: row)], expected, "t5_formats[\(index)]", &comparisons)
        }
        for (index, item) in try tables.required("stsb_targets").array().enumerated() {
            let pair = try elements(item, 2)
            let row = Row(fields: [], label: .score(try pair[0].number()))
            text(
                [tasks[.stsb]!.target(of: row)], [try pair[1].string()], "stsb_targets[\(index)]",
                &comparisons)
        }
        for (index, item) in try tables.required("parse_mrpc_class_and_float").array().enumerated() {
            let triple = try elements(item, 3)
            let written = try triple[0].string()
            let found = [
                Double(tasks[.mrpc]!.classIndex(of: written) ?? -1), Double(tasks[.stsb]!.score(of: written)),
            ]
            let expected = [Double(try triple[1].integer()), Double(Float(try triple[2].number()))]
            comparisons.exact(found, expected, .texts, "parse_mrpc_class_and_float[\(index)]")
        }
        for (index, item) in try tables.required("metrics").array().enumerated() {
            try compareMetrics(item, "metrics[\(index)]", &comparisons)
        }
    }

    private func compareMetrics(_ item: JSONReader, _ place: String, _ comparisons: inout Comparisons) throws
    {
        let (name, task) = try self.task(item)
        let predictions = try member(item, "pred").array()
        let gold = try member(item, "gold").array()
        let labels: TokenizedDataset.Labels =
            name == .stsb
            ? .scores(try gold.map { Float(try $0.number()) })
            : .classes(try gold.map { Int32(try $0.integer(in: 0...1)) })
        let dataset = TokenizedDataset(inputs: gold.map { _ in [] }, labels: labels)
        let metrics: Metrics
        if name == .stsb {
            metrics = task.metrics(scores: try predictions.map { Float(try $0.number()) }, for: dataset)
        } else {
            // -1 stands for a text that is no label.
            let words = task.specification.labels ?? []
            let texts = try predictions.map { try $0.integer(in: -1...1) }.map { $0 < 0 ? "" : words[$0] }
            metrics = task.metrics(texts: texts, for: dataset)
        }
        for (key, value) in try member(item, "expected").object().all {
            // The tables hold percentages and call the mean "headline".
            let found = metrics[key == "headline" ? "mean" : key] ?? .nan
            comparisons.include(abs(found - (try value.number()) / 100), .metrics, "\(place).\(key)")
        }
    }

    private func format(_ item: JSONReader) throws -> (GLUETask, TextTask, Row) {
        let (name, task) = try self.task(item)
        let example = try member(item, "example").object()
        let fields = try example.all.filter { $0.key != "label" }.map {
            Row.Field(name: $0.key, text: try $0.value.string())
        }
        let label = try example.required("label")
        let row = Row(
            fields: fields, label: name == .stsb ? .score(try label.number()) : .index(try label.integer()))
        return (name, task, row)
    }

    private func task(_ item: JSONReader) throws -> (GLUETask, TextTask) {
        let name = try member(item, "task").choice(GLUETask.allCases.map(\.rawValue))
        let task = GLUETask(rawValue: name)!
        return (task, tasks[task]!)
    }

    private func member(_ item: JSONReader, _ key: String) throws -> JSONReader {
        try item.object().required(key)
    }

    private func elements(_ item: JSONReader, _ count: Int) throws -> [JSONReader] {
        let elements = try item.array()
        guard elements.count == count else { throw item.failure(expected: "\(count) values") }
        return elements
    }

    /// Compares texts byte by byte.
    private func text(
        _ found: [String], _ expected: [String], _ place: String, _ comparisons: inout Comparisons
    ) {
        comparisons.exact(found.map { Array($0.utf8) }, expected.map { Array($0.utf8) }, .texts, place)
    }
}
