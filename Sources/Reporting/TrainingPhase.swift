/// The two ways to train: through the stages with the backbone, and from the cache without it.
public enum TrainingPhase: String, Sendable, CaseIterable {
    case pipeline, cached
}
