import ReferenceFiles
import Support
import Testing
import TextData
import Tokenizers

@Suite struct TaskTests {
    let bert: Tokenizer
    let t5: Tokenizer
    let scratch: ScratchDirectory

    init() throws {
        bert = try Tokenizer(contentsOf: Reference.tokenizer("wordpiece_bert"))
        t5 = try Tokenizer(contentsOf: Reference.tokenizer("unigram_t5"))
        scratch = try ScratchDirectory()
    }

    func glue(_ name: GLUETask, _ text: String, _ style: ModelTaskStyle = .encoder, limit: Int? = nil) throws
        -> TextTask
    {
        try TextTask(
            TaskSpecification(
                kind: .glue, name: name, train: try scratch.write(text, to: "train.tsv"), trainLimit: limit),
            style: style, tokenizer: style == .encoder ? bert : t5)
    }

    func jsonl(
        _ kind: TaskKind, _ text: String, _ style: ModelTaskStyle = .encoder, labels: [String]? = nil,
        validation: String? = nil, maximumSequenceLength: Int = 64, labelStyle: LabelStyle = .words
    ) throws -> TextTask {
        try TextTask(
            TaskSpecification(
                kind: kind, train: try scratch.write(text, to: "train.jsonl"),
                validation: try validation.map { try scratch.write($0, to: "dev.jsonl") },
                maximumSequenceLength: maximumSequenceLength, labels: labels, labelStyle: labelStyle),
            style: style, tokenizer: style == .encoder ? bert : t5)
    }

    // MARK: GLUE

    static let mrpc = """
        \u{FEFF}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r
        1\t1\t2\tHe said " the light\ta quiet movie .\r
        0\t3\t4\ta\tb\r

        """

