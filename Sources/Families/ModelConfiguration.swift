import Models
import Support
import TensorCore

/// The files that describe a model: `config.json` and, where there is one, `generation_config.json`.
///
/// What a family cannot run is an error that names file and key: a model is never run approximately.
struct ModelConfiguration {
    let model: JSONObjectReader
    private let generation: JSONObjectReader?

    init(_ model: JSONReader, generation: JSONReader?) throws {
        self.model = try model.object()
        self.generation = try generation?.object()
        if let key = self.model.optional("quantization_config") {
            throw key.failure(expected: "none: weights in float32, float16 or bfloat16")
        }
    }

    /// A size, at least 1; the class default when the key is absent.
    func size(_ key: String, default fallback: Int) throws -> Int {
        try model.optional(key)?.integer(in: 1...Int(Int32.max)) ?? fallback
    }

    func flag(_ key: String, default fallback: Bool = false) throws -> Bool {
        try model.optional(key)?.bool() ?? fallback
    }

    func number(_ key: String, in range: ClosedRange<Double>, default fallback: Double) throws -> Double {
        try model.optional(key)?.number(in: range) ?? fallback
    }

    /// An activation function by any of Hugging Face's names for those that are built in.
    func activation(_ key: String, default function: ActivationFunction) throws -> ActivationFunction {
        guard let name = model.optional(key) else { return function }
        return try Self.activation(name.choice(Self.activations.map(\.name)))
    }

    /// One token id or a list of them, from `generation_config.json` if it has the key. A null says none.
    func tokens(_ key: String, default fallback: [Int32]) throws -> [Int32] {
        guard let value = generation?.optional(key) ?? model.optional(key) else {
            return model.isNull(key) ? [] : fallback
        }
        let ids = if case .array = value.value { try value.array() } else { [value] }
        return try ids.map { Int32(try $0.integer(in: 0...Int(Int32.max))) }
    }

    /// The row of the token embedding that its lookup never trains (`padding_idx`); nil when there is none.
    func paddingID(default fallback: Int32?, vocabularySize: Int) throws -> Int32? {
        guard let key = model.optional("pad_token_id") else {
            return model.isNull("pad_token_id") ? nil : fallback
        }
        let id = try key.integer(in: -vocabularySize...vocabularySize - 1)
        // Counted from the end, as PyTorch does: -1 in the first Llama files.
        return Int32(id < 0 ? id + vocabularySize : id)
    }

    /// Checks that the model's class is one whose layers the family runs. Files that name none are taken at their word.
    func requireClass(_ known: [String]) throws {
        for name in try model.optional("architectures")?.array() ?? [] { _ = try name.choice(known) }
    }

    /// Checks a flag that asks for other layers.
    func require(_ key: String, _ supported: Bool, because reason: String) throws {
        if let value = model.optional(key), try value.bool() != supported {
            throw value.failure(expected: "\(supported): \(reason)")
        }
    }

    func failure(_ text: String) -> Failure { .configuration("\(model.reader.file): \(text)") }
}

extension ModelConfiguration {
    static let activations: [(name: String, function: ActivationFunction)] = [
        ("gelu", .gelu), ("gelu_python", .gelu), ("gelu_new", .geluTanh), ("gelu_pytorch_tanh", .geluTanh),
        ("relu", .relu), ("silu", .silu), ("swish", .silu),
    ]

    static func activation(_ name: String) -> ActivationFunction {
        activations.first { $0.name == name }!.function
    }
}

extension JSONObjectReader {
    /// Whether a key is there and null, which is not the same as an absent one where the default is a value.
    fileprivate func isNull(_ key: String) -> Bool {
        all.contains { $0.key.utf8.elementsEqual(key.utf8) && $0.value.isNull }
    }
}
