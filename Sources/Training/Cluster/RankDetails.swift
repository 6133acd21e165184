import HDF5
import Support
import TensorCore

/// What `doctor` asks a rank about, beyond its identity.
public struct RankDetails: Sendable, Equatable {
    /// A rank's copy of the experiment's model.
    public enum ModelCopy: Sendable, Equatable {
        /// No experiment was named.
        case notAsked
        case fingerprint(String)
        /// Why it cannot be used.
        case unusable(String)
    }

    public var description: HostDescription
    /// The processors that this rank may run on, by number: mpirun may have bound it to some of the host's.
    public var processors: [Int]
    /// OpenBLAS's own words.
    public var blasConfiguration: String
    public var hdf5Version: String
    /// Those of the host.
    public var interfaces: [NetworkInterface]
    /// To every other host.
    public var routes: [NetworkRoute]
    /// Where the cache will lie.
    public var disk: FileSystem
    /// The clock on the wall less rank 0's, in seconds.
    public var clockSeconds: Double
    public var model: ModelCopy
    /// The checksum of each data file of the experiment, nil for one that is not here.
    public var dataChecksums: [String?]

    public init(
        description: HostDescription, processors: [Int], blasConfiguration: String, hdf5Version: String,
        interfaces: [NetworkInterface], routes: [NetworkRoute], disk: FileSystem, clockSeconds: Double,
        model: ModelCopy, dataChecksums: [String?]
    ) {
        self.description = description
        self.processors = processors
        self.blasConfiguration = blasConfiguration
        self.hdf5Version = hdf5Version
        self.interfaces = interfaces
        self.routes = routes
        self.disk = disk
        self.clockSeconds = clockSeconds
        self.model = model
        self.dataChecksums = dataChecksums
    }

    /// "0.3.21": the second word of OpenBLAS's description of itself.
    public var blasVersion: String {
        let words = blasConfiguration.split(separator: " ")
        return words.count > 1 ? String(words[1]) : blasConfiguration
    }

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

extension RankDetails {
    /// Reads details, strictly.
    ///
    /// - Throws: a configuration failure that names file, line, key path, what was expected and what was found.
    public init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "hardware", "processors", "openblas", "hdf5", "interfaces", "routes", "disk", "clock_seconds",
            "model", "model_failure", "data",
        ])
        let disk = try object.required("disk").object(keys: ["path", "file_system", "free_bytes"])
        let model = try object.optional("model")?.string()
        let modelFailure = try object.optional("model_failure")?.string()
        self.init(
            description: try HostDescription(object.required("hardware")),
            processors: try object.required("processors").array().map { try $0.integer(in: 0...Int.max) },
            blasConfiguration: try object.required("openblas").string(),
            hdf5Version: try object.required("hdf5").string(),
            interfaces: try object.required("interfaces").array().map { try NetworkInterface($0) },
            routes: try object.required("routes").array().map { try NetworkRoute($0) },
            disk: FileSystem(
                place: try disk.required("path").string(), name: try disk.required("file_system").string(),
                freeBytes: try disk.required("free_bytes").integer(in: 0...Int.max)),
            clockSeconds: try object.required("clock_seconds").number(),
            model: model.map { .fingerprint($0) } ?? modelFailure.map { .unusable($0) } ?? .notAsked,
            dataChecksums: try object.required("data").array().map { $0.isNull ? nil : try $0.string() })
    }

    public var json: JSONValue {
        var (fingerprint, failure): (JSONValue, JSONValue) = (.null, .null)
        switch model {
        case .notAsked: break
        case .fingerprint(let text): fingerprint = .string(text)
        case .unusable(let text): failure = .string(text)
        }
        return .dictionary([
            ("hardware", description.json), ("processors", .array(processors.map { JSONValue($0) })),
            ("openblas", .string(blasConfiguration)), ("hdf5", .string(hdf5Version)),
            ("interfaces", .array(interfaces.map(\.json))), ("routes", .array(routes.map(\.json))),
            (
                "disk",
                .dictionary([
                    ("path", .string(disk.place)), ("file_system", .string(disk.name)),
                    ("free_bytes", JSONValue(disk.freeBytes)),
                ])
            ),
            ("clock_seconds", JSONValue(clockSeconds)), ("model", fingerprint), ("model_failure", failure),
            ("data", .array(dataChecksums.map { $0.map(JSONValue.string) ?? .null })),
        ])
    }
}

extension NetworkInterface {
    init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["name", "address", "prefix_length"])
        self.init(
            name: try object.required("name").string(), address: try object.required("address").string(),
            prefixLength: try object.required("prefix_length").integer(in: 0...32))
    }

    var json: JSONValue {
        .dictionary([
            ("name", .string(name)), ("address", .string(address)),
            ("prefix_length", JSONValue(prefixLength)),
        ])
    }
}

extension NetworkRoute {
    fileprivate init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["to", "interface"])
        self.init(
            host: try object.required("to").string(),
            interface: try object.optional("interface").map { try NetworkInterface($0) })
    }

    fileprivate var json: JSONValue {
        .dictionary([("to", .string(host)), ("interface", interface?.json ?? .null)])
    }
}
