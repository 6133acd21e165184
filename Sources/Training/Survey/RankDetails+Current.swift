import Cluster
import Configuration
import HDF5
import Support
import TensorCore

extension RankDetails {
    /// This rank's own details, without routes and clock. Not collective.
    ///
    /// - Throws: when the system does not tell its memory, processors, network or disk.
    static func current(_ experiment: Experiment?) throws -> RankDetails {
        let cache = experiment.map { $0.cache.directory ?? $0.output.directory } ?? "."
        let files = experiment.map { [$0.task.train] + ($0.task.validation.map { [$0] } ?? []) } ?? []
        return RankDetails(
            description: try .current(), processors: try HostResources.processors(),
            blasConfiguration: TensorCore.blasConfiguration, hdf5Version: hdf5LibraryVersion,
            interfaces: try NetworkInterface.all(), routes: [], disk: try FileSystem(at: cache),
            clockSeconds: 0, model: try experiment.map { try modelCopy($0.model) } ?? .notAsked,
            dataChecksums: try files.map { fileExists($0) ? try fileChecksum($0) : nil })
    }

    /// A model that is missing or damaged here is a finding, not the end.
    private static func modelCopy(_ specification: Experiment.Model) throws -> ModelCopy {
        do {
            return .fingerprint(try ModelFiles(specification).fingerprint)
        } catch let failure as Failure {
            return .unusable(failure.message)
        }
    }
}
