import Support
import TensorCore

/// The paper's technique: a narrow trained network runs beside the frozen backbone and reads its activations, so that
/// nothing is differentiated through the backbone and the activations can be cached.
package struct ParallelAdapters: TuningTechnique, Equatable {
    package static let kind = "parallel_adapters"

    /// What a side layer is.
    package enum Adapter: String, Sendable, CaseIterable {
        /// The backbone's block, k times narrower.
        case transformer
        /// A bottleneck that widens: a = u + B SiLU(A u + p) + q, with A [2r, r]. It mixes no tokens, so an encoder's
        /// could not reach a decoder: only the last stack has a side network.
        case linear
    }

    /// Where the side network starts.
    package enum Initialization: String, Sendable, CaseIterable {
        /// From the backbone's largest channels, heads and units.
        case pruned
        case random
    }

    package enum Merge: String, Sendable, CaseIterable {
        /// z = h_L + U s + c: at step 0 exactly the frozen backbone.
        case sum
        /// z = U s + c, as Ladder Side-Tuning.
        case sideOnly = "side_only"
    }

    /// k: how many times narrower the side network is.
    package var reductionFactor: Int
    package var adapter: Adapter
    package var initialization: Initialization
    package var merge: Merge

    package init(
        reductionFactor: Int = 8, adapter: Adapter = .transformer, initialization: Initialization = .pruned,
        merge: Merge = .sum
    ) {
        self.reductionFactor = reductionFactor
        self.adapter = adapter
        self.initialization = initialization
        self.merge = merge
    }

    package var side: ParallelAdapters? { self }

    package func source(
        frozen: any ParameterSource, trainable: any ParameterSource, _ family: any ModelFamily
    ) -> any ParameterSource { frozen }

    /// The sizes of the network beside a model.
    ///
    /// - Throws: when k does not divide the model's hidden size.
    package func sideDescription(_ family: any ModelFamily) throws -> SideDescription {
        SideDescription(
            hiddenSize: try divide(family.hiddenSize, by: reductionFactor, "hidden size"),
            stacks: adapter == .transformer ? family.stacks.map(\.kind) : [family.lastStack.kind])
    }

    /// The drawn starts: all of them with `initialization` `random`, otherwise those of linear adapters alone, which have
    /// nothing to be pruned from. `SideInitialization` gives the others.
    package func startValues(of declaration: ParameterBucket.Declaration, seed: UInt64) -> [Float]? {
        let name = declaration.name
        let isAdapter = name.contains(".adapter.")
        guard name.hasPrefix(SideNetwork.prefix), isAdapter || initialization == .random else { return nil }
        let isMatrix = declaration.shape.count == 2
        if !isMatrix || name == SideNetwork.prefix + "up.weight"
            || (isAdapter && name.hasSuffix(".up.weight"))
        {
            let isNorm = !isMatrix && !name.hasSuffix(".bias") && !name.contains(".gate.")
            return [Float](repeating: isNorm ? 1 : 0, count: declaration.count)
        }
        let isDownProjection = name.contains(".down.") && !isAdapter
        return normalNumbers(
            declaration.count,
            standardDeviation: isDownProjection ? 1 / Double(declaration.shape[1]).squareRoot() : 0.02,
            CounterRandom(seed: seed, name: name))
    }

    /// - Throws: when k does not divide one of the sizes that the side network needs.
    package func check(_ family: any ModelFamily) throws {
        _ = try sideDescription(family)
        if adapter == .transformer {
            let _: any ModelFamily = try family.reduced(by: reductionFactor)
        }
    }

    /// - Throws: when a side network that begins with zeros is all that a comparison reads.
    package func check(_ head: HeadKind, _ pooling: Pooling) throws {
        if merge == .sideOnly, initialization == .random, pooling == .pair, head != .languageModel {
            throw Failure.configuration(
                "task.pooling: expected \"cls\" or \"mean\" for a side network that is drawn and read alone: it begins "
                    + "with zeros, and a comparison of zeros learns nothing, found \"pair\"")
        }
    }
}

// In an experiment, an adapter's directory, a simulation and the reference vectors.
extension ParallelAdapters {
    package static var standard: Self { Self() }

    package var settings: [(key: String, value: JSONValue)] {
        [
            ("reduction_factor", JSONValue(reductionFactor)), ("adapter", .string(adapter.rawValue)),
            ("initialization", .string(initialization.rawValue)), ("merge", .string(merge.rawValue)),
        ]
    }

    package mutating func read(_ object: JSONObjectReader) throws {
        if let value = object.optional("reduction_factor") {
            reductionFactor = try value.integer(in: 1...1 << 20)
        }
        if let value = object.optional("adapter") {
            adapter = Adapter(rawValue: try value.choice(Adapter.allCases.map(\.rawValue)))!
        }
        if let value = object.optional("initialization") {
            initialization = Initialization(
                rawValue: try value.choice(Initialization.allCases.map(\.rawValue)))!
        }
        if let value = object.optional("merge") {
            merge = Merge(rawValue: try value.choice(Merge.allCases.map(\.rawValue)))!
        }
    }

    package func peftKeys(_ family: any ModelFamily, _ head: HeadKind) -> [(String, JSONValue)] {
        [
            ("peft_type", "PARALLEL_ADAPTERS"), ("reduction_factor", JSONValue(reductionFactor)),
            ("adapter", .string(adapter.rawValue)), ("merge", .string(merge.rawValue)),
            ("gate_temperature", JSONValue(SideNetwork.gateTemperature)),
        ]
    }

    package func page(_ family: any ModelFamily) -> TechniquePage {
        TechniquePage(
            title: "Parallel Adapters",
            tensors: """
                the side network (`\(SideNetwork.prefix)*`, reduction factor \(reductionFactor), named after the
                  backbone tensors that it stands beside) and the task's head.
                """,
            use: """
                A side network runs beside its backbone. **It cannot be merged into the model's weights**, and it needs the
                same model to run:
                """)
    }

    package func trainedParts(of family: any ModelFamily) throws -> TrainedParts {
        guard adapter == .transformer else {
            throw Failure.configuration(
                "technique.adapter: expected \"transformer\", as a simulation has no formulas for others, found "
                    + "\"\(adapter.rawValue)\"")
        }
        return .sideNetwork(try family.reduced(by: reductionFactor))
    }

    package init(referenceCase entry: JSONObjectReader) throws {
        let settings = try entry.required(Self.kind).object()
        self.init(reductionFactor: try settings.required("k").integer(in: 1...1024))
    }
}

/// The sizes of a network beside the backbone.
package struct SideDescription: Sendable {
    /// r.
    package let hiddenSize: Int
    /// The stacks that it runs beside.
    package let stacks: [StackKind]
}
