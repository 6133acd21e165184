import Launching
import Testing

/// Profiles made by ranks under `mpirun`; see `Tests/spmd-checks/ProfileChecks.swift` for what each check asks.
@Suite(.serialized) struct ProfileCheckTests {
    @Test(arguments: [1, 2, 4]) func everyCheckPassesOn(ranks: Int) throws {
        let checks = ["profile-bert", "profile-t5", "profile-bfloat16", "profile-within-memory"]
        try expectChecks("spmd-checks", checks, ranks: ranks)
    }
}
