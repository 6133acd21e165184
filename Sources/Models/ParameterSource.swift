import Support
import TensorCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Where a module's parameters come from while it is being built: a checkpoint, a seed, or a bucket of trainables.
///
/// Building the same module from another source is how the side network is made of the backbone's own block types.
package protocol ParameterSource {
    /// The parameter of a name, which must have this shape, as float32: a norm, a bias, a small table.
    ///
    /// - Parameter sharingGroup: names the stages that hold a copy, for a parameter that more than one stage needs.
    func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor
    /// The matrix of a name, which must have this shape, as it is stored where it is frozen: what layers multiply by, or look
    /// rows up in. A source that passes on another's must pass on its matrices too.
    func weight(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Weight
    /// What a technique attaches beside a linear layer, named without ".weight": it reads the layer's input and its
    /// result is added. nil for nothing.
    func branch(besideLinear name: String, from inputSize: Int, to outputSize: Int) throws -> (any Branch)?
    /// What a technique attaches behind a sub-layer, before the residual addition: it reads the sub-layer's result, and
    /// its own is added. nil for nothing.
    func branch(behindSublayer name: String, size: Int) throws -> (any Branch)?
}

extension ParameterSource {
    package func branch(besideLinear name: String, from inputSize: Int, to outputSize: Int) throws -> (
        any Branch
    )? { nil }

    package func branch(behindSublayer name: String, size: Int) throws -> (any Branch)? { nil }

    package func parameter(_ name: String, _ shape: [Int]) throws -> Tensor {
        try parameter(name, shape, sharingGroup: nil)
    }

    package func weight(_ name: String, _ shape: [Int]) throws -> Weight {
        try weight(name, shape, sharingGroup: nil)
    }
}

/// A source whose matrices are all float32: drawn, trained, or kept so.
package protocol Float32Source: ParameterSource {}

extension Float32Source {
    package func weight(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Weight {
        .float32(try parameter(name, shape, sharingGroup: sharingGroup))
    }
}

/// Draws a frozen backbone from a seed, for benchmarks without a checkpoint: matrices N(0, 0.02), norms 1, biases 0.
/// Each tensor depends on (seed, name) alone, so every stage of every plan draws the same model.
package struct RandomSource: Float32Source {
    private let seed: UInt64
    private let ledger: Ledger

    package init(seed: UInt64, ledger: Ledger) {
        self.seed = seed
        self.ledger = ledger
    }

    package func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        let rows = shape.count > 1 ? shape[0] : 1
        let tensor = Tensor(
            rows: rows, columns: shape.reduce(1, *) / max(1, rows), category: .weights, ledger: ledger)
        if shape.count == 1 || name.hasSuffix("bias") {
            tensor.fill(name.hasSuffix("bias") ? 0 : 1)
        } else {
            fillNormal(
                tensor.pointer, tensor.count, standardDeviation: 0.02, CounterRandom(seed: seed, name: name))
        }
        return tensor
    }
}

/// Normal numbers, a function of the generator's key alone.
package func normalNumbers(_ count: Int, standardDeviation: Double, _ random: CounterRandom) -> [Float] {
    [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
        if let base = buffer.baseAddress {
            fillNormal(base, count, standardDeviation: standardDeviation, random)
        }
        initialized = count
    }
}

/// Fills with normal numbers (Box-Muller over a counter).
func fillNormal(
    _ out: UnsafeMutablePointer<Float>, _ count: Int, standardDeviation: Double, _ random: CounterRandom
) {
    var i = 0
    while i < count {
        let radius = (-2 * log(1 - random.uniform(at: UInt64(i)))).squareRoot() * standardDeviation
        let angle = 2 * Double.pi * random.uniform(at: UInt64(i + 1))
        out[i] = Float(radius * cos(angle))
        if i + 1 < count { out[i + 1] = Float(radius * sin(angle)) }
        i += 2
    }
}

/// Gives a tensor that is asked for several times (a tied table) once: every one who asks shares the same memory.
final class SharingSource: ParameterSource {
    private let base: any ParameterSource
    private var given: [String: Weight]

    /// - Parameter known: tensors of `base` that are held already, by name.
    init(_ base: any ParameterSource, known: [String: Weight] = [:]) {
        self.base = base
        given = known
    }

    func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        if let weight = given[name] { return weight.tensor }
        let tensor = try base.parameter(name, shape, sharingGroup: sharingGroup)
        given[name] = .float32(tensor)
        return tensor
    }

    func weight(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Weight {
        if let weight = given[name] { return weight }
        let weight = try base.weight(name, shape, sharingGroup: sharingGroup)
        given[name] = weight
        return weight
    }
}

/// Takes a module's parameters from a bucket of trainables.
package struct BucketSource: Float32Source {
    private let bucket: ParameterBucket

    package init(_ bucket: ParameterBucket) { self.bucket = bucket }

    package func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        guard let tensor = bucket.tensor(name) else { preconditionFailure("\(name) was not declared") }
        return tensor
    }
}

/// Records the parameters that a module asks for, and gives it placeholders: the first of two passes, which sizes the
/// bucket.
package final class DeclaringSource: ParameterSource {
    package private(set) var declarations: [ParameterBucket.Declaration] = []
    /// The names of those that were asked for as matrices.
    package private(set) var matrices: Set<String> = []
    private let scratch = Ledger()
    private var seen: Set<String> = []

    package init() {}

    package func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        let declaration = ParameterBucket.Declaration(name: name, shape: shape, sharingGroup: sharingGroup)
        // A tied tensor is asked for in several places and is one parameter.
        if seen.insert(name).inserted { declarations.append(declaration) }
        return Tensor(rows: 0, columns: shape.last ?? 1, ledger: scratch)
    }

    package func weight(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Weight {
        matrices.insert(name)
        return .float32(try parameter(name, shape, sharingGroup: sharingGroup))
    }
}
