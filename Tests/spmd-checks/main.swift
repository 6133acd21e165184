// Ranks for the tests of Training: `spmd-checks NAME ...`.
import RankChecks

runNamedChecks(of: profileChecks)
