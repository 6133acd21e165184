import Support
import TensorCore
import WeightFiles

/// Gives a module the frozen tensors of a checkpoint, under any of the names that published files use.
package struct CheckpointSource: ParameterSource {
    private let checkpoint: Checkpoint
    private let family: any ModelFamily
    private let ledger: Ledger

    package init(_ checkpoint: Checkpoint, family: any ModelFamily, ledger: Ledger) {
        self.checkpoint = checkpoint
        self.family = family
        self.ledger = ledger
    }

    package func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        if let stored = try check(name, shape) { return try checkpoint.tensor(stored, ledger: ledger) }
        return zeros(shape)
    }

    package func weight(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Weight {
        if let stored = try check(name, shape) { return try checkpoint.weight(stored, ledger: ledger) }
        return .float32(zeros(shape))
    }

    private func zeros(_ shape: [Int]) -> Tensor {
        let zeros = Tensor(rows: 1, columns: shape.reduce(1, *), category: .weights, ledger: ledger)
        zeros.fill(0)
        return zeros
    }

    /// Checks that a tensor is there with its shape, without reading it.
    ///
    /// - Returns: the name under which it is stored; nil for a tensor that is zero when it is absent.
    @discardableResult
    package func check(_ name: String, _ shape: [Int]) throws -> String? {
        guard let stored = storedName(of: name) else {
            if family.zeroWhenAbsent.contains(name) { return nil }
            throw Failure.configuration(
                "\(checkpoint.directory): the tensor \"\(name)\" is missing from the checkpoint")
        }
        let found = checkpoint.shape(of: stored)!
        guard found == shape else {
            throw Failure.configuration(
                "\(checkpoint.path(of: stored)): tensor \"\(stored)\": expected shape \(shape) from "
                    + "\(checkpoint.configuration.file), found \(found)")
        }
        return stored
    }

    /// The name under which the checkpoint holds a tensor; nil when it does not.
    package func storedName(of name: String) -> String? {
        Self.variants(of: name, family).first { checkpoint.contains($0) }
    }

    /// A name, its tied and obsolete spellings, each with and without the model's prefix.
    private static func variants(of name: String, _ family: any ModelFamily) -> [String] {
        var names = [name] + family.tiedNames(of: name)
        names += names.compactMap { variant in
            variant.hasSuffix("LayerNorm.weight")
                ? variant.dropLast(6) + "gamma"
                : variant.hasSuffix("LayerNorm.bias") ? variant.dropLast(4) + "beta" : nil
        }
        if let prefix = family.optionalPrefix {
            names += names.compactMap { $0.hasPrefix(prefix) ? String($0.dropFirst(prefix.count)) : nil }
        }
        return names
    }
}
