import Foundation
import Support

/// The reference files of the repository and scratch files of one test.
package enum Reference {
    package static let directory = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Reference").path

    package static func json(_ path: String) throws -> JSONValue {
        try JSONValue(contentsOf: "\(directory)/\(path)")
    }

    /// The folder of a model's tokenizer.
    package static func tokenizer(_ name: String) -> String { "\(directory)/tokenizers/\(name)" }
}

/// A directory that is removed when the test lets go of it.
package final class ScratchDirectory {
    package let path: String

    package init() throws {
        path = NSTemporaryDirectory() + "pac-mpi-text-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    package func write(_ text: String, to name: String) throws -> String {
        try write(Array(text.utf8), to: name)
    }

    package func write(_ bytes: [UInt8], to name: String) throws -> String {
        let file = "\(path)/\(name)"
        try writeFileAtomically(bytes, to: file)
        return file
    }
}

/// The failure that an expression throws, for a look at its words.
package func failure(_ body: () throws -> Void) -> Failure? {
    do {
        try body()
        return nil
    } catch { return error as? Failure }
}

extension JSONValue {
    package var ids: [Int32] { (array ?? []).map { Int32($0.integer ?? -1) } }
}
