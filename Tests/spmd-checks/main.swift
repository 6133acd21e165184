// Ranks for the tests of Profiling, which run with Training's: `spmd-checks NAME ...`.
import RankChecks

runNamedChecks(of: profileChecks)
