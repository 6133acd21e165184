import Families
import Models
import ReferenceFiles
import Stages
import Support
import Testing
import TextData

/// How each family reads the same data.
@Suite struct BatchBuilderTests {
    private func family(_ name: String) throws -> any ModelFamily {
        try readModelFamily(directory: "\(Reference.directory)/\(name)/checkpoint")
    }

    private let texts = TokenizedDataset(
        inputs: [[10, 11, 12], [20]], labels: .texts(["a", "b"]), targets: [[30, 31], [40, 41, 42]])
    private let classes = TokenizedDataset(inputs: [[0, 5, 2], [0, 6, 7, 2]], labels: .classes([1, 0]))

    @Test("an encoder-decoder model writes the target behind its start token") func encoderDecoder() throws {
        let builder = try BatchBuilder(texts, family("t5_v1_0"), head: .languageModel)
        let batch = builder.batch([1, 0])
        #expect(batch.input.ids == [20, 10, 11, 12] && batch.decoderInput.ids == [0, 40, 41, 0, 30])
        #expect(batch.targets == .tokens([40, 41, 42, 30, 31]) && batch.targetRows == [0, 1, 2, 3, 4])
        #expect(builder.generationBatch([1, 0]).decoderInput.ids == [0, 0])
        #expect(builder.termCount([0, 1]) == 5 && builder.tokenCount(0, .decoder) == 2)
    }

    @Test("a decoder-only model continues the input; each target is predicted from the row before it")
    func decoderOnly() throws {
        let builder = try BatchBuilder(texts, family("llama"), head: .languageModel)
        let batch = builder.batch([1, 0])
        // The last tokens of the targets predict nothing and are not computed.
        #expect(batch.input.ids == [20, 40, 41, 10, 11, 12, 30] && batch.decoderInput.ids.isEmpty)
        #expect(batch.input.positions == [0, 1, 2, 0, 1, 2, 3])
        #expect(batch.targets == .tokens([40, 41, 42, 30, 31]) && batch.targetRows == [0, 1, 2, 5, 6])
        #expect(builder.tokenCount(0, .decoder) == 4 && builder.tokenCount(1, .decoder) == 3)
        #expect(builder.termCount([0, 1]) == 5)
        #expect(builder.generationBatch([0]).input.ids == [10, 11, 12])
        let empty = TokenizedDataset(inputs: [[1], []], labels: .texts(["a", "b"]), targets: [[2], [3]])
        #expect(throws: Failure.self) {
            try BatchBuilder(empty, family("llama"), head: .languageModel)
        }
    }

    @Test("BART classifies what its decoder makes of the input, shifted by one") func bart() throws {
        let builder = try BatchBuilder(classes, family("bart_cls"), head: .classification(2))
        let batch = builder.batch([0, 1])
        #expect(batch.input.ids == [0, 5, 2, 0, 6, 7, 2] && batch.decoderInput.ids == [2, 0, 5, 2, 0, 6, 7])
        #expect(batch.targets == .classes([1, 0]))
        #expect(builder.termCount([0, 1]) == 2 && builder.tokenCount(1, .decoder) == 4)
        let unfinished = TokenizedDataset(inputs: [[0, 5, 2], [0, 6]], labels: .classes([1, 0]))
        do {
            _ = try BatchBuilder(unfinished, family("bart_cls"), head: .classification(2))
            Issue.record("nothing was thrown")
        } catch {
            #expect("\(error)".contains("sample 1: expected the token 2"))
        }
    }

    @Test("an encoder reads the input alone") func encoder() throws {
        let builder = try BatchBuilder(classes, family("bert_cls"), head: .classification(2))
        let batch = builder.batch([1])
        #expect(batch.input.ids == [0, 6, 7, 2] && batch.decoderInput.ids.isEmpty)
        #expect(batch.targets == .classes([0]))
    }
}
