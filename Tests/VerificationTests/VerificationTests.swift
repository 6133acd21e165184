import Foundation
import ReferenceFiles
import Support
import Testing
import Verification

@Suite struct VerificationTests {
    private func verify(_ path: String, _ techniques: [String]? = nil) throws -> VerificationReport {
        try ReferenceVerifier(paths: [path], techniques: techniques).run()
    }

    @Test(
        "every group of a case is within its tolerance",
        arguments: ["bert_cls", "bert_reg", "t5_v1_0", "t5_v1_1", "bart_cls", "llama", "qwen2"])
    func everyGroupOfACaseIsWithinItsTolerance(name: String) throws {
        let report = try verify("\(Reference.directory)/\(name)")
        #expect(report.passed, "\n\(report.table)")
        let groups = Set(report.rows.map { "\($0.part): \($0.group)" })
        for group in ["token ids", "activations", "losses"] { #expect(groups.contains("backbone: \(group)")) }
        let common = ["losses", "gradients", "20-step trajectories"]
        for group in common { #expect(groups.contains("full: \(group)")) }
        let inside = ["lora", "adapters"]
        for file in inside {
            for group in common + ["activations"] { #expect(groups.contains("\(file): \(group)")) }
        }
        let beside =
            ["parallel_adapters"]
            + (["bert_cls", "t5_v1_0", "qwen2"].contains(name) ? ["parallel_adapters_lst"] : [])
        for file in beside {
            for group in common + ["activations", "parameters after"] {
                #expect(groups.contains("\(file): \(group)"))
            }
        }
        for group in ["pruning plan", "initial tensors"] + (name.hasPrefix("t5") ? ["greedy ids"] : []) {
            #expect(groups.contains("parallel_adapters: \(group)"))
        }
    }

    @Test(
        "tokenizers and tables", arguments: ["tokenizers/wordpiece_bert", "tokenizers/unigram_t5", "tables"])
    func tokenizersAndTables(path: String) throws {
        let report = try verify("\(Reference.directory)/\(path)")
        #expect(report.passed, "\n\(report.table)")
        let groups =
            path == "tables"
            ? [
                "position buckets", "activation functions", "AdamW with schedule and clipping", "texts",
                "metrics",
            ] : ["token ids", "texts"]
        #expect(report.rows.map(\.group) == groups)
    }

    @Test("what this build cannot check fails and is never passed over")
    func whatThisBuildCannotCheckFailsAndIsNeverPassedOver() throws {
        let copy = try CaseCopy("bert_reg")
        try copy.rename("lora", to: "prompts")
        let report = try verify(copy.directory)
        let failed = report.rows.filter { !$0.passed }
        #expect(failed.map(\.part) == ["prompts"])
        #expect(failed.allSatisfy { $0.detail.contains("this build cannot check") })
    }

    @Test("a seed's directory is checked whole") func aSeedsDirectoryIsCheckedWhole() throws {
        let all = try verify(Reference.directory, ["parallel_adapters"])
        #expect(all.passed, "\n\(all.table)")
    }

    @Test("paths with nothing to compare are errors") func pathsWithNothingToCompareAreErrors() throws {
        let copy = try CaseCopy("bert_reg")
        func message(_ path: String, _ techniques: [String]? = nil) -> String {
            do {
                _ = try verify(path, techniques)
                return "nothing was thrown"
            } catch { return "\(error)" }
        }
        #expect(message(copy.root + "/nowhere").contains("No such file"))
        #expect(message(copy.directory, ["prompts"]).contains("found \"prompts\""))
        try FileManager.default.moveItem(atPath: copy.directory, toPath: copy.root + "/stranger")
        #expect(message(copy.root + "/stranger").contains("lists, found \"stranger\""))
        try FileManager.default.removeItem(atPath: copy.root + "/manifest.json")
        #expect(message(copy.root + "/stranger").contains("with its manifest.json beside it"))
        let empty = JSONValue.dictionary([("cases", .dictionary([])), ("tokenizers", .dictionary([]))])
        try writeFileAtomically(empty.text(), to: copy.root + "/manifest.json")
        #expect(message(copy.root + "/stranger").contains("stranger"))
    }

    /// A file of the case, a tensor in it, and the group that must notice.
    @Test(
        "a changed number fails its group",
        arguments: [
            ("backbone", "batch1.encoder.b1", "activations"), ("backbone", "batch0.loss_f64", "losses"),
            ("backbone", "batch0.logits", "activations"),
            ("parallel_adapters", "prune.bert.encoder.layer.1.ffn", "pruning plan"),
            ("parallel_adapters", "prune.residual", "pruning plan"),
            ("parallel_adapters", "init.param.side.up.bias", "initial tensors"),
            ("parallel_adapters", "perturbed.batch0.encoder.u1", "activations"),
            ("parallel_adapters", "perturbed.batch0.z", "activations"),
            ("parallel_adapters", "perturbed.loss_f64", "losses"),
            ("parallel_adapters", "init.grad.classifier.bias", "gradients"),
            ("parallel_adapters", "perturbed.grad.side.encoder.gate.2", "gradients"),
            ("parallel_adapters", "init.after_f64", "20-step trajectories"),
            ("parallel_adapters", "perturbed.trajectory_f64", "20-step trajectories"),
            ("parallel_adapters", "perturbed.param_after.side.up.weight", "parameters after"),
            ("full", "init.grad.bert.embeddings.LayerNorm.weight", "gradients"),
            ("full", "init.after_f64", "20-step trajectories"),
            ("lora", "perturbed.logits", "activations"),
            ("lora", "perturbed.grad.classifier.weight", "gradients"),
            ("adapters", "init.loss_f64", "losses"),
            ("batches", "batch0.input_ids", "token ids"),
        ])
    func aChangedNumberFailsItsGroup(file: String, tensor: String, group: String) throws {
        let copy = try CaseCopy("bert_reg")
        try copy.change(tensor, in: file)
        let report = try verify(copy.directory)
        #expect(report.rows.contains { !$0.passed && $0.group == group }, "\n\(report.table)")
    }

    @Test("what is no number is infinitely wrong", arguments: [Float.nan, .infinity])
    func whatIsNoNumberIsInfinitelyWrong(value: Float) throws {
        let copy = try CaseCopy("bert_reg")
        try copy.change("perturbed.batch0.encoder.a1", in: "parallel_adapters", to: value)
        let report = try verify(copy.directory)
        let row = try #require(report.rows.first { !$0.passed })
        #expect(row.group == "activations" && row.largestError == .infinity)
        #expect(
            report.json.array?.contains { $0["largest_error"] == .null && $0["passed"]?.bool == false }
                == true)
        #expect(report.table.contains(" inf "))
    }

    @Test("listed files that are missing or damaged fail") func listedFilesThatAreMissingOrDamagedFail()
        throws
    {
        for file in ["backbone.safetensors", "parallel_adapters.safetensors", "checkpoint/model.safetensors"]
        {
            let copy = try CaseCopy("bert_reg")
            let bytes = try readFile("\(copy.directory)/\(file)")
            try writeFileAtomically(Array(bytes.dropLast(10)), to: "\(copy.directory)/\(file)")
            let truncated = try verify(copy.directory)
            #expect(
                truncated.rows.contains { !$0.passed && $0.detail.contains(file) }, "\n\(truncated.table)")
            try FileManager.default.removeItem(atPath: "\(copy.directory)/\(file)")
            let missing = try verify(copy.directory)
            #expect(missing.rows.contains { !$0.passed && $0.detail.contains(file) }, "\n\(missing.table)")
        }
    }

    @Test("rows as JSON and as text") func rowsAsJSONAndAsText() throws {
        let report = try verify("\(Reference.directory)/tables")
        let row = try #require(report.json.array?.first)
        #expect(row["subject"]?.string == "tables" && row["passed"]?.bool == true)
        #expect(row["group"]?.string == "position buckets" && row["largest_error"]?.number == 0)
        #expect(report.table.hasPrefix("subject  part  group"))
        #expect(report.table.split(separator: "\n").count == report.rows.count + 2)
    }
}

/// A case in a directory of its own, with the manifest, to be damaged.
private final class CaseCopy {
    let root: String
    let directory: String

