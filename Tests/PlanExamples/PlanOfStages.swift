import Plans

extension Plan {
    /// A plan from layers, ranks and shares.
    package static func of(_ stages: [(Range<Int>, [Int], [Int])], microBatchCount: Int) -> Plan {
        Plan(
            stages: stages.map { StagePlan(layers: $0.0, ranks: $0.1, share: $0.2) },
            microBatchCount: microBatchCount)
    }
}
