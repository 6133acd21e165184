import Families
import Models
import Support
import TensorCore
import Testing
import TinyModels

@Suite struct FamilyTests {
    private func family(_ text: String, generation: String? = nil) throws -> any ModelFamily {
        func reader(_ text: String, _ file: String) throws -> JSONReader {
            try JSONReader(parsing: Array(text.utf8), file: file)
        }
        return try readModelFamily(
            reader(text, "config.json"),
            generation: generation.map { try reader($0, "generation_config.json") })
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
        #expect(llama.generationTokens?.ends == [2] && llama.block(.decoder, 0).attentions[0].headSize == 128)
        let qwen2 = try family(
            #"{"model_type": "qwen2", "tie_word_embeddings": true, "eos_token_id": [5, 7]}"#)
        #expect(
            qwen2.vocabularySize == 151_936 && qwen2.head.languageModel?.weight == qwen2.tokenEmbeddingName)
        #expect(qwen2.generationTokens?.start == nil && qwen2.generationTokens?.ends == [5, 7])
        let plain = try family(#"{"model_type": "qwen2"}"#)
        #expect(plain.generationTokens?.ends == [] && plain.head.languageModel?.weight == "lm_head.weight")
    }

    @Test("which matrices have biases is the family's or the configuration's to say")
    func biases() throws {
        func flags(_ text: String) throws -> [Bool] {
            let block = try family(text).block(.decoder, 0)
            return [
                block.attentions[0].hasInputBias, block.attentions[0].hasOutputBias,
                block.feedForward.hasBias,
            ]
        }
        #expect(try flags(#"{"model_type": "llama"}"#) == [false, false, false])
        #expect(try flags(#"{"model_type": "llama", "attention_bias": true}"#) == [true, true, false])
        #expect(try flags(#"{"model_type": "llama", "mlp_bias": true}"#) == [false, false, true])
        #expect(try flags(#"{"model_type": "qwen2"}"#) == [true, false, false])
        #expect(
            try flags(#"{"model_type": "qwen2", "attention_bias": true, "mlp_bias": true}"#) == [
                true, false, false,
            ])
    }

    @Test("classes whose layers a family runs, and flags without effect") func whatIsAccepted() throws {
        for text in [
            #"{"model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_act": "gelu_python"}"#,
            #"{"model_type": "t5", "architectures": ["T5WithLMHeadModel"], "is_encoder_decoder": true}"#,
            #"{"model_type": "bart", "architectures": ["BartModel"], "normalize_before": false}"#,
            #"{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "rope_scaling": null}"#,
            #"{"model_type": "llama", "hidden_act": "swish", "partial_rotary_factor": 1.0}"#,
            #"{"model_type": "llama", "hidden_size": 40, "num_attention_heads": 6, "head_dim": 8}"#,
            // The published Qwen2 files: a window that is switched off, or starts behind the last layer.
            #"{"model_type": "qwen2", "use_sliding_window": false, "sliding_window": 4096}"#,
            #"{"model_type": "qwen2", "use_sliding_window": true, "max_window_layers": 32}"#,
            #"{"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 32768}"#,
            #"{"model_type": "qwen2", "use_sliding_window": true, "layer_types": ["full_attention"]}"#,
        ] {
            #expect(failure { _ = try family(text) } == "nothing was thrown", "\(text)")
        }
    }

