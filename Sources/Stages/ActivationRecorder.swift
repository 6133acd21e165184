import Models
import TensorCore

/// Sees the activations of a stage as they are made, micro-batch by micro-batch.
package protocol ActivationRecorder: AnyObject {
    func begin(_ batch: MicroBatch)
    /// b of a stack and layer: [n, d].
    func record(_ stack: StackKind, _ layer: Int, _ activation: Tensor)
    /// The micro-batch is complete.
    func end()
}