    init(_ name: String) throws {
        root = NSTemporaryDirectory() + "pac-mpi-verify-" + UUID().uuidString
        directory = "\(root)/\(name)"
        let files = FileManager.default
        try files.createDirectory(atPath: root, withIntermediateDirectories: true)
        for item in ["manifest.json", "tokenizers", name] {
            try files.copyItem(atPath: "\(Reference.directory)/\(item)", toPath: "\(root)/\(item)")
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: root) }

    /// Gives a listed file another name, here and in the manifest.
    func rename(_ file: String, to name: String) throws {
        let manifest = String(decoding: try readFile(root + "/manifest.json"), as: UTF8.self)
        try writeFileAtomically(
            manifest.replacingOccurrences(of: "\"\(file).safetensors\"", with: "\"\(name).safetensors\""),
            to: root + "/manifest.json")
        try FileManager.default.moveItem(
            atPath: "\(directory)/\(file).safetensors", toPath: "\(directory)/\(name).safetensors")
    }

    /// Changes a high bit of a tensor's first number, or the lowest of its first integer;
    /// or makes the first number of a float32 tensor `value`.
    func change(_ tensor: String, in file: String, to value: Float? = nil) throws {
        let path = "\(directory)/\(file).safetensors"
        var bytes = try readFile(path)
        let size = (0..<8).reduce(0) { $0 | Int(bytes[$1]) << (8 * $1) }
        let header = try JSONValue(parsing: Array(bytes[8..<8 + size]), file: path)
        let entry = try #require(header[tensor])
        let start = 8 + size + (try #require(entry["data_offsets"]?.array?[0].integer))
        let width = ["F64": 8, "F32": 4, "I32": 4][try #require(entry["dtype"]?.string)] ?? 0
        let isInteger = entry["dtype"]?.string == "I32"
        if let value {
            bytes.replaceSubrange(start..<start + 4, with: withUnsafeBytes(of: value) { Array($0) })
            return try writeFileAtomically(bytes, to: path)
        }
        bytes[start + (isInteger ? 0 : width - 2)] ^= isInteger ? 1 : 0x40
        try writeFileAtomically(bytes, to: path)
    }
}
