import Models
import Support
import TensorCore
import Testing

@Suite struct FamilyTests {
    private func family(_ text: String) throws -> any ModelFamily {
        try readModelFamily(
            JSONReader(JSONValue(parsing: Array(text.utf8), file: "config.json"), file: "config.json"))
    }

    @Test("absent keys of a configuration have the published defaults")
    func absentKeysOfAConfigurationHaveThePublishedDefaults() throws {
        let bert = try family(#"{"model_type": "bert"}"#)
        #expect(bert.hiddenSize == 768 && bert.vocabularySize == 30522 && bert.blockCount(.encoder) == 12)
        #expect(bert.maximumPositions == 512 && bert.dropout == 0.1 && bert.plannerLayers.count == 14)
        let t5 = try family(#"{"model_type": "t5"}"#)
        #expect(t5.hiddenSize == 512 && t5.vocabularySize == 32128 && t5.maximumPositions == nil)
        #expect(t5.blockCount(.encoder) == 6 && t5.blockCount(.decoder) == 6)
        #expect(t5.head.languageModel?.name == "shared.weight")
        #expect(t5.head.languageModel?.inputScale == 1 / Float(512).squareRoot())
    }

    @Test(
        "configurations that cannot be run are errors",
        arguments: [
            (#"{"model_type": "gpt2"}"#, "config.json:1: model_type: expected one of \"bert\", \"t5\""),
            (#"{}"#, "\"model_type\" is missing"),
            (#"{"model_type": "bert", "hidden_size": 0}"#, "hidden_size: expected an integer"),
            (
                #"{"model_type": "bert", "hidden_size": 100, "num_attention_heads": 12}"#,
                "num_attention_heads to divide"
            ),
            (#"{"model_type": "bert", "hidden_act": "tanh"}"#, "hidden_act: expected one of"),
            (
                #"{"model_type": "bert", "position_embedding_type": "relative_key"}"#,
                "position_embedding_type"
            ),
            (
                #"{"model_type": "t5", "feed_forward_proj": "gated-relu"}"#,
                "feed_forward_proj: expected one of"
            ),
            (#"{"model_type": "t5", "dropout_rate": 2}"#, "dropout_rate: expected a number"),
        ])
    func configurationsThatCannotBeRunAreErrors(text: String, expected: String) {
        let message = failure { _ = try family(text) }
        #expect(message.contains(expected), "\(message)")
    }

    @Test("a reduction factor that does not divide names the size")
    func aReductionFactorThatDoesNotDivideNamesTheSize() throws {
        let bert = try family(#"{"model_type": "bert"}"#)
        #expect(try bert.reduced(by: 8).hiddenSize == 96)
        let message = failure { _ = try bert.reduced(by: 5) }
        #expect(
            message.contains("technique.reduction_factor")
                && message.contains("hidden size, which is 768, found 5"))
        // 768 = 48 x 16 divides, heads of 64 do not.
        #expect(failure { _ = try bert.reduced(by: 48) }.contains("head size, which is 64, found 48"))
        let t5 = try family(#"{"model_type": "t5", "d_model": 512, "d_kv": 64, "d_ff": 100}"#)
        #expect(failure { _ = try t5.reduced(by: 8) }.contains("d_ff, which is 100, found 8"))
        #expect(failure { _ = try t5.reduced(by: 0) }.contains("found 0"))
    }

    @Test("the planner's layers: the decoder's lookup belongs to its first block")
    func thePlannersLayersTheDecodersLookupBelongsToItsFirstBlock() throws {
        let t5 = try TinyModel.all[3].family()
        let layers = t5.plannerLayers
        #expect(
            layers.map(\.name) == [
                "embedding", "encoder 0", "encoder 1", "decoder 0", "decoder 1", "decoder 2", "head",
            ])
        #expect(layers[3].steps == [.embedding(.decoder), .block(.decoder, 0)])
        #expect(t5.steps(of: 4..<7) == [.block(.decoder, 1), .block(.decoder, 2), .head])
    }

    @Test("a text task is an error for an encoder model") func aTextTaskIsAnErrorForAnEncoderModel() throws {
        let bert = TinyModel.all[0]
        let message = failure { _ = try bert.stage(head: .languageModel, ledger: Ledger()) }
        #expect(message.contains("bert") && message.contains("task.kind"))
    }

    @Test("buckets of distances, exact near and in the last far away")
    func bucketsOfDistancesExactNearAndInTheLastFarAway() {
        // By hand, 8 buckets to distance 20: 4 a side, 0 and 1 exact, then 2 + floor(ln(n / 2) / ln(10) * 2).
        let both = RelativeBuckets(count: 8, maximumDistance: 20, isBidirectional: true)
        #expect([0, -1, -2, -6, -7, -20, -500].map { both($0) } == [0, 1, 2, 2, 3, 3, 3])
        #expect([1, 2, 7, 500].map { both($0) } == [5, 6, 7, 7])
        let past = RelativeBuckets(count: 8, maximumDistance: 20, isBidirectional: false)
        #expect([5, 0, -3, -4, -20, -500].map { past($0) } == [0, 0, 3, 4, 7, 7])
    }
}
