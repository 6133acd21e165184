import TensorCore

/// One file of named tensors, as a checkpoint reads it, whatever the file's own format: safetensors, or another.
///
/// Names are the checkpoint's, shapes are row-major as Hugging Face writes them: a matrix is [out, in].
package protocol WeightsReader: AnyObject {
    /// Where the tensors are from, for messages.
    var path: String { get }
    /// All tensors.
    var names: [String] { get }
    /// nil for a tensor that is not there.
    func shape(of name: String) -> [Int]?
    /// The file's own word for how the numbers of a tensor are stored ("BF16"); nil for a tensor that is not there.
    func storedType(of name: String) -> String?
    /// How `weight` gives a matrix; nil for a tensor that is not there.
    func format(of name: String) -> WeightFormat?
    /// A tensor as float32: a view of the file where it is stored so, otherwise an expanded copy.
    ///
    /// - Throws: a configuration failure when the name is missing, or its type is none of numbers.
    func tensor(_ name: String, ledger: Ledger, category: MemoryCategory) throws -> Tensor
    /// A matrix as it is stored: a view of the file where that is possible.
    ///
    /// - Throws: as `tensor`.
    func weight(_ name: String, ledger: Ledger) throws -> Weight
    /// Identifies the tensors' numbers without reading all of them: changes with any fine-tuning.
    var fingerprint: String { get }
}

extension WeightsReader {
    package func tensor(_ name: String, ledger: Ledger) throws -> Tensor {
        try tensor(name, ledger: ledger, category: .weights)
    }
}
