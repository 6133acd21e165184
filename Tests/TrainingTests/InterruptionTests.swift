import Foundation
import Launching
import PlanExamples
import Plans
import Support
import Testing
import TinyRuns

/// Runs that are ended from outside: they end soon, with one line and status 1, and save on their way what they can.
@Suite struct InterruptionTests {
    private static let host = String(ProcessInfo.processInfo.hostName.prefix { $0 != "." })

    private func lines(_ outcome: Outcome) -> [Substring] {
        outcome.errors.split(separator: "\n").filter { $0.hasPrefix("pac-mpi: ") }
    }

    @Test("a rank that stops is waited for until the limit, and named")
    func aRankThatStopsIsWaitedForUntilTheLimitAndNamed() throws {
        let workshop = try Workshop()
        var stopped = Date()
        let outcome = try workshop.interrupt("run", settings: ["parallelism.wait_limit_seconds=1"]) {
            launcher in
            kill(try process(ofRank: 1, under: launcher), SIGSTOP)
            stopped = Date()
        }
        // One second, two of the roll call, and what mpirun takes to end a process that does not listen.
        #expect(Date().timeIntervalSince(stopped) < 15)
        #expect(outcome.status == 1)
        let line = try #require(lines(outcome).first, "\(outcome.errors)")
        #expect(lines(outcome).count == 1, "\(outcome.errors)")
        #expect(line.hasPrefix("pac-mpi: rank 0 (\(Self.host)): "), "\(line)")
        #expect(line.contains("rank 1 (\(Self.host))"), "\(line)")
        #expect(
            line.hasSuffix(
                " was not complete after 1 second; no answer from rank 1 (\(Self.host))"), "\(line)")
    }

    @Test("a signal to mpirun is told once, after rank 0 has saved its trace", arguments: [SIGTERM, SIGINT])
    func aSignalToMpirunIsToldOnce(signal: Int32) throws {
        let workshop = try Workshop()
        let outcome = try workshop.interrupt("run", settings: []) { kill($0, signal) }
        #expect(outcome.status != 0)
        // Whatever mpirun gets, its ranks get SIGTERM.
        let line = try #require(lines(outcome).first, "\(outcome.errors)")
        #expect(lines(outcome).count == 1, "\(outcome.errors)")
        #expect(
            line.hasPrefix("pac-mpi: rank 0 (\(Self.host)): ended by signal 15 (SIGTERM)"), "\(line)")
        #expect(workshop.exists("run/trace.json"))
    }

    @Test("one process alone ends with status 1 as well")
    func oneProcessAloneEndsWithStatusOneAsWell() throws {
        let workshop = try Workshop()
        let arguments = Workshop.arguments([
            "output.directory=\(workshop.path)/run", "training.epochs=100000",
        ])
        let outcome = try launch(
            builtExecutable("pac-mpi"), ["train", workshop.experiment] + arguments, seconds: 30
        ) { process in
            let deadline = Date(timeIntervalSinceNow: 20)
            while !workshop.exists("run/metrics.jsonl"), Date() < deadline { usleep(20_000) }
            kill(process, SIGINT)
        }
        #expect(outcome.status == 1)
        #expect(outcome.errors == "pac-mpi: ended by signal 2 (SIGINT)\n")
    }

    @Test("the wait limit is a positive number", arguments: ["0", "-1", "null", "\"long\""])
    func theWaitLimitIsAPositiveNumber(value: String) throws {
        let workshop = try Workshop()
        let outcome = try workshop.run(
            ["train", workshop.experiment] + Workshop.arguments(["parallelism.wait_limit_seconds=\(value)"]))
        if value == "null" {
            #expect(outcome.status == 0, "null is the default")
        } else {
            #expect(outcome.status == 2)
            #expect(
                outcome.errors.contains("parallelism.wait_limit_seconds: expected a number from 0.001"),
                "\(outcome.errors)")
        }
    }

    @Test("time in communication is logged for every step and epoch", arguments: [1, 2])
    func timeInCommunicationIsLogged(ranks: Int) throws {
        let workshop = try Workshop()
        let plan =
            ranks == 1
            ? Plan.alone(layerCount: 5)
            : Plan.of([(0..<3, [0], [4]), (3..<5, [1], [4])], microBatchCount: 2)
        let log = try workshop.train(ranks: ranks, "run", plan: plan)
        let steps = log.events("step")
        #expect(steps.count == 42)
        for step in steps {
            let seconds = try #require(step["seconds"]?.number)
            let communication = try #require(step["communication_seconds"]?.number)
            #expect(communication >= 0 && communication <= seconds)
            // Alone, nothing is sent in a step; together, two stages wait for each other.
            #expect(ranks == 1 ? communication == 0 : communication > 0)
        }
        for epoch in log.events("epoch") {
            let share = try #require(epoch["communication_share"]?.number)
            #expect(share >= 0 && share < 1)
            if ranks > 1 { #expect(share > 0) }
        }
    }
}
