import ReferenceFiles
import Support
import Testing
import TextData
import Tokenizers

/// Formats and metrics against tables made with scipy, scikit-learn and T5's definitions.
@Suite struct MetricsTests {
    let bert: Tokenizer
    let t5: Tokenizer

    init() throws {
        bert = try Tokenizer(contentsOf: Reference.tokenizer("wordpiece_bert"))
        t5 = try Tokenizer(contentsOf: Reference.tokenizer("unigram_t5"))
    }

    func task(_ name: GLUETask, _ style: ModelTaskStyle = .encoder) throws -> TextTask {
        try TextTask(
            TaskSpecification(kind: .glue, name: name, train: "unused"), style: style,
            tokenizer: style == .encoder ? bert : t5)
    }

    static func dataset(_ labels: TokenizedDataset.Labels) -> TokenizedDataset {
        TokenizedDataset(inputs: Array(repeating: [1], count: labels.count ?? 0), labels: labels)
    }

    @Test("metrics of classes and scores") func metricsOfClassesAndScores() throws {
        let rows = try #require(try Reference.json("tables/tables.json")["metrics"]?.array)
        #expect(rows.count == 56)
        for row in rows {
            let name = try #require(GLUETask(rawValue: row["task"]?.string ?? ""))
            let pred = try #require(row["pred"]?.array)
            let gold = try #require(row["gold"]?.array)
            let expected = try #require(row["expected"]?.members)
            let metrics: Metrics
            if name == .stsb {
                metrics = try task(name).metrics(
                    scores: pred.map { Float($0.number ?? .nan) },
                    for: Self.dataset(.scores(gold.map { Float($0.number ?? .nan) })))
            } else {
                let dataset = Self.dataset(.classes(gold.map { Int32($0.integer ?? 9) }))
                let classes = pred.map { $0.integer ?? 9 }
                let words = try #require(try task(name).specification.labels)
                // Text that is no label is -1 in the table.
                metrics = try task(name, .textToText).metrics(
                    texts: classes.map { $0 == -1 ? "neither" : words[$0] }, for: dataset)
                if !classes.contains(-1) {
                    #expect(try task(name).metrics(classes: classes, for: dataset) == metrics)
                }
            }
            for member in expected {
                let found = try #require(metrics[member.key == "headline" ? "mean" : member.key])
                #expect(abs(found - (member.value.number ?? .nan) / 100) < 1e-6, "\(row.text())")
            }
            #expect(metrics.values.map(\.name) == expected.map { $0.key == "headline" ? "mean" : $0.key })
            #expect(metrics.headline == metrics["mean"])
        }
    }

    @Test("a diverged model scores zero") func aDivergedModelScoresZero() throws {
        let dataset = Self.dataset(.scores([1, 2, 3]))
        let metrics = try task(.stsb).metrics(scores: [.nan, 1, .infinity], for: dataset)
        #expect(metrics["pearson"] == 0 && metrics["spearman"] == 0)
    }

    @Test("GLUE in T5's text format") func glueInT5sTextFormat() throws {
        let rows = try #require(try Reference.json("tables/tables.json")["t5_formats"]?.array)
        #expect(rows.count == 32)
        for row in rows {
            let name = try #require(GLUETask(rawValue: row["task"]?.string ?? ""))
            let example = try #require(row["example"]?.members)
            let label = try #require(row["example"]?["label"])
            let fields = example.filter { $0.key != "label" }
                .map { Row.Field(name: $0.key, text: $0.value.string ?? "") }
            let parsed = Row(
                fields: fields,
                label: name == .stsb ? .score(label.number ?? .nan) : .index(label.integer ?? -1))
            let task = try task(name, .textToText)
            #expect(task.source(of: parsed) == row["source"]?.string)
            #expect(task.target(of: parsed) == row["target"]?.string)
        }
    }

    @Test("STS-B targets round to multiples of 0.2") func stsBTargetsRoundToMultiplesOf02() throws {
        let task = try task(.stsb, .textToText)
        let rows = try #require(try Reference.json("tables/tables.json")["stsb_targets"]?.array)
        #expect(rows.count == 501)
        for row in rows {
            let pair = try #require(row.array)
            let label = Row.Label.score(try #require(pair[0].number))
            #expect(task.target(of: Row(fields: [], label: label)) == pair[1].string)
        }
    }

    @Test("texts are read as classes and numbers") func textsAreReadAsClassesAndNumbers() throws {
        let rows = try Reference.json("tables/tables.json")["parse_mrpc_class_and_float"]?.array
        for row in try #require(rows) {
            let item = try #require(row.array)
            let text = try #require(item[0].string)
            #expect(try task(.mrpc, .textToText).classIndex(of: text) ?? -1 == item[1].integer)
            #expect(try task(.stsb, .textToText).score(of: text) == item[2].number.map { Float($0) })
        }
    }

    @Test("exact match ignores the white space around") func exactMatchIgnoresTheWhiteSpaceAround() throws {
        let task = try TextTask(
            TaskSpecification(kind: .textToText, train: "unused"), style: .textToText, tokenizer: t5)
        let metrics = task.metrics(
            texts: [" turn it on", "off", "e\u{301}", ""],
            for: Self.dataset(.texts(["turn it on ", "Off", "\u{E9}", ""])))
        #expect(metrics["exact_match"] == 0.5 && metrics.headline == 0.5)
    }
}
