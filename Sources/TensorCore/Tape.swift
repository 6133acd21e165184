import CKernels

/// The backward half of an operation: a struct whose stored tensors are exactly what the operation saves.
public protocol Pullback {
    /// What is kept from the forward pass until `backward` runs.
    var saved: [Tensor] { get }

    /// Adds to `inputs[i]` the gradient of the loss with respect to the operation's i-th input, given the gradient with
    /// respect to its output. A nil input wants none.
    func callAsFunction(_ outputGradient: Tensor, _ inputs: [Node?])
}

/// One place on the tape: an operation's output, or a leaf (a parameter, or what came from another stage).
public final class Node {
    fileprivate let inputs: [Node?]
    fileprivate var pullback: (any Pullback)?
    /// A leaf's persistent gradient, which backward adds to and never replaces.
    private let accumulator: Tensor?
    /// The gradient so far; nil when none has arrived.
    public private(set) var gradient: Tensor?
    private var ownsGradient = false

    /// A leaf. With an accumulator its gradient is added there; without, it is kept in `gradient`.
    public init(leaf accumulator: Tensor?, ledger: Ledger) {
        self.accumulator = accumulator
        inputs = []
        pullback = nil
        ledger.recordedNodeCount += 1
    }

    init(inputs: [Node?], pullback: any Pullback, ledger: Ledger) {
        self.inputs = inputs
        self.pullback = pullback
        accumulator = nil
        ledger.recordedNodeCount += 1
    }

    /// Bytes that the operations from here down to the leaves keep for backward, each storage counted once.
    public func savedBytes() -> Int {
        var seen: Set<ObjectIdentifier> = []
        var bytes = 0
        for node in Node.topologicalOrder(from: [self]) {
            for tensor in node.pullback?.saved ?? []
            where seen.insert(ObjectIdentifier(tensor.storage)).inserted
                && tensor.storage.category != .weights
            {
                bytes += tensor.storage.count * MemoryLayout<Float>.stride
            }
        }
        return bytes
    }

    /// Adds a contiguous gradient. A `fresh` tensor has no other user, so it is kept without a copy.
    public func add(_ tensor: Tensor, fresh: Bool) {
        precondition(tensor.isContiguous && tensor.count == (accumulator ?? gradient ?? tensor).count)
        if let accumulator {
            accumulator.accumulate(tensor)
        } else if let gradient {
            if ownsGradient {
                gradient.accumulate(tensor)
            } else {
                let sum = Tensor(
                    rows: tensor.rows, columns: tensor.columns, category: .gradients, ledger: tensor.ledger)
                sum.set(toSumOf: gradient, tensor)
                self.gradient = sum
                ownsGradient = true
            }
        } else {
            gradient = tensor
            ownsGradient = fresh
        }
    }

    /// Where a kernel can put this node's gradient itself: it multiplies what is there by `beta` (0 or 1) and adds.
    func destination(rows: Int, columns: Int, ledger: Ledger) -> (tensor: Tensor, beta: Float) {
        if let accumulator { return (accumulator, 1) }
        if let gradient, ownsGradient { return (gradient, 1) }
        if let gradient {
            let copy = gradient.copy(category: .gradients)
            self.gradient = copy
            ownsGradient = true
            return (copy, 1)
        }
        let fresh = Tensor(rows: rows, columns: columns, category: .gradients, ledger: ledger)
        gradient = fresh
        ownsGradient = true
        return (fresh, 0)
    }

    fileprivate static func topologicalOrder(from roots: [Node]) -> [Node] {
        var order: [Node] = []
        var visited: Set<ObjectIdentifier> = []
        var stack: [(node: Node, next: Int)] = []
        for root in roots where visited.insert(ObjectIdentifier(root)).inserted {
            stack.append((root, 0))
            while let (node, next) = stack.last {
                if next < node.inputs.count {
                    stack[stack.count - 1].next += 1
                    if let input = node.inputs[next], visited.insert(ObjectIdentifier(input)).inserted {
                        stack.append((input, 0))
                    }
                } else {
                    order.append(node)
                    stack.removeLast()
                }
            }
        }
        return order.reversed()
    }

    fileprivate static func runPullbacks(from roots: [Node]) {
        for node in topologicalOrder(from: roots) { node.runPullback() }
    }

    private func runPullback() {
        guard let pullback, let gradient else { return }
        pullback(gradient, inputs)
        // The saved tensors and the gradient are no longer needed: free them during the pass.
        self.pullback = nil
        self.gradient = nil
    }
}

/// Differentiates backwards from tensors whose gradients are given.
///
/// Gradients are added to the accumulators of the leaves; a leaf without one keeps its gradient in `node.gradient`.
/// Saved tensors are freed as the pass goes. Roots without a node are ignored.
public func backward(from roots: [Tensor], seeds: [Tensor]) {
    precondition(roots.count == seeds.count)
    var starts: [Node] = []
    for (root, seed) in zip(roots, seeds) {
        guard let node = root.node else { continue }
        precondition(root.rows == seed.rows && root.columns == seed.columns && seed.isContiguous)
        node.add(seed, fresh: false)
        starts.append(node)
    }
    Node.runPullbacks(from: starts)
}

/// Differentiates backwards from one node. Its gradient has no other owner, so the pass can free it.
func differentiate(from root: Node, seed: consuming Tensor) {
    root.add(seed, fresh: true)
    _ = consume seed
    Node.runPullbacks(from: [root])
}

/// Puts an operation's output on the tape, when any of its inputs is there; otherwise the pullback is never made and
/// nothing is saved.
func recorded(_ output: Tensor, inputs: [Tensor?], _ pullback: () -> any Pullback) -> Tensor {
    guard isRecorded(inputs) else { return output }
    let nodes = inputs.map { $0?.node }
    return output.with(node: Node(inputs: nodes, pullback: pullback(), ledger: output.ledger))
}

/// Whether an operation on these inputs goes on the tape.
func isRecorded(_ inputs: [Tensor?]) -> Bool {
    inputs.contains { $0.map { $0.node != nil && $0.ledger.isRecording } ?? false }
}
