import Models
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Compares this build on this machine with reference vectors from another implementation: `pac-mpi verify`.
///
/// A path is a case's directory (`manifest.json` beside it), a tokenizer's directory (`tokenizers/NAME` under the
/// manifest), the tables' directory, or the directory of the manifest for everything that it lists.
package struct ReferenceVerifier {
    private let paths: [String]
    private let techniques: [String]?

    /// - Parameter techniques: check the backbone and these only; nil for everything that the manifest lists.
    package init(paths: [String], techniques: [String]? = nil) {
        self.paths = paths
        self.techniques = techniques
    }

    /// Compares everything under the paths.
    ///
    /// What cannot be compared, such as a listed file that is missing or damaged or a technique that this build does not
    /// have, becomes a row that fails.
    /// - Parameter onRows: sees the rows of each file as they come.
    /// - Throws: when a path is no reference directory or lists nothing to compare.
    package func run(onRows: ([VerificationReport.Row]) -> Void = { _ in }) throws -> VerificationReport {
        var rows: [VerificationReport.Row] = []
        for path in paths {
            let found = try Target.find(path).flatMap { target in
                let found = try compare(target)
                onRows(found)
                return found
            }
            guard !found.isEmpty else {
                throw Failure.configuration("\(path): expected something to compare, found nothing")
            }
            rows += found
        }
        return VerificationReport(rows: rows)
    }

    private func compare(_ target: Target) throws -> [VerificationReport.Row] {
        switch target {
        case .tokenizer(let name, let directory): TokenizerVerification.rows(name, directory)
        case .tables(let directory): TableVerification.rows(directory)
        case .referenceCase(let name, let manifest): try compare(try ReferenceCase(name, manifest))
        }
    }

    private func compare(_ reference: ReferenceCase) throws -> [VerificationReport.Row] {
        let listed = reference.techniques
        for technique in techniques ?? [] where !listed.contains(technique) {
            throw Failure.configuration(
                "\(reference.directory): expected a technique that the manifest lists ("
                    + "\(listed.joined(separator: ", "))), found \"\(technique)\"")
        }
        let name = reference.name
        guard ReferenceCase.supportedFamilies.contains(reference.family) else {
            return [.failed(name, "", "this build cannot check the family \"\(reference.family)\"")]
        }
        var rows = Comparisons.rows(name, "backbone") {
            try BackboneVerification.compareTokenIDs(reference, &$0)
        }
        rows += Comparisons.rows(name, "backbone") { try BackboneVerification.compare(reference, &$0) }
        for kind in listed where techniques?.contains(kind) ?? true {
            guard let type = TuningTechniques.named(kind) else {
                rows.append(.failed(name, kind, "this build cannot check the technique \"\(kind)\""))
                continue
            }
            for file in reference.files(of: kind) {
                rows += Comparisons.rows(name, file) {
                    let technique = try type.init(referenceCase: reference.entry)
                    if let side = technique.side {
                        try ParallelAdaptersVerification.compare(reference, side, file: file, &$0)
                    } else {
                        try TechniqueVerification.compare(reference, technique, file: file, &$0)
                    }
                }
            }
        }
        return rows
    }
}

/// The manifest of a seed's directory.
struct ReferenceManifest {
    let directory: String
    let object: JSONObjectReader

    init(_ directory: String) throws {
        self.directory = directory
        let path = directory + "/manifest.json"
        object = try JSONReader(contentsOf: path).object()
    }

    func keys(_ section: String) throws -> [String] { try object.required(section).object().all.map(\.key) }
}

/// One thing that a path names.
private enum Target {
    case referenceCase(String, ReferenceManifest)
    case tokenizer(String, directory: String)
    case tables(directory: String)

    /// What stands at a path.
    ///
    /// - Throws: when there is no manifest where one must be, or it does not list the path.
    static func find(_ path: String) throws -> [Target] {
        guard let resolved = realpath(path, nil) else {
            throw Failure.configuration("\(path): cannot be read: \(systemReason())")
        }
        defer { free(resolved) }
        let directory = String(cString: resolved)
        if fileExists(directory + "/manifest.json") {
            let manifest = try ReferenceManifest(directory)
            return try manifest.keys("cases").map { .referenceCase($0, manifest) }
                + manifest.keys("tokenizers").map {
                    .tokenizer($0, directory: "\(directory)/tokenizers/\($0)")
                }
                + [.tables(directory: directory + "/tables")]
        }
        let (parent, name) = split(directory)
        if fileExists(parent + "/manifest.json") {
            let manifest = try ReferenceManifest(parent)
            if name == "tables" { return [.tables(directory: directory)] }
            guard try manifest.keys("cases").contains(name) else {
                throw Failure.configuration(
                    "\(path): expected one of the cases that \(parent)/manifest.json lists, found \"\(name)\""
                )
            }
            return [.referenceCase(name, manifest)]
        }
        let (root, folder) = split(parent)
        if folder == "tokenizers", fileExists(root + "/manifest.json") {
            guard try ReferenceManifest(root).keys("tokenizers").contains(name) else {
                throw Failure.configuration(
                    "\(path): expected one of the tokenizers that \(root)/manifest.json lists, found \"\(name)\""
                )
            }
            return [.tokenizer(name, directory: directory)]
        }
        throw Failure.configuration(
            "\(path): expected a directory of reference vectors with its manifest.json beside it, found none")
    }

    private static func split(_ path: String) -> (parent: String, name: String) {
        let parts = path.split(separator: "/")
        return ("/" + parts.dropLast().joined(separator: "/"), String(parts.last ?? ""))
    }
}
