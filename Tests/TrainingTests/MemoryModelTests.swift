import Plans
import Support
import Testing
import TinyRuns

/// The memory that the planner predicts is what the ledger then counts: never less, and not much more.
@Suite(.serialized) struct MemoryModelTests {
    @Test(
        "predicted peaks hold, every family with every technique", arguments: TechniqueEqualityTests.subjects,
        TechniqueEqualityTests.techniques)
    func predictedPeaksHold(subject: TechniqueEqualityTests.Subject, technique: String) throws {
        let workshop = try Workshop(subject.model, subject.task)
        // Data parallelism alone for one half, a stage for each rank for the other.
        let place = TechniqueEqualityTests.techniques.firstIndex(of: technique)! + subject.layerCount
        let system = ["eddl", "eco_fl"][place % 2]
        // A later epoch from the cache lets the first one fill it.
        let caches = technique.contains("parallel_adapters") && !technique.contains("linear")
        let settings = [
            "technique=\(technique)", "training.epochs=\(caches ? 2 : 1)", "training.dropout=0.1",
            "task.validation=null",
            "parallelism.system=\"\(system)\"", "parallelism.plan=null", "training.micro_batch_count=2",
            "training.mini_batch_size=16", "cache.moves_early=false",
        ]
        let outcome = try workshop.run(
            ranks: 4, ["train", workshop.experiment] + Workshop.arguments(settings))
        try #require(outcome.status == 0, "\(outcome.errors)")
        let log = try RunLog("\(workshop.path)/run")
        let path = "\(log.directory)/plan.json"
        let plan = try Plan(JSONReader(contentsOf: path), miniBatchSize: 16)
        let predicted = try #require(plan.predicted)
        // Redistribution takes what there is room for, so only a phase without one says what training needs.
        if caches, system == "eddl" { try Self.checkCachedPhase(log, plan) }
        for (stage, expected) in zip(plan.stages, predicted.stages) {
            // Who of a stage's ranks meets its worst samples is not foreseen.
            let measured = try stage.ranks.map {
                try #require(log.events("memory", "pipeline")[$0]["peak_bytes"]?["total"]?.integer)
            }.max()!
            let bytes = expected.memoryBytes.max()!
            let ratio = Double(bytes) / Double(measured)
            // Attention's scores grow with the square of the length, which the profile's samples of mean length do not
            // show: hence 0.98. Whether messages meet, and how many rows wait for the disk, depends on the machine.
            #expect(
                ratio >= 0.98 && ratio <= 1.35, "\(system), \(stage): \(bytes) for \(measured)")
        }
    }

    /// Epochs from the cache stay within what the forecast says of them.
    private static func checkCachedPhase(_ log: RunLog, _ plan: Plan) throws {
        let path = "\(log.directory)/profile.json"
        let profile = try Profile(JSONReader(contentsOf: path))
        let costs = StageCosts(profile: profile, schedule: .oneForwardOneBackward)
        for (device, share) in zip(profile.devices, plan.cacheShares(profile)) {
            let measured = try #require(
                log.events("memory", "cached")[device.rank]["peak_bytes"]?["total"]?.integer)
            let bytes = try #require(costs.cachedPeakBytes(share: share))
            let ratio = Double(bytes) / Double(measured)
            #expect(ratio >= 0.98 && ratio <= 1.35, "rank \(device.rank): \(bytes) for \(measured)")
        }
    }
}
