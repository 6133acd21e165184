import Launching
import Testing

/// Texts written by ranks under `mpirun`; see `Tests/spmd-checks/GeneratorChecks.swift` for what each check asks.
@Suite(.serialized) struct GeneratorCheckTests {
    @Test(arguments: [1, 2]) func oneGeneratorServesSeveralCallers(ranks: Int) throws {
        try expectChecks("spmd-checks", ["generator-t5", "generator-llama"], ranks: ranks)
    }
}
