import Foundation
import Launching
import MPI
import Testing

/// Every check runs on ranks of its own under `mpirun`; see `Tests/mpi-checks` for what each one asks.
@Suite(.serialized) struct CommunicatorTests {
    /// The checks that pass on any number of ranks.
    static let checks = [
        "ring", "progress", "zero-length", "short-message", "truncated-message", "ownership",
        "too-large-message",
        "barrier",
        "split", "duplicate", "broadcast", "all-reduce", "gather", "all-to-all", "agree", "from-root",
        "wait-limit", "wait-limit-in-group",
        "late-barrier", "communication-clock",
    ]

    @Test(arguments: [1, 2, 3, 4]) func everyCheckPassesOn(ranks: Int) throws {
        let outcome = try mpirun(ranks: ranks, Self.checks)
        #expect(outcome.errors == "")
        #expect(outcome.status == 0)
        for check in Self.checks {
            #expect(outcome.count(of: "ok \(check)") == ranks, "\(check) on \(ranks) ranks")
        }
    }

    @Test(arguments: [1, 2, 4]) func messageOf96MebibytesArrivesOn(ranks: Int) throws {
        let outcome = try mpirun(ranks: ranks, ["large-message"])
        #expect(outcome.errors == "")
        #expect(outcome.count(of: "ok large-message") == ranks)
    }

    @Test func oneProcessNeedsNoLauncher() throws {
        let outcome = try launch(mpiChecks, Self.checks, seconds: 60)
        #expect(outcome.errors == "")
        #expect(outcome.status == 0)
        for check in Self.checks { #expect(outcome.count(of: "ok \(check)") == 1, "\(check)") }
    }

    /// The same bits in two runs, on 2, 3 and 4 ranks.
    @Test(arguments: [2, 3, 4]) func sumsRepeatAcrossRunsOn(ranks: Int) throws {
        let runs = try (0..<2).map { _ in
            let outcome = try mpirun(ranks: ranks, ["repeatable-sum"])
            #expect(outcome.errors == "")
            return Set(outcome.output.split(separator: "\n").filter { $0.hasPrefix("sum of") })
        }
        #expect(runs[0].count == 2)
        #expect(runs[0] == runs[1])
    }

    @Test(arguments: [1, 4]) func sharedFailureIsOneLineAndItsStatus(ranks: Int) throws {
        let outcome = try mpirun(ranks: ranks, ["fail-together"])
        let place = ranks == 1 ? "" : "rank 0 (\(MPIEnvironment.processorName)): "
        #expect(outcome.errors == place + "x.json:3: expected a number\n")
        #expect(outcome.output == "")
        #expect(outcome.status == 2)
    }

    @Test(arguments: [1, 2, 4]) func loneFailureEndsEveryRankWithOneLine(ranks: Int) throws {
        let outcome = try mpirun(ranks: ranks, ["fail-alone"], seconds: 15)
        #expect(outcome.errors == "rank \(ranks - 1) (host): the disk is full\n")
        #expect(outcome.output == "")
        #expect(outcome.status == 1)
    }

    @Test func killedRankEndsTheJob() throws {
        let outcome = try mpirun(ranks: 3, ["fail-silently"], seconds: 15)
        #expect(outcome.status == 128 + SIGKILL)
        #expect(outcome.count(of: "ok fail-silently") == 0)
    }

    @Test(arguments: [1, 2, 4]) func signalIsTheFailureOfTheWaitThatItMeets(ranks: Int) throws {
        let outcome = try mpirun(ranks: ranks, ["ended-by-signal"], seconds: 15)
        let host = MPIEnvironment.processorName
        let expected =
            "rank \(ranks - 1) (\(host)): ended by signal 15 (SIGTERM) during receive of 16 bytes with tag 9 from "
            + "rank 0 (\(host))"
        #expect(outcome.errors.split(separator: "\n").first.map(String.init) == expected)
        #expect(outcome.output == "")
        #expect(outcome.status == 1)
    }

    @Test(arguments: [1, 2]) func secondSignalEndsTheProcess(ranks: Int) throws {
        let outcome = try mpirun(ranks: ranks, ["ended-by-two-signals"], seconds: 15)
        #expect(outcome.status == 1)
        #expect(outcome.count(of: "ok ended-by-two-signals") == 0)
    }

    /// The tests above would pass on nothing if a failing check could end with status 0.
    @Test func failingCheckFails() throws {
        let outcome = try mpirun(ranks: 2, ["no-such-check"])
        #expect(outcome.status != 0)
        #expect(outcome.errors.contains("unknown check no-such-check"))
    }

    @Test func withoutLauncherThisIsRankZero() {
        #expect(MPIEnvironment.rankBeforeInitialization == 0)
        #expect(MPIEnvironment.sizeBeforeInitialization == 1)
        #expect(
            MPIEnvironment.processorName
                == ProcessInfo.processInfo.hostName.split(separator: ".").first.map(String.init))
        #expect(MPIEnvironment.libraryVersion.contains("MPI"))
    }
}
