// Ranks for the tests of Stages, Cluster and Profiling: `spmd-checks NAME ...`.
import RankChecks

runNamedChecks(of: profileChecks + hostChecks + generatorChecks)
