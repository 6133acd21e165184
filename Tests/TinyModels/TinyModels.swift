import Families
import Foundation
import Models
import Support
import TensorCore
import Testing
import WeightFiles

/// The tiny checkpoints of the repository's reference cases.
package struct TinyModel: Sendable, CustomTestStringConvertible {
    package let name: String
    package let head: HeadKind
    package let reductionFactor: Int

    package static let all = [
        TinyModel(name: "bert_cls", head: .classification(3), reductionFactor: 4),
        TinyModel(name: "bert_reg", head: .regression, reductionFactor: 8),
        TinyModel(name: "t5_v1_0", head: .languageModel, reductionFactor: 8),
        TinyModel(name: "t5_v1_1", head: .languageModel, reductionFactor: 4),
        TinyModel(name: "bart_cls", head: .classification(2), reductionFactor: 4),
        TinyModel(name: "llama", head: .languageModel, reductionFactor: 4),
        TinyModel(name: "qwen2", head: .languageModel, reductionFactor: 4),
    ]

    package static func named(_ name: String) -> TinyModel { all.first { $0.name == name }! }

    package var testDescription: String { name }
    package var directory: String { Self.references + "/" + name }

    package static let references = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Reference").path

    package func family() throws -> any ModelFamily {
        try readModelFamily(directory: directory + "/checkpoint")
    }

    package func source(_ ledger: Ledger) throws -> CheckpointSource {
        let checkpoint = try Checkpoint(directory + "/checkpoint")
        return CheckpointSource(checkpoint, family: try family(), ledger: ledger)
    }

    /// A stage of the model with the perturbed trainable tensors of the reference: no gradient is zero by construction.
    package func stage(
        _ layers: Range<Int>? = nil, pooling: Pooling = .cls, head: HeadKind? = nil, ledger: Ledger
    ) throws -> StageModel {
        let family = try family()
        let model = try StageModel(
            family,
            .init(
                technique: ParallelAdapters(reductionFactor: reductionFactor), head: head ?? self.head,
                pooling: pooling),
            steps: family.steps(of: layers ?? 0..<family.plannerLayers.count), frozen: source(ledger),
            withBackbone: true, ledger: ledger)
        let values = try SafetensorsFile(directory + "/parallel_adapters.safetensors")
        for declaration in model.parameters.declarations {
            let name = "perturbed.param." + declaration.name
            guard values.entries[name] != nil else { continue }
            model.parameters.set(declaration.name, try values.floats(name))
        }
        return model
    }

    /// Packed sequences of random tokens, each of its own length. BART's inputs end as its classifier wants them; a
    /// decoder-only model predicts from the last rows of each input, as many as `outputs` says and there are.
    package func batch(
        inputs: [Int] = [5, 1, 9], outputs: [Int] = [3, 4, 1], head: HeadKind? = nil
    ) throws -> MicroBatch {
        let head = head ?? self.head
        let random = CounterRandom(2024)
        let family = try family()
        let vocabulary = UInt64(family.vocabularySize)
        func tokens(_ lengths: [Int], _ stream: UInt64) -> [[Int32]] {
            lengths.enumerated().map { i, length in
                (0..<length).map {
                    Int32(random.bits(at: stream << 32 | UInt64(i) << 16 | UInt64($0)) % vocabulary)
                }
            }
        }
        var sequences = tokens(inputs, 1)
        var decoderInputs = head == .languageModel && family.stacks.count == 2 ? tokens(outputs, 2) : []
        if case .lastOccurrence(let id) = family.head.classifier.token, head != .languageModel {
            for i in sequences.indices { sequences[i][sequences[i].count - 1] = id }
            decoderInputs = sequences.map { [family.generationTokens!.start!] + $0.dropLast() }
        }
        var targetCounts = outputs
        var targetRows: [Int]?
        if head == .languageModel, family.stacks.count == 1 {
            targetCounts = zip(inputs, outputs).map { min($0, $1) }
            let ends = inputs.indices.map { inputs[...$0].reduce(0, +) }
            targetRows = zip(ends, targetCounts).flatMap { Array($0 - $1..<$0) }
        }
        let targets: Targets =
            switch head {
            case .languageModel: .tokens(tokens(targetCounts, 3).flatMap { $0 })
            case .classification(let count): .classes(inputs.indices.map { Int32($0 % count) })
            case .regression: .scores(inputs.indices.map { Float($0) })
            }
        return MicroBatch(
            sampleIDs: Array(inputs.indices), inputs: sequences,
            types: inputs.map { length in (0..<length).map { $0 < length / 2 ? 0 : 1 } },
            decoderInputs: decoderInputs, targets: targets, targetRows: targetRows)
    }
}

extension MicroBatch {
    /// One sample of the batch.
    package func part(_ i: Int) -> MicroBatch {
        let span = decoderSpans.isEmpty ? inputSpans[i] : decoderSpans[i]
        let kept = targetRows.indices.filter { span.contains(targetRows[$0]) }
        let targets: Targets =
            switch self.targets {
            case .classes(let labels): .classes([labels[i]])
            case .scores(let scores): .scores([scores[i]])
            case .tokens(let tokens): .tokens(kept.map { tokens[$0] })
            case .none: .none
            }
        return MicroBatch(
            sampleIDs: [sampleIDs[i]], inputs: [Array(input.ids[inputSpans[i]])],
            types: [Array(input.typeIDs[inputSpans[i]])],
            decoderInputs: decoderSpans.isEmpty ? [] : [Array(decoderInput.ids[decoderSpans[i]])],
            targets: targets, targetRows: kept.map { targetRows[$0] - span.lowerBound })
    }
}

extension StageModel {
    /// The loss of the last stage's state and, in the bucket, its gradients.
    package func backwardLoss(_ state: HiddenState, _ batch: MicroBatch, dropout: DropoutKeys? = nil)
        -> Double
    {
        let weight = 1 / Float(max(1, batch.targets.termCount))
        let loss = head!.loss(logits(state, batch, dropout: dropout), batch.targets, weight: weight)
        loss.backward()
        return loss.sum * Double(weight)
    }

    /// Every gradient by name.
    package func gradients() -> [String: [Float]] {
        Dictionary(
            uniqueKeysWithValues: parameters.declarations.map { ($0.name, parameters.gradient(of: $0.name)!) }
        )
    }
}

/// A directory that is removed when the test lets go of it.
package final class ScratchDirectory {
    package let path = NSTemporaryDirectory() + "pac-mpi-models-" + UUID().uuidString

    package init() throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// The text of the failure that an expression throws.
package func failure(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "nothing was thrown"
    } catch { return (error as? Failure)?.message ?? "another error: \(error)" }
}
