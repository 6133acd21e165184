// The other process of HDF5's tests: `hdf5-process write-and-die FILE`, `open-to-read FILE` or `open-to-write FILE`.
import Glibc
import HDF5
import Support

do {
    guard CommandLine.arguments.count == 3 else {
        throw Failure.configuration("expected a task and a file, found \(CommandLine.arguments.dropFirst())")
    }
    let path = CommandLine.arguments[2]
    switch CommandLine.arguments[1] {
    case "write-and-die": try writeAndDie(path)
    case "open-to-read": try H5File.openForReading(path).close()
    case "open-to-write": try H5File.openForWriting(path).close()
    default: throw Failure.configuration("unknown task \(CommandLine.arguments[1])")
    }
} catch {
    let line = Array("\(error)\n".utf8)
    _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress!, $0.count) }
    exit((error as? Failure)?.exitStatus ?? 1)
}