    @Test("activation functions by all of their names") func activationFunctions() throws {
        func bert(_ name: String) throws -> ActivationFunction {
            try family(#"{"model_type": "bert", "hidden_act": "\#(name)"}"#).block(.encoder, 0).feedForward
                .activation
        }
        #expect(try bert("gelu") == .gelu && bert("gelu_python") == .gelu && bert("relu") == .relu)
        #expect(try bert("gelu_new") == .geluTanh && bert("gelu_pytorch_tanh") == .geluTanh)
        #expect(try bert("silu") == .silu && bert("swish") == .silu)
        func t5(_ name: String) throws -> FeedForwardDescription {
            try family(#"{"model_type": "t5", "feed_forward_proj": "\#(name)"}"#).block(.encoder, 0)
                .feedForward
        }
        #expect(try t5("relu").activation == .relu && t5("relu").inputs.count == 1)
        // Of this name alone Hugging Face makes the tanh form.
        #expect(try t5("gated-gelu").activation == .geluTanh && t5("gated-gelu").inputs.count == 2)
        #expect(try t5("gelu").activation == .gelu && t5("gated-silu").activation == .silu)
    }

    @Test("T5's head is scaled with a tied matrix only, as older and newer files say it")
    func t5sHead() throws {
        func head(_ keys: String) throws -> LanguageModelDescription {
            try #require(try family(#"{"model_type": "t5", \#(keys)}"#).head.languageModel)
        }
        #expect(try head(#""tie_word_embeddings": false"#).weight == "lm_head.weight")
        #expect(try head(#""tie_word_embeddings": false"#).inputScale == 1)
        let newer = try head(#""tie_word_embeddings": true, "scale_decoder_outputs": false"#)
        #expect(newer.weight == "lm_head.weight" && newer.inputScale == 1)
        #expect(try head(#""scale_decoder_outputs": true"#).weight == "shared.weight")
    }

    @Test("where a text begins and ends: config.json, or generation_config.json, which counts")
    func generationTokens() throws {
        func tokens(_ model: String, _ generation: String? = nil) throws -> GenerationTokens {
            try #require(try family(model, generation: generation).generationTokens)
        }
        let bart = try tokens(#"{"model_type": "bart", "decoder_start_token_id": 1, "eos_token_id": 4}"#)
        #expect(bart.start == 1 && bart.ends == [4] && bart.forcedFirst == nil)
        #expect(try tokens(#"{"model_type": "bart", "forced_bos_token_id": 0}"#).forcedFirst == 0)
        let oldest = #"{"model_type": "bart", "force_bos_token_to_be_generated": true, "bos_token_id": 7}"#
        #expect(try tokens(oldest).forcedFirst == 7)
        let both = try tokens(
            #"{"model_type": "bart", "eos_token_id": 2}"#,
            #"{"forced_bos_token_id": 3, "eos_token_id": [2, 9]}"#)
        #expect(both.forcedFirst == 3 && both.ends == [2, 9] && both.start == 2)
        let llama = try tokens(
            #"{"model_type": "llama", "eos_token_id": 128001}"#, #"{"eos_token_id": [128001, 128009]}"#)
        #expect(llama.ends == [128_001, 128_009])
        #expect(try tokens(#"{"model_type": "llama", "eos_token_id": null}"#).ends == [])
        let t5 = try tokens(#"{"model_type": "t5", "pad_token_id": 3}"#)
        #expect(t5.start == 3 && t5.ends == [1])
    }

    @Test("the padding token, whose row the lookup does not train") func paddingTokens() throws {
        func padding(_ text: String) throws -> Int32? { try family(text).paddingID }
        #expect(try padding(#"{"model_type": "bert"}"#) == 0)
        #expect(try padding(#"{"model_type": "bert", "pad_token_id": null}"#) == nil)
        #expect(try padding(#"{"model_type": "bart"}"#) == 1)
        #expect(try padding(#"{"model_type": "bart", "pad_token_id": 0}"#) == 0)
        #expect(try padding(#"{"model_type": "llama"}"#) == nil)
        #expect(try padding(#"{"model_type": "llama", "pad_token_id": -1}"#) == 31_999)
        #expect(try padding(#"{"model_type": "qwen2", "pad_token_id": 151643}"#) == 151_643)
        #expect(try padding(#"{"model_type": "t5", "pad_token_id": 0}"#) == nil)
        let message = failure { _ = try padding(#"{"model_type": "llama", "pad_token_id": 32000}"#) }
        #expect(message.contains("config.json:1: pad_token_id: expected an integer from -32000 to 31999"))
    }

    @Test("where families drop elements, and how likely") func dropoutPlaces() throws {
        func dropout(_ text: String) throws -> (Double, DropoutPlaces) {
            let family = try family(text)
            let block = family.block(family.lastStack.kind, 0)
            #expect(block.feedForward.dropoutPlaces == family.dropoutPlaces)
            #expect(block.attentions.allSatisfy { $0.dropoutPlaces == family.dropoutPlaces })
            #expect(family.dropsEmbedding == family.dropoutPlaces.contains(.embedding))
            #expect(family.dropsFinalNorm == family.dropoutPlaces.contains(.finalNorm))
            return (family.dropout, family.dropoutPlaces)
        }
        #expect(try dropout(#"{"model_type": "bert"}"#) == (0.1, [.embedding, .outputs, .probabilities]))
        #expect(
            try dropout(#"{"model_type": "bert", "hidden_dropout_prob": 0}"#) == (0.1, .probabilities))
        let t5: DropoutPlaces = [.embedding, .outputs, .probabilities, .activations, .finalNorm]
        #expect(try dropout(#"{"model_type": "t5", "dropout_rate": 0.2}"#) == (0.2, t5))
        #expect(try dropout(#"{"model_type": "bart"}"#) == (0.1, [.embedding, .outputs]))
        #expect(
            try dropout(#"{"model_type": "bart", "attention_dropout": 0.1, "activation_dropout": 0.1}"#)
                == (0.1, [.embedding, .outputs, .probabilities, .activations]))
        // An experiment may ask for dropout where the configuration has none.
        #expect(try dropout(#"{"model_type": "llama"}"#) == (0, .probabilities))
        #expect(
            try dropout(#"{"model_type": "t5", "dropout_rate": 0}"#) == (0, t5))
        #expect(
            try dropout(#"{"model_type": "qwen2", "attention_dropout": 0.05}"#) == (0.05, .probabilities))
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
            (
                #"{"model_type": "llama", "rope_parameters": {"rope_type": "longrope", "factor": 4}}"#,
                "config.json:1: rope_parameters.rope_type: expected one of"
            ),
            (
                #"{"model_type": "llama", "rope_scaling": {"type": "dynamic", "factor": 4}}"#,
                "config.json:1: rope_scaling.type: expected one of"
            ),
            (
                #"{"model_type": "llama", "rope_scaling": {"factor": 4}}"#,
                "\"rope_scaling.rope_type\" is missing"
            ),
            (
                #"{"model_type": "qwen2", "rope_parameters": {"full_attention": {"rope_theta": 9}}}"#,
                "rope_parameters.full_attention: expected a number or a name"
            ),
            (
                #"{"model_type": "llama", "rope_parameters": {"partial_rotary_factor": 0.5}}"#,
                "rope_parameters.partial_rotary_factor: expected 1"
            ),
            (
                #"""
                {"model_type": "llama", "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
                "high_freq_factor": 4, "original_max_position_embeddings": 64}}
                """#,
                "config.json:2: rope_scaling.high_freq_factor: expected a number above low_freq_factor"
            ),
            (#"{"model_type": "qwen2", "use_sliding_window": true}"#, "use_sliding_window: expected false"),
            (
                #"""
                {"model_type": "qwen2", "use_sliding_window": true,
                "layer_types": ["full_attention", "sliding_attention"]}
                """#, "config.json:2: layer_types[1]: expected \"full_attention\""
            ),
            (
                #"{"model_type": "t5", "architectures": ["T5EncoderModel"]}"#,
                "config.json:1: architectures[0]: expected one of \"T5ForConditionalGeneration\""
            ),
            (
                #"{"model_type": "bert", "architectures": ["BertLMHeadModel"]}"#,
                "config.json:1: architectures[0]: expected one of \"BertModel\""
            ),
            (#"{"model_type": "bert", "is_decoder": true}"#, "is_decoder: expected false"),
            (
                #"{"model_type": "bart", "architectures": ["BartForCausalLM"]}"#,
                "architectures[0]: expected one of"
            ),
            (#"{"model_type": "qwen2", "architectures": ["LlamaForCausalLM"]}"#, "\"Qwen2ForCausalLM\""),
            (#"{"model_type": "t5", "is_encoder_decoder": false}"#, "is_encoder_decoder: expected true"),
            (
                #"{"model_type": "bart", "activation_function": "mish"}"#,
                "activation_function: expected one of"
            ),
            (#"{"model_type": "llama", "hidden_act": "relu2"}"#, "hidden_act: expected one of"),
            (
                #"{"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}"#,
                "config.json:1: quantization_config: expected none"
            ),
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
                #"{"model_type": "t5", "feed_forward_proj": "gated-tanh"}"#,
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
        // The older key wins where both stand, and a base beside an unscaled object is still read.
        #expect(
            near(
                try frequencies(
                    #", "rope_scaling": {"rope_type": "linear", "factor": 2}, "rope_theta": 16, "rope_parameters": {}"#
                ),
                [0.5, 0.25, 0.125, 0.0625]))
        // Wavelengths 6.3 and 62.8 stay or are in between (share (512 / 62.8 - 1) / 15); 628 and 6283 are stretched.
        let share = (512 / (20 * Double.pi) - 1) / 15
        #expect(
            near(
                try frequencies(
                    #"""
                    , "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
                    "high_freq_factor": 16, "original_max_position_embeddings": 512}
                    """#),
                [1, 0.1 * (share + (1 - share) / 8), 0.01 / 8, 0.001 / 8]))
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
