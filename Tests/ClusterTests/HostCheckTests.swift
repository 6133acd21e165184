import Launching
import Testing

/// Hosts as ranks under `mpirun` tell of them.
@Suite(.serialized) struct HostCheckTests {
    @Test(arguments: [1, 2, 4]) func everyRankKnowsAllHosts(ranks: Int) throws {
        try expectChecks("spmd-checks", ["host-descriptions"], ranks: ranks)
    }
}
