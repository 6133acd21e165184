import CKernels

/// Updates a bucket of parameters from its gradients.
public protocol Optimizer: AnyObject {
    /// Completed updates.
    var stepCount: Int { get }
    /// The buffers that a run must carry along when the parameters move to another rank, each as long as the bucket.
    var state: [Tensor] { get }

    /// One update.
    ///
    /// - Parameter gradientScale: multiplies the gradients first: the clipping by global norm.
    func step(_ bucket: ParameterBucket, learningRate: Float, gradientScale: Float)

    /// Sets the number of completed updates, when `state` was copied from another optimizer.
    func restore(stepCount: Int)
}

/// Decoupled AdamW (Loshchilov and Hutter 2019); decay acts on every trainable parameter.
public final class AdamW: Optimizer {
    public private(set) var stepCount = 0
    private let beta1: Float
    private let beta2: Float
    private let epsilon: Float
    private let weightDecay: Float
    private let firstMoment: Tensor
    private let secondMoment: Tensor

    public init(
        parameterCount: Int, weightDecay: Float, beta1: Float = 0.9, beta2: Float = 0.999,
        epsilon: Float = 1e-8,
        ledger: Ledger
    ) {
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
        firstMoment = Tensor(rows: 1, columns: parameterCount, category: .optimizer, ledger: ledger)
        secondMoment = Tensor(rows: 1, columns: parameterCount, category: .optimizer, ledger: ledger)
        firstMoment.fill(0)
        secondMoment.fill(0)
    }

    public var state: [Tensor] { [firstMoment, secondMoment] }

    public func step(_ bucket: ParameterBucket, learningRate: Float, gradientScale: Float) {
        precondition(bucket.count == firstMoment.columns)
        stepCount += 1
        inParallel(elements: bucket.count) { part in
            let start = part.lowerBound
            ck_adamw(
                bucket.values.pointer + start, firstMoment.pointer + start, secondMoment.pointer + start,
                bucket.gradients.pointer + start, learningRate, beta1, beta2, epsilon, weightDecay,
                gradientScale, Int64(stepCount), part.count)
        }
    }

    public func restore(stepCount: Int) { self.stepCount = stepCount }
}

/// Plain stochastic gradient descent with decoupled weight decay.
public final class SGD: Optimizer {
    public private(set) var stepCount = 0
    private let weightDecay: Float

    public init(weightDecay: Float) { self.weightDecay = weightDecay }

    public var state: [Tensor] { [] }

    public func step(_ bucket: ParameterBucket, learningRate: Float, gradientScale: Float) {
        stepCount += 1
        let values = bucket.values.pointer
        if weightDecay != 0 { ck_scale(values, values, 1 - learningRate * weightDecay, bucket.count) }
        ck_axpy(values, -learningRate * gradientScale, bucket.gradients.pointer, bucket.count)
    }

    public func restore(stepCount: Int) { self.stepCount = stepCount }
}

/// The factor that clips gradients to a global norm: min(1, c / (‖g‖ + 1e-6)), PyTorch's.
///
/// - Parameter squaredNorm: over all trainable parameters of all ranks, each counted once.
public func clippingScale(squaredNorm: Double, maximumNorm: Double?) -> Float {
    guard let maximumNorm else { return 1 }
    return Float(min(1, maximumNorm / (squaredNorm.squareRoot() + 1e-6)))
}
