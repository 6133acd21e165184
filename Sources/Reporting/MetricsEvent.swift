/// The events of `metrics.jsonl`, which docs/outputs.md describes.
public enum MetricsEvent: String, CaseIterable, Sendable {
    case start, step, epoch, evaluation, resume, activations, redistribution, memory, end

    /// The fields that an event of this name may have, after `event` and `time`.
    public var fields: [String] {
        switch self {
        case .start: ["ranks", "hosts", "trainable_parameters", "total_parameters", "model_hash"]
        case .step:
            [
                "epoch", "step", "phase", "loss", "learning_rate", "samples", "tokens", "seconds",
                "communication_seconds",
            ]
        case .epoch:
            [
                "epoch", "phase", "train_loss", "seconds", "communication_share", "busiest_share",
                "disk_wait_seconds",
            ]
        case .evaluation: ["epoch", "metrics", "samples", "seconds"]
        case .resume:
            ["epoch", "step", "ranks", "trainable_parameters", "reused_samples", "recomputed_samples"]
        case .activations: ["samples", "seconds", "communication_share", "busiest_share"]
        case .redistribution: ["bytes", "seconds"]
        case .memory: ["rank", "phase", "peak_bytes", "peak_rss_bytes"]
        case .end: ["seconds", "steps"]
        }
    }
}
