import ReferenceFiles
import Support
import Testing
import TextData
import Tokenizers

/// Every error names file, line and field, what was expected and what was found.
@Suite struct BadInputTests {
    let tasks: TaskTests

    init() throws { tasks = try TaskTests() }

    func message(_ name: GLUETask, _ text: String) throws -> String {
        let task = try tasks.glue(name, text)
        return short(failure { _ = try task.load(.train) })
    }

    func message(_ kind: TaskKind, _ text: String, labels: [String]? = nil, validation: String? = nil)
        -> String
    {
        short(
            failure {
                let task = try tasks.jsonl(kind, text, labels: labels, validation: validation)
                _ = try task.load(validation == nil ? .train : .validation)
            })
    }

    /// The message without the scratch directory; the exit status is checked on the way.
    func short(_ error: Failure?) -> String {
        guard let error, error.exitStatus == 2 else {
            return "no configuration failure: \(String(describing: error))"
        }
        return error.message.replacing(tasks.scratch.path + "/", with: "")
    }

    @Test func `TSV`() throws {
        #expect(
            try message(.sst2, "sentence\tlabel\na\t1\nb\n")
                == "train.tsv:3: label: expected 2 columns, found 1")
        #expect(
            try message(.sst2, "sentence\tlabel\na\tb\t1\n")
                == "train.tsv:2: row: expected 2 columns, found 3")
        #expect(
            try message(.sst2, "text\tlabel\na\t1\n")
                == #"train.tsv:1: sentence: expected a column of this name, found "text", "label""#)
        #expect(
            try message(.sst2, "sentence\tlabel\na\t2\n")
                == #"train.tsv:2: label: expected "0" or "1", found "2""#)
        #expect(
            try message(.qnli, "question\tsentence\tlabel\na\tb\t1\n")
                == #"train.tsv:2: label: expected "entailment" or "not_entailment", found "1""#)
        for score in ["x", "", "5.1", "nan", "0x1"] {
            #expect(
                try message(.stsb, "sentence1\tsentence2\tscore\na\tb\t\(score)\n")
                    == "train.tsv:2: score: expected a number from 0 to 5, found \"\(score)\"")
        }
        #expect(try message(.sst2, "sentence\tlabel\n") == "train.tsv: expected at least one row, found none")
        #expect(try message(.sst2, "") == "train.tsv: expected at least one row, found none")
    }

    @Test("bytes that are not UTF-8") func bytesThatAreNotUTF8() throws {
        let sst2 = try tasks.glue(.sst2, "x")
        _ = try tasks.scratch.write(
            Array("sentence\tlabel\na\t1\ncaf".utf8) + [0xE9] + Array("\t1\n".utf8), to: "train.tsv")
        #expect(
            short(failure { _ = try sst2.load(.train) })
                == "train.tsv:3: sentence: expected UTF-8, found the byte 0xE9")
        let task = try tasks.jsonl(.regression, #"{"text": "a", "label": 1}"#)
        _ = try tasks.scratch.write(
            Array("{\"text\": \"a\", \"label\": 1}\n{\"text\": \"".utf8) + [0xC3, 0x28] + Array("\"}".utf8),
            to: "train.jsonl")
        let found = short(failure { _ = try task.load(.train) })
        #expect(found.hasPrefix("train.jsonl:2: ") && found.contains("UTF-8"), "\(found)")
    }

    @Test("JSONL fields") func jsonlFields() {
        #expect(
            message(.classification, #"{"label": "a"}"#)
                == #"train.jsonl:1: text: expected either "text" or "text_a" and "text_b", found neither"#)
        #expect(
            message(.classification, #"{"text": "a", "text_b": "b", "label": "a"}"#)
                == #"train.jsonl:1: text: expected either "text" or "text_a" and "text_b", found both"#)
        #expect(
            message(.classification, #"{"text_a": "a", "label": "a"}"#)
                == "train.jsonl:1: text_b: expected this field, found none")
        #expect(
            message(.regression, #"{"text": "a", "label": 1}"# + "\n" + #"{"text": "b"}"#)
                == "train.jsonl:2: label: expected this field, found none")
        #expect(
            message(.regression, #"{"text": "a", "label": "1"}"#).hasPrefix(
                "train.jsonl:1: label: expected a number"))
        #expect(
            message(.classification, #"{"text": "a", "label": 1.5}"#)
                == "train.jsonl:1: label: expected a label (a text or an integer), found the number 1.5")
        #expect(
            message(.classification, #"{"text": 3, "label": "a"}"#)
                == "train.jsonl:1: text: expected a string, found the number 3")
        #expect(message(.regression, "[1]") == "train.jsonl:1: expected an object, found an array")
        #expect(message(.regression, #"{"text": "a""#).hasPrefix("train.jsonl:1: not valid JSON"))
        let blank = #"{"text": "a", "label": 1}"# + "\n\n" + #"{"text": "a", "label": 1}"#
        #expect(message(.regression, blank).hasPrefix("train.jsonl:2: "))
        #expect(message(.regression, "\n\n") == "train.jsonl: expected at least one row, found none")
    }

    @Test func `labels`() {
        let train = ["alarm", "light", "weather"].map { #"{"text": "a", "label": "\#($0)"}"# }.joined(
            separator: "\n")
        #expect(
            message(.classification, train, validation: #"{"text": "a", "label": "wether"}"#)
                == #"dev.jsonl:1: label: expected one of "alarm", "light", "weather", found "wether". "#
                + #"Did you mean "weather"?"#)
        #expect(
            message(.classification, train, labels: ["alarm", "light"])
                == #"train.jsonl:3: label: expected one of "alarm", "light", found "weather""#)
        #expect(
            message(.classification, #"{"text": "a", "label": "x"}"#)
                == #"train.jsonl: label: expected at least two different labels, found only "x""#)
        #expect(
            message(.classification, train, labels: ["a", "a"])
                == "task.labels: expected at least two labels, all different")
    }

    @Test func `specifications`() throws {
        let (bert, t5) = (tasks.bert, tasks.t5)
        func message(_ specification: TaskSpecification, _ style: ModelTaskStyle) -> String {
            short(
                failure {
                    let task = try TextTask(
                        specification, style: style, tokenizer: style == .encoder ? bert : t5)
                    _ = try task.load(.validation)
                })
        }
        #expect(
            message(.init(kind: .glue, train: "x"), .encoder)
                == #"task.name: expected one of "mrpc", "stsb", "sst2", "qnli" for the kind "glue", found null"#
        )
        #expect(message(.init(kind: .textToText, train: "x"), .encoder).hasPrefix("task.kind: expected "))
        #expect(
            message(.init(kind: .glue, name: .sst2, train: "x", maximumSequenceLength: 4), .encoder)
                == "task.max_sequence_length: expected at least 5, found 4")
        #expect(
            message(.init(kind: .glue, name: .sst2, train: "x"), .textToText)
                == "task.validation: expected a file, found null")
        #expect(
            message(.init(kind: .regression, train: "x", labels: ["a", "b"]), .encoder).hasPrefix(
                "task.labels: "))
        #expect(message(.init(kind: .classification, train: "/no/such"), .encoder).hasPrefix("/no/such: "))
        #expect(
            message(.init(kind: .glue, name: .sst2, train: "x", validationLimit: 0), .encoder)
                == "task.validation_limit: expected at least 1, found 0")
        // "ж" is not in the vocabulary of the test tokenizer.
        #expect(
            message(.init(kind: .classification, train: "x", labels: ["light", "ж"]), .textToText)
                .hasPrefix(#"task.labels: expected labels that the model can write, but "ж" comes back"#))
    }
}
