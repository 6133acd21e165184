import Models
import Support
import TensorCore
import TextData
import Tokenizers

/// The frozen model of a case: token ids of the examples, then every activation b, logits and losses.
enum BackboneVerification {
    static func compare(_ reference: ReferenceCase, _ comparisons: inout Comparisons) throws {
        let batches = try reference.batches()
        let file = try reference.open("backbone")
        let model = try CaseModel(reference, ParallelAdapters(referenceCase: reference.entry))
        let head = model.model.head!
        for (i, batch) in batches.enumerated() {
            var activations: [(stack: StackKind, layer: Int, values: [Float])] = []
            let state = model.model.forward(nil, batch.packed) { activations.append(($0, $1, $2.values)) }
            for (stack, layer, values) in activations {
                let name = "batch\(i).\(stack.rawValue).b\(layer)"
                comparisons.near(values, try batch.real(name, stack, in: file), .activations, name)
            }
            let rows = head.backboneRows(
                state.backbone.hidden, head.selection(batch.packed), batch.packed)
            let logits = head.logits(rows)
            // For a language model only the first supervised rows are stored.
            let stored = try file.doubles("batch\(i).logits")
            comparisons.near(
                Array(logits.values.prefix(stored.count)), stored, .activations, "batch\(i).logits")
            let loss = "batch\(i).loss_f64"
            comparisons.near(
                [model.loss(logits, batch.packed)], try file.doubles(loss), over: 1, .losses, loss)
        }
    }

    /// Turns the manifest's texts into token ids and compares them with the batches.
    static func compareTokenIDs(_ reference: ReferenceCase, _ comparisons: inout Comparisons) throws {
        let batches = try reference.batches()
        let directory =
            reference.manifest.directory + "/" + (try reference.entry.required("tokenizer").string())
        let tokenizer = try Tokenizer(contentsOf: directory)
        let length = try maximumLength(reference)
        let examples = try reference.entry.required("examples").array().map { try $0.object() }
        let perBatch = examples.count / batches.count
        for (index, example) in examples.enumerated() {
            let batch = batches[index / perBatch].packed
            let row = index % perBatch
            let place = "example \(index)"
            let encoding: Encoding
            if let source = example.optional("source") {
                encoding = tokenizer.encode(single: try source.string(), maximumLength: length)
                let target = try example.required("target").string()
                let labels = tokenizer.encode(single: target, maximumLength: Int(Int32.max)).ids
                if case .tokens(let expected) = batch.targets {
                    comparisons.exact(labels, Array(expected[batch.decoderSpans[row]]), .tokenIDs, place)
                }
                let shifted = Array(batch.decoderInput.ids[batch.decoderSpans[row]])
                comparisons.exact(Array(labels.dropLast()), Array(shifted.dropFirst()), .tokenIDs, place)
            } else if let text = example.optional("prompt") {
                // The prompt, cut, then the answer and the end, which are to be learned.
                let prompt = tokenizer.encode(single: try text.string(), maximumLength: Int(Int32.max))
                    .ids.prefix(length)
                let answer = tokenizer.encode(try example.required("target").string())
                let span = batch.inputSpans[row]
                comparisons.exact(
                    prompt + answer, Array(batch.input.ids[span].dropLast()), .tokenIDs, place)
                let rows = batch.targetRows.indices.filter { span.contains(batch.targetRows[$0]) }
                if case .tokens(let targets) = batch.targets {
                    comparisons.exact(
                        answer, Array(rows.map { targets[$0] }.dropLast()), .tokenIDs, place)
                }
                continue
            } else {
                let pair = (
                    try example.required("sentence1").string(), try example.required("sentence2").string()
                )
                encoding = tokenizer.encode(pair: pair, maximumLength: length)
                let label = try example.required("label").number()
                switch batch.targets {
                case .classes(let labels): comparisons.exact([label], [Double(labels[row])], .tokenIDs, place)
                case .scores(let scores): comparisons.exact([Float(label)], [scores[row]], .tokenIDs, place)
                case .tokens, .none: break
                }
            }
            let span = batch.inputSpans[row]
            comparisons.exact(encoding.ids, Array(batch.input.ids[span]), .tokenIDs, place)
            if try reference.task() != .languageModel {
                comparisons.exact(encoding.typeIDs, Array(batch.input.typeIDs[span]), .tokenIDs, place)
            }
        }
    }

    /// The length that the manifest's sentence about batching names: "... are cut to 32 tokens ...".
    private static func maximumLength(_ reference: ReferenceCase) throws -> Int {
        let batching = try reference.entry.required("batching")
        let words = try batching.string().split(separator: " ")
        for (index, word) in words.enumerated() where word == "cut" && index + 2 < words.count {
            if words[index + 1] == "to", let length = Int(words[index + 2]) { return length }
        }
        throw batching.failure(expected: "a text that says \"cut to N tokens\"")
    }
}
