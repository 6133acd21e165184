import Support

/// What `doctor` asks a rank about, beyond its identity.
package struct RankDetails: Sendable, Equatable {
    /// A rank's copy of the experiment's model.
    package enum ModelCopy: Sendable, Equatable {
        /// No experiment was named.
        case notAsked
        case fingerprint(String)
        /// Why it cannot be used.
        case unusable(String)
    }

    package var description: HostDescription
    /// The processors that this rank may run on, by number: mpirun may have bound it to some of the host's.
    package var processors: [Int]
    /// OpenBLAS's own words.
    package var blasConfiguration: String
    package var hdf5Version: String
    /// Those of the host.
    package var interfaces: [NetworkInterface]
    /// To every other host.
    package var routes: [NetworkRoute]
    /// Where the cache will lie.
    package var disk: FileSystem
    /// The clock on the wall less rank 0's, in seconds.
    package var clockSeconds: Double
    package var model: ModelCopy
    /// The checksum of each data file of the experiment, nil for one that is not here.
    package var dataChecksums: [String?]

    package init(
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
    package var blasVersion: String {
        let words = blasConfiguration.split(separator: " ")
        return words.count > 1 ? String(words[1]) : blasConfiguration
    }
}

extension RankDetails {
    /// Reads details, strictly.
    ///
    /// - Throws: a configuration failure that names file, line, key path, what was expected and what was found.
    package init(_ reader: JSONReader) throws {
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

    package var json: JSONValue {
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
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["name", "address", "prefix_length"])
        self.init(
            name: try object.required("name").string(), address: try object.required("address").string(),
            prefixLength: try object.required("prefix_length").integer(in: 0...32))
    }

    package var json: JSONValue {
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
