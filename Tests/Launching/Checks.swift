import Testing

/// Runs named checks of a helper program on some ranks under `mpirun`. All of them must pass on every rank.
package func expectChecks(_ program: String, _ checks: [String], ranks: Int) throws {
    let outcome = try mpirun(ranks: ranks, builtExecutable(program), checks, seconds: 120)
    #expect(outcome.errors == "")
    #expect(outcome.status == 0)
    for check in checks { #expect(outcome.count(of: "ok \(check)") == ranks, "\(check) on \(ranks) ranks") }
}
