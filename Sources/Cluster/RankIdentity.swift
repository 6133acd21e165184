import MPI
import Support

/// What ranks must have in common before they exchange anything else.
package struct RankIdentity: Sendable, Equatable {
    package var host: String
    package var build: ProgramBuild
    /// "Open MPI v4.1.4".
    package var mpiVersion: String
    /// The command line behind the program's name.
    package var arguments: [String]

    package init(host: String, build: ProgramBuild, mpiVersion: String, arguments: [String]) {
        self.host = host
        self.build = build
        self.mpiVersion = mpiVersion
        self.arguments = arguments
    }

    /// Of this process. Not collective.
    ///
    /// - Throws: when the executable cannot be read.
    package static func current() throws -> RankIdentity {
        RankIdentity(
            host: MPIEnvironment.processorName, build: try .current(),
            mpiVersion: MPIEnvironment.libraryVersion, arguments: Array(CommandLine.arguments.dropFirst()))
    }
}

extension RankIdentity {
    /// Reads what a rank sent. Unlike everything else that ranks send, it may stem from another version of the program:
    /// keys that this one does not know are passed over.
    package init(_ reader: JSONReader) throws {
        let object = try reader.object()
        let build = try object.required("build").object()
        self.init(
            host: try object.required("host").string(),
            build: ProgramBuild(
                version: try build.required("version").string(),
                architecture: try build.required("architecture").string(),
                isLittleEndian: try build.required("little_endian").bool(),
                checksum: try build.required("checksum").string()),
            mpiVersion: try object.required("mpi").string(),
            arguments: try object.required("arguments").array().map { try $0.string() })
    }

    package var json: JSONValue {
        .dictionary([
            ("host", .string(host)),
            (
                "build",
                .dictionary([
                    ("version", .string(build.version)), ("architecture", .string(build.architecture)),
                    ("little_endian", .bool(build.isLittleEndian)), ("checksum", .string(build.checksum)),
                ])
            ),
            ("mpi", .string(mpiVersion)), ("arguments", .array(arguments.map { .string($0) })),
        ])
    }
}
