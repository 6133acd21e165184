import Models
import Support
import TensorCore
import TextData
import WeightFiles

/// A case of the reference vectors: a tiny checkpoint, its mini-batches, and what another implementation computed.
struct ReferenceCase {
    static let supportedFamilies = ["bert", "t5", "bart", "llama"]

    let name: String
    let directory: String
    /// The family that the case is one of: "llama" for Qwen2 as well.
    let family: String
    let entry: JSONObjectReader
    let manifest: ReferenceManifest
    private let listedFiles: [String]

    init(_ name: String, _ manifest: ReferenceManifest) throws {
        self.name = name
        self.manifest = manifest
        directory = manifest.directory + "/" + name
        entry = try manifest.object.required("cases").object().required(name).object()
        listedFiles = try entry.required("files").object().all.map(\.key)
        family = try entry.required("family").string()
    }

    /// The techniques whose files the manifest lists.
    var techniques: [String] {
        var names: [String] = []
        for file in listedFiles.map(Self.stem) where file != "batches" && file != "backbone" {
            let technique =
                file.hasSuffix(Self.sideOnlySuffix) ? String(file.dropLast(Self.sideOnlySuffix.count)) : file
            if !names.contains(technique) { names.append(technique) }
        }
        return names
    }

    /// The files of a technique, without their extension.
    func files(of technique: String) -> [String] {
        listedFiles.map(Self.stem).filter { $0 == technique || $0 == technique + Self.sideOnlySuffix }
    }

    /// Opens a file of the case and counts its tensors.
    func open(_ stem: String) throws -> SafetensorsFile {
        let listed = try entry.required("files").object().required(stem + ".safetensors").object()
        let file = try SafetensorsFile("\(directory)/\(stem).safetensors")
        let expected = try listed.required("tensors").integer()
        guard file.entries.count == expected else {
            throw Failure.configuration(
                "\(file.path): expected the \(expected) tensors that the manifest counts, found \(file.entries.count)"
            )
        }
        return file
    }

    /// The mini-batches, packed.
    func batches() throws -> [ReferenceBatch] {
        let file = try open("batches")
        return try (0..<entry.required("n_batches").integer(in: 1...1000)).map {
            try ReferenceBatch(file, index: $0, task: task())
        }
    }

    func task() throws -> Task {
        Task(rawValue: try entry.required("task").choice(["lm", "cls", "reg"]))!
    }

    enum Task: String {
        case languageModel = "lm"
        case classification = "cls"
        case regression = "reg"
    }

    /// Marks a file whose read-out is the side network alone.
    static let sideOnlySuffix = "_lst"

    private static func stem(_ file: String) -> String {
        file.hasSuffix(".safetensors") ? String(file.dropLast(".safetensors".count)) : file
    }
}

/// A mini-batch of a case: as the files hold it, padded to [sequences, columns], and packed.
struct ReferenceBatch {
    let packed: MicroBatch
    /// The rows of the padded matrices that are real tokens, in order.
    private let inputRows: [Int]
    /// The rows of the decoder's padded matrices that the decoder computes.
    private let decoderRows: [Int]

    init(_ file: SafetensorsFile, index: Int, task: ReferenceCase.Task) throws {
        let prefix = "batch\(index)."
        let inputs = try Padded(file, prefix + "input_ids", mask: prefix + "attention_mask") { $0 != 0 }
        let types = try file.entries[prefix + "token_type_ids"].map { _ in
            try Padded(file, prefix + "token_type_ids", mask: prefix + "attention_mask") { $0 != 0 }.sequences
        }
        inputRows = inputs.rows
        var decoderInputs: [[Int32]] = []
        var targets: Targets
        var targetRows: [Int]?
        let hasDecoderInput = file.entries[prefix + "decoder_input_ids"] != nil
        switch task {
        case .languageModel where hasDecoderInput:
            let decoder = try Padded(file, prefix + "decoder_input_ids", mask: prefix + "labels") {
                $0 != -100
            }
            let labels = try Padded(file, prefix + "labels", mask: prefix + "labels") { $0 != -100 }
            (decoderInputs, decoderRows) = (decoder.sequences, decoder.rows)
            targets = .tokens(Array(labels.sequences.joined()))
        case .languageModel:
            let labels = try Padded(file, prefix + "labels", mask: prefix + "attention_mask") { $0 != 0 }
            decoderRows = inputs.rows
            (targets, targetRows) = Self.nextTokens(labels.sequences)
        case .classification, .regression:
            if hasDecoderInput {
                let decoder = try Padded(
                    file, prefix + "decoder_input_ids", mask: prefix + "attention_mask"
                ) { $0 != 0 }
                decoderInputs = decoder.sequences
            }
            decoderRows = inputs.rows
            targets =
                task == .regression
                ? .scores(try file.floats(prefix + "labels")) : .classes(try file.integers(prefix + "labels"))
        }
        packed = MicroBatch(
            sampleIDs: Array(inputs.sequences.indices), inputs: inputs.sequences,
            types: types ?? inputs.sequences.map { $0.map { _ in 0 } }, decoderInputs: decoderInputs,
            targets: targets, targetRows: targetRows)
    }

    /// A decoder-only model's targets: row t predicts label t + 1, where there is one.
    private static func nextTokens(_ labels: [[Int32]]) -> (Targets, rows: [Int]) {
        var (tokens, rows, start): ([Int32], [Int], Int) = ([], [], 0)
        for sequence in labels {
            for (t, label) in sequence.dropFirst().enumerated() where label != -100 {
                tokens.append(label)
                rows.append(start + t)
            }
            start += sequence.count
        }
        return (.tokens(tokens), rows)
    }

    func rows(_ stack: StackKind) -> [Int] { stack == .encoder ? inputRows : decoderRows }

    /// The rows of a stored activation [sequences, columns, size] that are real tokens, as one list.
    func real(_ name: String, _ stack: StackKind, in file: SafetensorsFile) throws -> [Double] {
        let all = try file.doubles(name)
        let size = file.entries[name]!.shape.last ?? 1
        return try rows(stack).flatMap { row in
            guard (row + 1) * size <= all.count else {
                throw Failure.configuration(
                    "\(file.path): tensor \"\(name)\": expected a row for every token, found \(all.count / size)"
                )
            }
            return all[row * size..<(row + 1) * size]
        }
    }

    /// A padded integer matrix without its padding.
    private struct Padded {
        var sequences: [[Int32]] = []
        var rows: [Int] = []

        init(_ file: SafetensorsFile, _ name: String, mask maskName: String, isReal: (Int32) -> Bool) throws {
            let (values, mask) = (try file.integers(name), try file.integers(maskName))
            let shape = file.entries[name]!.shape
            guard shape.count == 2, file.entries[maskName]!.shape == shape else {
                throw Failure.configuration(
                    "\(file.path): tensor \"\(name)\": expected a matrix of the shape of \"\(maskName)\", found \(shape)"
                )
            }
            for start in stride(from: 0, to: values.count, by: max(1, shape[1])) {
                let range = start..<start + shape[1]
                let count = mask[range].prefix(while: isReal).count
                guard !mask[range].dropFirst(count).contains(where: isReal) else {
                    throw Failure.configuration(
                        "\(file.path): tensor \"\(maskName)\": expected padding on the right only, found some before a token"
                    )
                }
                sequences.append(Array(values[range].prefix(count)))
                rows += start..<start + count
            }
        }
    }
}
