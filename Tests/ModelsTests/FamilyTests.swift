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
        #expect(t5.head.languageModel?.weight == "shared.weight")
        #expect(t5.head.languageModel?.inputScale == 1 / Float(512).squareRoot())
        let bart = try family(#"{"model_type": "bart"}"#)
        #expect(bart.hiddenSize == 1024 && bart.vocabularySize == 50265 && bart.maximumPositions == 1024)
        #expect(bart.blockCount(.encoder) == 12 && bart.blockCount(.decoder) == 12)
        #expect(bart.generationTokens?.start == 2 && bart.generationTokens?.ends == [2])
        let llama = try family(#"{"model_type": "llama"}"#)
        #expect(llama.hiddenSize == 4096 && llama.vocabularySize == 32000 && llama.stacks.count == 1)
        #expect(llama.blockCount(.decoder) == 32 && llama.head.languageModel?.weight == "lm_head.weight")
        #expect(llama.rotaryFrequencies(.decoder)?.count == 64)
        let qwen2 = try family(
            #"{"model_type": "qwen2", "tie_word_embeddings": true, "eos_token_id": [5, 7]}"#)
        #expect(
            qwen2.vocabularySize == 151_936 && qwen2.head.languageModel?.weight == qwen2.tokenEmbeddingName)
        #expect(qwen2.generationTokens?.start == nil && qwen2.generationTokens?.ends == [5, 7])
    }

    @Test(
        "configurations that cannot be run are errors",
        arguments: [
            (
                #"{"model_type": "gpt2"}"#,
                "config.json:1: model_type: expected one of \"bert\", \"t5\", \"bart\""
            ),
            (
                #"{"model_type": "llama", "rope_scaling": {"rope_type": "yarn", "factor": 4}}"#,
                "config.json:1: rope_scaling.rope_type: expected one of \"default\", \"linear\", \"llama3\""
            ),
            (
                #"{"model_type": "llama", "rope_scaling": {"type": "linear"}}"#,
                "\"rope_scaling.factor\" is missing"
            ),
            (#"{"model_type": "qwen2", "use_sliding_window": true}"#, "use_sliding_window: expected false"),
            (
                #"{"model_type": "llama", "num_attention_heads": 6, "hidden_size": 48, "num_key_value_heads": 4}"#,
                "found 6 heads, 4 key/value heads of size 8"
            ),
            (#"{"model_type": "llama", "partial_rotary_factor": 0.5}"#, "partial_rotary_factor: expected 1"),
            (#"{"model_type": "bart", "normalize_before": true}"#, "normalize_before: expected false"),
            (#"{"model_type": "bart", "decoder_attention_heads": 10}"#, "decoder_attention_heads to divide"),
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

    @Test(
        "rotary frequencies: plain, slower by a factor, in either form of the file; every k-th when reduced")
    func rotaryFrequencies() throws {
        func frequencies(_ more: String, k: Int = 1) throws -> [Float] {
            let llama = try family(
                #"{"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4"# + more + "}")
            let reduced: any ModelFamily = try llama.reduced(by: k)
            return try #require(reduced.rotaryFrequencies(.decoder))
        }
        func near(_ found: [Float], _ expected: [Double]) -> Bool {
            found.count == expected.count
                && zip(found, expected).allSatisfy { abs(Double($0) - $1) <= 1e-6 * $1 }
        }
        #expect(near(try frequencies(""), [1, 0.1, 0.01, 0.001]))
        #expect(
            near(
                try frequencies(#", "rope_theta": 1000000"#),
                [1, 0.0316227766016838, 1e-3, 3.16227766016838e-5]))
        #expect(
            near(
                try frequencies(#", "rope_scaling": {"type": "linear", "factor": 4}"#),
                [0.25, 0.025, 0.0025, 0.00025]))
        #expect(
            near(
                try frequencies(#", "rope_parameters": {"rope_type": "default", "rope_theta": 16}"#),
                [1, 0.5, 0.25, 0.125]))
        #expect(near(try frequencies("", k: 2), [1, 0.01]))
        let message = failure { _ = try frequencies("", k: 8) }
        #expect(message.contains("pairs of a head's dimensions, which is 4, found 8"), "\(message)")
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
