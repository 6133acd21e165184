import Launching
import PlanExamples
import Planning
import Plans
import Reporting
import Support
import Testing
import TinyRuns

/// A disk that is full ends the run with one line, and leaves whole what was saved.
@Suite struct FullDiskTests {
    /// Two stages, so that the cache is written twice: by stages, then by samples.
    private static let pairs = Plan.of(
        [(0..<3, [0, 1], [2, 2]), (3..<5, [2, 3], [2, 2])], microBatchCount: 2)

    /// A disk too small for the first epoch, and one that is full when the samples change hands.
    @Test(
        "a full disk while caching",
        .enabled(if: SmallDisk.isPermitted, "mounting a small file system needs root"),
        arguments: [(1, 100), (4, 100), (4, 2800)])
    func aFullDiskWhileCaching(ranks: Int, kibibytes: Int) throws {
        let workshop = try Workshop()
        let plan = ranks == 1 ? Plan.alone(layerCount: 5) : Self.pairs
        _ = try workshop.train("run", plan: .alone(layerCount: 5), settings: ["training.epochs=1"])
        let adapter = try workshop.read("run/adapter/adapter_model.safetensors")
        let disk = try SmallDisk("\(workshop.path)/disk", kibibytes: kibibytes)
        let outcome = try workshop.run(
            ranks: ranks,
            ["train", workshop.experiment, "--overwrite"]
                + Workshop.arguments(
                    // More than there is: without a budget the run would keep to what is free.
                    ["cache.directory=\(disk.path)", "cache.budget_bytes=1000000000"], plan: plan),
            seconds: 30)
        #expect(outcome.status == 1)
        let lines = outcome.errors.split(separator: "\n")
        #expect(lines.count == 1 && lines[0].hasPrefix("pac-mpi: "), "\(outcome.errors)")
        #expect(outcome.errors.contains(disk.path))
        #expect(outcome.errors.contains("No space left on device"))
        // What was saved is whole: the adapter of the run before or, once the first epoch was through, that epoch's own;
        // the plan; and every line of the log.
        let after = try workshop.read("run/adapter/adapter_model.safetensors")
        #expect((after == adapter) == (kibibytes == 100))
        #expect(after.count == adapter.count)
        let log = try RunLog("\(workshop.path)/run")
        #expect(log.events("start").count == 1)
        if kibibytes > 100 { #expect(log.events("epoch").count == 1) }
        #expect(log.events("end").isEmpty)
        _ = try JSONValue(contentsOf: "\(workshop.path)/run/plan.json")
        // What the ranks did up to the failure is there, and a page can be made of it.
        let trace = try TraceFile.read("\(workshop.path)/run/trace.json")
        #expect(trace.map(\.ranks) == [Array(0..<ranks)])
        for rank in 0..<ranks {
            #expect(trace[0].spans.contains { $0.rank == rank && $0.name == "F0" && $0.arguments.step == 1 })
        }
        let report = try workshop.run(["report", "\(workshop.path)/run"])
        #expect(report.status == 0, "\(report.errors)")
        let page = String(decoding: try workshop.read("run/report.html"), as: UTF8.self)
        #expect(page.contains("This run did not come to its end"))
        try disk.unmount()
    }
}
