import Foundation
import Support
import Testing

@Suite struct FilesTests {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path

    @Test func aFileIsReplacedAsAWhole() throws {
        try makeDirectory(folder + "/a/b")
        let path = folder + "/a/b/file"
        try writeFileAtomically("one", to: path)
        try writeFileAtomically("two", to: path)
        #expect(try readFile(path) == Array("two".utf8))
        #expect(!fileExists(path + ".part"))
        try FileManager.default.removeItem(atPath: folder)
    }

    @Test func failuresNamePathAndReason() {
        #expect(throws: Failure.configuration("/nowhere/x: cannot be read: No such file or directory")) {
            _ = try readFile("/nowhere/x")
        }
        #expect(throws: Failure.configuration("/: expected a file, found a directory or a device")) {
            _ = try readFile("/")
        }
        #expect(throws: Failure.run("/nowhere/x.part: cannot be written: No such file or directory")) {
            try writeFileAtomically("x", to: "/nowhere/x")
        }
    }
}
