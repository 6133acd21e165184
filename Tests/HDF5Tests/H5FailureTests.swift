import Foundation
import HDF5
import Launching
import Support
import Testing

@Suite(.serialized) struct H5FailureTests {
    let folder = try! Folder()

    /// The failure that a call throws.
    private func failure(_ body: () throws -> Void) -> Failure? {
        #expect(throws: Failure.self, performing: body)
    }

    /// A file with 100 rows of 10 floats that has been closed.
    private func sample(_ name: String) throws -> String {
        let path = folder.file(name)
        let file = try H5File.create(path)
        try file.createDataset("rows", type: .float32, rowShape: [10]).append((0..<1000).map(Float.init))
        try file.close()
        return path
    }

    // MARK: Wrong files

    @Test func missingFileIsNamed() {
        let path = folder.file("missing.h5")
        #expect(
            failure { _ = try H5File.openForReading(path) }
                == .configuration("\(path): opening the file: No such file or directory"))
        #expect(
            failure { _ = try H5File.create(folder.file("no/such/folder.h5")) }
                == .run("\(folder.file("no/such/folder.h5")): creating the file: No such file or directory"))
    }

    /// Wherever it is cut: a file that opens must not seem whole.
    @Test(arguments: [0, 1, 7, 100, 500, 2048, -1]) func truncatedFileIsNamed(length: Int) throws {
        let path = try sample("cut.h5")
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        try bytes.prefix(length < 0 ? bytes.count + length : length).write(to: URL(fileURLWithPath: path))
        let failure = failure { _ = try H5File.openForReading(path) }
        #expect(failure?.kind == .configuration)
        #expect(
            failure?.message.hasPrefix("\(path): opening the file: ") == true,
            "\(String(describing: failure))")
    }

    @Test func otherFormatIsNamed() throws {
        let path = folder.file("text.h5")
        try Data(repeating: 65, count: 5000).write(to: URL(fileURLWithPath: path))
        #expect(
            failure { _ = try H5File.openForReading(path) }
                == .configuration("\(path): opening the file: file signature not found"))
    }

    /// Neither a reader nor a second writer gets at the file of a writer, in another process (this one would share it).
    @Test func fileOfAWriterIsLocked() throws {
        let path = folder.file("busy.h5")
        let writer = try H5File.create(path)
        try writer.writeDataset("x", [Int32(1)])
        try writer.flush()
        for mode in ["read", "write"] {
            let (status, _, text) = try run([helper, "open-to-\(mode)", path])
            #expect(status == 2)
            #expect(text.hasPrefix("\(path): opening the file"), "\(text)")
            #expect(
                text.contains("Resource temporarily unavailable: another process has the file open"),
                "\(text)")
        }
        try writer.close()
        let (status, _, text) = try run([helper, "open-to-read", path])
        #expect(status == 0, "\(text)")
        #expect(try H5File.openForReading(path).openDataset("x").read(Int32.self) == [1])
    }

    @Test func existingFileIsNotEmptied() throws {
        let path = try sample("twice.h5")
        #expect(failure { _ = try H5File.create(path) } == .run("\(path): creating the file: File exists"))
        // A reader that has the old file keeps it when it is replaced.
        let old = try H5File.openForReading(path)
        let new = try H5File.create(path, replacing: true)
        try new.writeDataset("other", [Int32(5)])
        try new.close()
        #expect(try old.openDataset("rows").read(Float.self) == (0..<1000).map(Float.init))
        #expect(try H5File.openForReading(path).datasetPaths() == ["/other"])
    }

    // MARK: Wrong contents

    @Test func wrongTypeIsRefused() throws {
        let path = try sample("type.h5")
        let file = try H5File.openForWriting(path)
        #expect(
            failure { _ = try file.openDataset("rows", type: .float16) }
                == .configuration("\(path): /rows: expected elements of type float16, found float32"))
        let rows = try file.openDataset("rows", type: .float32)
        #expect(
            failure { _ = try rows.read(Int32.self) }
                == .run("\(path): /rows: expected elements of type float32, found int32"))
        #expect(
            failure { try rows.append([UInt32(1)]) }
                == .run("\(path): /rows: expected elements of type float32, found uint32"))
        #expect(
            failure { try rows.append([Float](repeating: 0, count: 11)) }
                == .run("\(path): /rows: expected whole rows of 40 bytes, found 44 bytes"))
        #expect(
            failure { _ = try rows.read(Float.self, rows: 99..<101) }
                == .run("\(path): /rows: expected rows within 0..<100, found 99..<101"))
        var bytes = [UInt8](repeating: 0, count: 79)
        #expect(
            failure { try bytes.withUnsafeMutableBytes { try rows.read(rows: 0..<2, into: $0) } }
                == .run("\(path): /rows: expected 80 bytes for 2 rows, found 79"))
        #expect(
            failure { _ = try file.openDataset("train/rows") }
                == .configuration("\(path): /train/rows: expected a dataset, found nothing"))
        #expect(
            failure { _ = try file.createDataset("rows", type: .int32) }
                == .run("\(path): /rows: creating the dataset: its name is taken"))
        #expect(
            failure { try file.setAttribute("a", to: .string("b\0c")) }
                == .run("\(path): /: attribute \"a\": expected text without a zero byte"))
        // None of these has harmed the file.
        try rows.append([Float](repeating: 7, count: 10))
        try file.close()
        #expect(try H5File.openForReading(path).openDataset("rows").rowCount == 101)
    }

    @Test func groupIsNoDataset() throws {
        let path = folder.file("group.h5")
        let file = try H5File.create(path)
        try file.writeDataset("train/labels", [Int32(1)])
        #expect(failure { _ = try file.openDataset("train") }?.message.hasPrefix("\(path): /train: ") == true)
        #expect(
            failure { _ = try file.members(of: "train/labels") }
                == .configuration("\(path): /train/labels: expected a group, found a dataset"))
        try file.close()
    }

    @Test func closedFileIsNotUsed() throws {
        let path = folder.file("closed.h5")
        let file = try H5File.create(path)
        let rows = try file.createDataset("rows", type: .int32)
        try file.close()
        try file.close()
        let closed = Failure.run("\(path): the file has been closed or given up")
        #expect(failure { _ = try file.openDataset("rows") } == closed)
        #expect(failure { try file.sync() } == closed)
        #expect(
            failure { try rows.append([Int32(1)]) }
                == .run("\(path): /rows: the file has been closed or given up"))
    }

    @Test func readOnlyFileIsNotWritten() throws {
        let path = try sample("read-only.h5")
        let before = try Data(contentsOf: URL(fileURLWithPath: path))
        let file = try H5File.openForReading(path)
        let rows = try file.openDataset("rows")
        #expect(
            failure { try rows.append([Float](repeating: 1, count: 10)) }
                == .run("\(path): /rows: growing to 101 rows: the file has been opened for reading only"))
        #expect(
            failure { try file.setAttribute("a", to: .bool(true)) }?.message.hasSuffix("reading only") == true
        )
        #expect(rows.rowCount == 100)
        try file.close()
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
    }

    // MARK: Accidents

    @Test func flushedRowsSurviveKill() throws {
        for trial in 0..<5 {
            let path = folder.file("killed-\(trial).h5")
            let (status, reason, _) = try run([helper, "write-and-die", path])
            #expect(reason == .uncaughtSignal && status == SIGKILL)
            let file = try H5File.openForReading(path)
            let rows = try file.openDataset("train/encoder/activations", type: .float32)
            #expect(rows.rowCount >= 200)
            #expect(try rows.read(Float.self, rows: 0..<200) == (0..<1200).map(Float.init))
            let identifiers = try file.openDataset("train/sample_ids", type: .int64)
            #expect(try identifiers.read(Int64.self, rows: 0..<200) == (1000..<1200).map(Int64.init))
            #expect(try file.attribute("complete") == .bool(false))
        }
    }

    /// A disk of 2 MiB: the failure says so, and what was flushed before is there.
    @Test(.enabled(if: SmallDisk.isPermitted, "mounting a small file system needs root"))
    func fullDiskIsNamed() throws {
        // A file given up stays open until the process ends.
        let disk = try SmallDisk(folder.file("disk"), kibibytes: 2048)
        let path = disk.path + "/cache.h5"
        let file = try H5File.create(path)
        let rows = try file.createDataset("train/encoder/activations", type: .float32, rowShape: [4, 256])
        func values(_ row: Int) -> [Float] { (0..<1024).map { Float(row * 1024 + $0) } }
        var flushed = 0
        let full = failure {
            while true {
                for _ in 0..<50 { try rows.append(values(rows.rowCount)) }
                try file.flush()
                flushed = rows.rowCount
            }
        }
        #expect(full?.kind == .run)
        #expect(full?.message.hasPrefix("\(path): /train/encoder/activations: writing rows ") == true)
        #expect(full?.message.hasSuffix(": No space left on device") == true, "\(String(describing: full))")
        #expect(flushed >= 50)
        // Nothing more is written, and closing is no error and no crash.
        #expect(failure { try rows.append(values(0)) }?.message.hasSuffix("closed or given up") == true)
        try file.close()

        // Copied, because the library shares a file that is open in this process.
        let copy = folder.file("copy.h5")
        try FileManager.default.copyItem(atPath: path, toPath: copy)
        let saved = try H5File.openForReading(copy).openDataset("train/encoder/activations")
        #expect(saved.rowCount >= flushed)
        #expect(try saved.read(Float.self, rows: 0..<flushed) == (0..<flushed).flatMap(values))
        try disk.unmount()
    }
}

/// The other process, which writes a file and kills itself, or opens one.
private let helper = builtExecutable("hdf5-process")
