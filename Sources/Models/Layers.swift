import Support
import TensorCore

/// A matrix with an optional bias, and what a technique attached beside it.
package struct Dense {
    package let weight: Weight
    package let bias: Tensor?
    private let branch: (any Branch)?

    /// - Parameter name: of the tensors without ".weight" and ".bias".
    init(
        _ name: String, from inputSize: Int, to outputSize: Int, hasBias: Bool, _ source: any ParameterSource
    ) throws {
        weight = try source.weight(name + ".weight", [outputSize, inputSize])
        bias = hasBias ? try source.parameter(name + ".bias", [outputSize]) : nil
        branch = try source.branch(besideLinear: name, from: inputSize, to: outputSize)
    }

    /// - Parameters: `dropout` and the rows of each sequence are for an attached branch.
    /// - Shapes: x [n, in]; result [n, out].
    package func callAsFunction(_ x: Tensor, _ dropout: DropoutKeys? = nil, spans: [Range<Int>] = [])
        -> Tensor
    {
        let y = linear(x, weight: weight, bias: bias)
        return branch.map { add(y, $0(x, dropout, spans: spans)) } ?? y
    }
}

/// A row of the token table for each token, without scale or position: where T5 and Llama start.
package struct TokenEmbedding: EmbeddingLayer {
    package let table: Weight
    package let paddingID: Int32?

    package init(table: Weight, paddingID: Int32?) {
        self.table = table
        self.paddingID = paddingID
    }

    package func callAsFunction(_ tokens: TokenRows) -> Tensor {
        embedding([(table, tokens.ids)], paddingID: paddingID)
    }
}

/// LayerNorm or RMSNorm, whichever the family describes.
package struct Norm {
    private let description: NormDescription
    private let weight: Tensor
    private let bias: Tensor?

    package init(_ description: NormDescription, _ source: any ParameterSource) throws {
        self.description = description
        weight = try source.parameter(description.name + ".weight", [description.size])
        bias =
            description.kind == .layerNorm
            ? try source.parameter(description.name + ".bias", [description.size]) : nil
    }

    /// Normalises x, or x + residual.
    package func callAsFunction(_ x: Tensor, adding residual: Tensor? = nil) -> Tensor {
        switch description.kind {
        case .layerNorm:
            return layerNorm(x, adding: residual, weight: weight, bias: bias!, epsilon: description.epsilon)
        case .rmsNorm:
            return rmsNorm(residual.map { add(x, $0) } ?? x, weight: weight, epsilon: description.epsilon)
        }
    }
}

/// The dropout of one forward pass: masks keyed by (seed, epoch, sample, place), so that no plan changes them.
package struct DropoutKeys: Sendable {
    package let probability: Float
    private let seed: UInt64
    private let epoch: UInt64
    private let sampleIDs: [Int]

    package init(probability: Double, seed: UInt64, epoch: Int, sampleIDs: [Int]) {
        self.probability = Float(probability)
        self.seed = seed
        self.epoch = UInt64(epoch)
        self.sampleIDs = sampleIDs
    }

    /// The stream of each sequence at a place, which is named.
    package func keys(_ place: String) -> [UInt64] {
        let named = CounterRandom(seed: seed, name: place).key
        return sampleIDs.map { CounterRandom(named, epoch, UInt64($0)).key }
    }
}

/// Drops at a named place, with the pass's probability or the place's own; nil keys mean inference.
package func drop(
    _ x: Tensor, _ dropoutKeys: DropoutKeys?, _ place: @autoclosure () -> String, spans: [Range<Int>],
    probability: Float? = nil
) -> Tensor {
    guard let dropoutKeys else { return x }
    let probability = probability ?? dropoutKeys.probability
    guard probability > 0 else { return x }
    return dropout(x, probability: probability, spans: spans, keys: dropoutKeys.keys(place()))
}
