/// The learning rate of each update: a linear warm-up, then constant or linear to zero.
///
/// With t completed updates, W warm-up updates and N in all: lr · t / W for t < W, then lr (constant) or
/// lr · (N - t) / (N - W) (linear), as Hugging Face's `get_linear_schedule_with_warmup`.
public struct LearningRateSchedule: Sendable {
    public enum Decay: String, Sendable, CaseIterable { case constant, linear }

    private let peak: Double
    private let decay: Decay
    private let warmupSteps: Int
    private let totalSteps: Int

    public init(peak: Double, decay: Decay, warmupSteps: Int, totalSteps: Int) {
        self.peak = peak
        self.decay = decay
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
    }

    /// The rate of the update that follows `completed` updates.
    public func rate(afterCompleted completed: Int) -> Double {
        if completed < warmupSteps { return peak * Double(completed) / Double(max(1, warmupSteps)) }
        switch decay {
        case .constant: return peak
        case .linear:
            return max(0, peak * Double(totalSteps - completed) / Double(max(1, totalSteps - warmupSteps)))
        }
    }
}
