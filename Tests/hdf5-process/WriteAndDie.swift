import Glibc
import HDF5

/// Writes 200 rows of [2, 3] floats and as many identifiers, flushes, writes 50 rows more and is gone, like a process
/// that the system kills for its memory. Row r holds r * 6, r * 6 + 1, ...
func writeAndDie(_ path: String) throws -> Never {
    let file = try H5File.create(path)
    let rows = try file.createDataset("train/encoder/activations", type: .float32, rowShape: [2, 3])
    let identifiers = try file.createDataset("train/sample_ids", type: .int64)
    func write(_ range: Range<Int>) throws {
        for row in range {
            try rows.append((0..<6).map { Float(row * 6 + $0) })
            try identifiers.append([Int64(1000 + row)])
        }
    }
    try write(0..<200)
    try file.setAttribute("complete", to: .bool(false))
    try file.flush()
    try write(200..<250)
    kill(getpid(), SIGKILL)
    fatalError("killed")
}