    @Test("MRPC in its official layout") func mrpcInItsOfficialLayout() throws {
        let task = try glue(.mrpc, Self.mrpc)
        #expect(task.problem == .classification(labels: ["not_equivalent", "equivalent"]))
        let rows = try task.rows(contentsOf: task.specification.train)
        #expect(rows.map(\.line) == [2, 3])
        #expect(
            rows[0].fields == [
                .init(name: "sentence1", text: "He said \" the light"),
                .init(name: "sentence2", text: "a quiet movie ."),
            ])
        let dataset = try task.load(.train)
        #expect(dataset.labels == .classes([1, 0]))
        let first = bert.encode(pair: ("He said \" the light", "a quiet movie ."), maximumLength: 128)
        #expect(Array(dataset.input(0)) == first.ids)
        #expect(Array(dataset.typeIDs.prefix(first.ids.count)) == first.typeIDs)
        #expect(dataset.count == 2 && !dataset.hasTargets && dataset.truncatedCount == 0)
        #expect(task.preview(dataset, row: 1) == "[CLS] a [SEP] b [SEP] → not_equivalent")
    }

    @Test("the other GLUE layouts") func theOtherGLUELayouts() throws {
        let stsb = try glue(.stsb, "index\tsentence1\tsentence2\tscore\n0\ta\tb\t3.800\n1\tc\td\t0\n")
        #expect(stsb.problem == .regression)
        #expect(try stsb.load(.train).labels == .scores([3.8, 0]))
        let qnli = try glue(.qnli, "index\tquestion\tsentence\tlabel\n0\tWho?\tMe.\tnot_entailment\n")
        #expect(try qnli.load(.train).labels == .classes([1]))
        let sst2 = try glue(.sst2, "sentence\tlabel\na movie\t1\nb\t0\nc\t1\n", limit: 2)
        let dataset = try sst2.load(.train)
        #expect(dataset.labels == .classes([1, 0]))
        #expect(dataset.typeIDs.allSatisfy { $0 == 0 })
    }

    @Test("GLUE for a text-to-text model") func glueForATextToTextModel() throws {
        let task = try glue(.mrpc, Self.mrpc, .textToText)
        #expect(task.problem == .generation)
        let dataset = try task.load(.train)
        #expect(dataset.labels == .classes([1, 0]))
        #expect(Array(dataset.input(1)) == t5.encode("mrpc sentence1: a sentence2: b") + [1])
        #expect(Array(dataset.target(1)) == t5.encode("not_equivalent") + [1])
        #expect(task.preview(dataset, row: 1) == "mrpc sentence1: a sentence2: b</s> → not_equivalent</s>")
    }

    @Test("a GLUE task also predicts from JSONL and from given texts")
    func aGLUETaskAlsoPredictsFromJSONLAndFromGivenTexts() throws {
        let task = try glue(.mrpc, Self.mrpc)
        let file = try scratch.write(#"{"sentence1": "a", "sentence2": "b", "id": 7}"#, to: "input.jsonl")
        let rows = try task.rows(contentsOf: file, labelled: false)
        #expect(rows.map(\.json) == [.dictionary([("sentence1", "a"), ("sentence2", "b")])])
        let dataset = task.tokenize(rows)
        #expect(dataset.labels == .none && task.preview(dataset) == "[CLS] a [SEP] b [SEP]")
        #expect(task.tokenize([try task.row(text: "a", pair: "b")]).inputIDs == dataset.inputIDs)
        let error = failure { _ = try task.row(text: "a", pair: nil) }
        #expect(error?.message == "expected 2 texts (sentence1, sentence2), found 1")
    }

    // MARK: JSONL

    @Test("labels are sorted unless they are given") func labelsAreSortedUnlessTheyAreGiven() throws {
        let text = """
            {"text": "the weather", "label": "weather"}
            {"text_a": "a", "text_b": "b", "label": "alarm"}
            {"text": "c", "label": "zebra", "extra": 1}
            """
        let task = try jsonl(.classification, text)
        #expect(task.specification.labels == ["alarm", "weather", "zebra"])
        let dataset = try task.load(.train)
        #expect(dataset.labels == .classes([1, 0, 2]))
        #expect(Array(dataset.input(1)) == bert.encode(pair: ("a", "b"), maximumLength: 64).ids)
        let given = try jsonl(.classification, text, labels: ["zebra", "weather", "alarm"])
        #expect(try given.load(.train).labels == .classes([1, 2, 0]))
    }

    @Test("integer labels are sorted by value") func integerLabelsAreSortedByValue() throws {
        let text = [10, 9, 2, 10].map { #"{"text": "a", "label": \#($0)}"# }.joined(separator: "\n")
        let task = try jsonl(.classification, text)
        #expect(task.specification.labels == ["2", "9", "10"])
        #expect(try task.load(.train).labels == .classes([2, 1, 0, 2]))
    }

    @Test("labels that differ only in normalisation stay apart")
    func labelsThatDifferOnlyInNormalisationStayApart() throws {
        let text = #"{"text": "a", "label": "\u00e9"}"# + "\n" + #"{"text": "a", "label": "e\u0301"}"#
        let task = try jsonl(.classification, text)
        #expect(task.specification.labels?.count == 2)
        #expect(try task.load(.train).labels == .classes([1, 0]))
    }

    @Test("a text-to-text model answers with labels, digits and numbers")
    func aTextToTextModelAnswersWithLabelsDigitsAndNumbers() throws {
        let text = """
            {"text": "a light", "label": "movie"}
            {"text_a": "a", "text_b": "b", "label": "light"}
            """
        let words = try jsonl(.classification, text, .textToText)
        let dataset = try words.load(.train)
        #expect(dataset.labels == .classes([1, 0]))
        #expect(Array(dataset.target(0)) == t5.encode("movie") + [1])
        #expect(Array(dataset.input(1)) == t5.encode("text_a: a text_b: b") + [1])
        #expect(words.metrics(texts: ["movie ", "movie"], for: dataset).headline == 0.5)
        let digits = try jsonl(.classification, text, .textToText, labelStyle: .digits)
        #expect(Array(try digits.load(.train).target(0)) == t5.encode("1") + [1])
        #expect(digits.classIndex(of: " 1") == 1 && digits.classIndex(of: "2") == nil)
        let scores = try jsonl(.regression, #"{"text": "a", "label": -2.25}"#, .textToText)
        #expect(try scores.target(of: scores.rows(contentsOf: scores.specification.train)[0]) == "-2.2")
        #expect(try scores.load(.train).labels == .scores([-2.25]))
    }

    @Test("text to text keeps sources, targets and references")
    func textToTextKeepsSourcesTargetsAndReferences() throws {
        let long = String(repeating: "light ", count: 40)
        let text =
            #"{"source": "a light", "target": "the movie"}"# + "\n"
            + #"{"source": "\#(long)", "target": "b"}"#
        let task = try jsonl(.textToText, text, .textToText, maximumSequenceLength: 16)
        let dataset = try task.load(.train)
        #expect(dataset.labels == .texts(["the movie", "b"]))
        #expect(Array(dataset.target(0)) == t5.encode("the movie") + [1])
        #expect(dataset.input(1).count == 16 && dataset.input(1).last == 1)
        #expect(dataset.truncatedCount == 1)
        #expect(dataset.maximumTargetLength == t5.encode("the movie").count + 1)
    }

    @Test("a model of two vocabularies reads the one and writes the other") func twoVocabularies() throws {
        _ = try scratch.write(
            """
            {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
             "grapheme_chars": "____ab\u{E9}a", "phoneme_chars": "____\u{2C8}xe\u{301}"}
            """, to: "config.json")
        let task = try TextTask(
            TaskSpecification(kind: .textToText, train: "none"), style: .textToText,
            tokenizer: try Tokenizer(contentsOf: scratch.path))
        let data = task.tokenize([
            Row(fields: [Row.Field(name: "source", text: "ba")], label: .text("x\u{2C8}"))
        ])
        #expect(data.input(0).elementsEqual([1, 5, 7, 2]) && data.target(0).elementsEqual([1, 5, 4, 2]))
        #expect(task.text([1, 5, 4]) == "x\u{2C8}" && task.preview(data) == "<s>ba</s> → <s>x\u{2C8}</s>")
    }
}
