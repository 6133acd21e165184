import Models
import PlanExamples
import Plans
import Support
import Testing
import TinyRuns
import WeightFiles

/// What is saved of each technique: enough to get the run's figures again, the same from one rank and from four, and under
/// LoRA what PEFT reads.
@Suite(.serialized) struct AdapterTests {
    private static let techniques = [
        #"{"kind": "full"}"#, #"{"kind": "lora", "rank": 3}"#,
        #"{"kind": "adapters", "reduction_factor": 8}"#,
        #"{"kind": "parallel_adapters", "reduction_factor": 4}"#,
        #"{"kind": "parallel_adapters", "reduction_factor": 4, "adapter": "linear"}"#,
    ]

    private static let pairs = Plan.of(
        [(0..<3, [0, 1], [2, 2]), (3..<5, [2, 3], [2, 2])], microBatchCount: 2)

    @Test("a saved adapter gives the run's figures again, from one rank and from four", arguments: techniques)
    func aSavedAdapterGivesTheRunsFiguresAgain(technique: String) throws {
        let workshop = try Workshop()
        let settings = ["technique=\(technique)", "training.epochs=2", "training.learning_rate=0.01"]
        let alone = try workshop.train("alone", plan: .alone(layerCount: 5), settings: settings)
        let together = try workshop.train(ranks: 4, "together", plan: Self.pairs, settings: settings)
        let (one, four) = try (
            SafetensorsFile("\(alone.directory)/adapter/adapter_model.safetensors"),
            SafetensorsFile("\(together.directory)/adapter/adapter_model.safetensors")
        )
        #expect(one.entries.mapValues(\.shape) == four.entries.mapValues(\.shape))
        for name in one.entries.keys {
            // Softmax does not see BERT's key biases: what AdamW makes of their gradients is rounding.
            if name.hasSuffix("key.bias") { continue }
            let worst = zip(try one.floats(name), try four.floats(name)).map { abs($0 - $1) }.max() ?? 0
            #expect(worst < 1e-3, "\(name)")
        }
        let metrics = try #require(try together.metrics().last)
        for (ranks, plan) in [(1, Plan.alone(layerCount: 5)), (4, Self.pairs)] {
            let outcome = try workshop.run(
                ranks: ranks,
                ["evaluate", workshop.experiment, "--adapter", "\(together.directory)/adapter", "--json"]
                    + Workshop.arguments([], plan: plan))
            try #require(outcome.status == 0, "\(outcome.errors)")
            let found = try JSONValue(parsing: Array(outcome.lines[0].utf8), file: "output")
            for (name, value) in metrics {
                #expect(abs(try #require(found[name]?.number) - value) < 1e-6, "\(name)")
            }
        }
    }

    @Test("a LoRA directory has PEFT's names and keys") func aLoRADirectoryHasPEFTsNamesAndKeys() throws {
        let workshop = try Workshop()
        _ = try workshop.train(
            "run", plan: .alone(layerCount: 5),
            settings: [#"technique={"kind": "lora", "rank": 3, "alpha": 6}"#, "training.epochs=1"])
        let file = try SafetensorsFile("\(workshop.path)/run/adapter/adapter_model.safetensors")
        let layer = "base_model.model.bert.encoder.layer.0.attention.self"
        #expect(file.entries["\(layer).query.lora_A.weight"]?.shape == [3, 32])
        #expect(file.entries["\(layer).value.lora_B.weight"]?.shape == [32, 3])
        #expect(file.entries["base_model.model.classifier.weight"]?.shape == [3, 32])
        #expect(file.entries.count == 3 * 2 * 2 + 2)
        let path = "\(workshop.path)/run/adapter/adapter_config.json"
        let configuration = try JSONValue(contentsOf: path)
        #expect(
            configuration["peft_type"]?.string == "LORA" && configuration["task_type"]?.string == "SEQ_CLS")
        #expect(configuration["r"]?.integer == 3 && configuration["lora_alpha"]?.number == 6)
        #expect(configuration["target_modules"]?.array?.map(\.string) == ["query", "value"])
        #expect(configuration["modules_to_save"]?.array?.map(\.string) == ["classifier"])
        #expect(configuration["labels"]?.array?.map(\.string) == ["calm", "loud", "odd"])
    }

    @Test("a fully tuned model is a model of its own") func aFullyTunedModelIsAModelOfItsOwn() throws {
        let workshop = try Workshop()
        let settings = [#"technique={"kind": "full"}"#, "training.epochs=1", "training.learning_rate=0.01"]
        let tuned = try workshop.train("tuned", plan: .alone(layerCount: 5), settings: settings)
        let directory = "\(tuned.directory)/adapter"
        let configuration = try JSONValue(contentsOf: directory + "/config.json")
        #expect(configuration["architectures"]?.array?.map(\.string) == ["BertForSequenceClassification"])
        #expect(
            configuration["id2label"]?["2"]?.string == "odd"
                && configuration["label2id"]?["loud"]?.integer == 1)
        // Nothing is learned further: the figures are those with which the tuning ended.
        let again = try workshop.train(
            "again", plan: .alone(layerCount: 5),
            settings: ["model.path=\(directory)", "training.learning_rate=0", "training.epochs=1"])
        #expect(try again.metrics().last == tuned.metrics().last)
    }

    @Test("an adapter's page says what it is and whether it can be merged", arguments: techniques)
    func anAdaptersPageSaysWhatItIs(technique: String) throws {
        let workshop = try Workshop()
        _ = try workshop.train(
            "run", plan: .alone(layerCount: 5), settings: ["technique=\(technique)", "training.max_steps=1"])
        let page = String(decoding: try workshop.read("run/adapter/README.md"), as: UTF8.self)
        #expect(page.contains("adapter_model.safetensors") && page.contains("pac-mpi evaluate"))
        #expect(page.contains("cannot be merged") == technique.contains("parallel_adapters"))
    }
}
