import Launching
import Testing

/// Profiles made by ranks under `mpirun`; see `Tests/spmd-checks/ProfileChecks.swift` for what each check asks.
@Suite(.serialized) struct ProfileCheckTests {
    static let checks = [
        "profile-bert", "profile-t5", "profile-bfloat16", "profile-within-memory", "host-descriptions",
    ]

    @Test(arguments: [1, 2, 4]) func everyCheckPassesOn(ranks: Int) throws {
        let outcome = try mpirun(
            ranks: ranks, builtExecutable("spmd-checks"), Self.checks, seconds: 120)
        #expect(outcome.errors == "")
        #expect(outcome.status == 0)
        for check in Self.checks {
            #expect(outcome.count(of: "ok \(check)") == ranks, "\(check) on \(ranks) ranks")
        }
    }
}
