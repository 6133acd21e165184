import Support
import TensorCore

/// The paper's technique: a narrow trained network runs beside the frozen backbone and reads its activations, so that
/// nothing is differentiated through the backbone and the activations can be cached.
public struct ParallelAdapters: TuningTechnique, Equatable {
    public static let kind = "parallel_adapters"

    /// What a side layer is.
    public enum Adapter: String, Sendable, CaseIterable {
        /// The backbone's block, k times narrower.
        case transformer
        /// A bottleneck that widens: a = u + B SiLU(A u + p) + q, with A [2r, r]. It mixes no tokens, so an encoder's
        /// could not reach a decoder: only the last stack has a side network.
        case linear
    }

    /// Where the side network starts.
    public enum Initialization: String, Sendable, CaseIterable {
        /// From the backbone's largest channels, heads and units.
        case pruned
        case random
    }

    public enum Merge: String, Sendable, CaseIterable {
        /// z = h_L + U s + c: at step 0 exactly the frozen backbone.
        case sum
        /// z = U s + c, as Ladder Side-Tuning.
        case sideOnly = "side_only"
    }

    /// k: how many times narrower the side network is.
    public var reductionFactor: Int
    public var adapter: Adapter
    public var initialization: Initialization
    public var merge: Merge

    public init(
        reductionFactor: Int = 8, adapter: Adapter = .transformer, initialization: Initialization = .pruned,
        merge: Merge = .sum
    ) {
        self.reductionFactor = reductionFactor
        self.adapter = adapter
        self.initialization = initialization
        self.merge = merge
    }

    public var gradientLane: LaneKind { .side }

    public func source(
        frozen: any ParameterSource, trainable: any ParameterSource, _ family: any ModelFamily
    ) -> any ParameterSource { frozen }

    public func sideDescription(_ family: any ModelFamily) throws -> SideDescription? {
        SideDescription(
            hiddenSize: try divide(family.hiddenSize, by: reductionFactor, "hidden size"),
            stacks: adapter == .transformer ? family.stacks.map(\.kind) : [family.lastStack.kind])
    }

    /// The drawn starts: all of them with `initialization` `random`, otherwise those of linear adapters alone, which have
    /// nothing to be pruned from. `SideInitialization` gives the others.
    public func startValues(of declaration: ParameterBucket.Declaration, seed: UInt64) -> [Float]? {
        let name = declaration.name
        let isAdapter = name.contains(".adapter.")
        guard name.hasPrefix("side."), isAdapter || initialization == .random else { return nil }
        let isMatrix = declaration.shape.count == 2
        if !isMatrix || name == "side.up.weight" || (isAdapter && name.hasSuffix(".up.weight")) {
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
    public func check(_ family: any ModelFamily) throws {
        _ = try sideDescription(family)
        if adapter == .transformer {
            let _: any ModelFamily = try family.reduced(by: reductionFactor)
        }
    }
}

/// The sizes of a network beside the backbone.
public struct SideDescription: Sendable {
    /// r.
    public let hiddenSize: Int
    /// The stacks that it runs beside.
    public let stacks: [StackKind]
}
