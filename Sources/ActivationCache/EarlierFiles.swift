import HDF5
import TextData

/// The cache files that an earlier launch left, or that a run has kept: opened, and checked against what the cache is of.
struct EarlierFiles {
    private let contents: CacheContents
    /// Whether what cannot be read is computed again; otherwise a damaged file is an error.
    private let areReplaceable: Bool

    init(_ contents: CacheContents, areReplaceable: Bool) {
        self.contents = contents
        self.areReplaceable = areReplaceable
    }

    /// Opens the files of a directory. Samples that are not this run's, or have another length, are left out. Not collective.
    ///
    /// - Throws: when a file belongs to another model, tokenizer, data set, length or precision.
    func open(in directory: CacheDirectory, _ thread: IOThread) throws -> [ActivationCacheFile] {
        let files = try directory.files().compactMap { path in
            try thread.value { try open(path) }
        }
        for file in files {
            for split in Split.allCases {
                file.forget(split) { sample, counts in
                    guard let own = contents.samples[split], (0..<own.count).contains(sample) else {
                        return true
                    }
                    return counts != file.shape.stacks.map { own.builder.tokenCount(sample, $0.stack) }
                }
            }
        }
        return files
    }

    /// Opens one file. Runs on the I/O thread.
    ///
    /// - Returns: nil for an unreadable file whose samples can be computed again.
    private func open(_ path: String) throws -> ActivationCacheFile? {
        let file: H5File
        do { file = try H5File.openForReading(path) } catch {
            guard areReplaceable else { throw error }
            return nil
        }
        try contents.identity.check(file)
        do {
            return try ActivationCacheFile(
                reading: file, identity: contents.identity, verifies: areReplaceable)
        } catch {
            guard areReplaceable else { throw error }
            return nil
        }
    }
}
