import CKernels
import MPI
import Reporting
import Stages
import Support
import TensorCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Peak memory of every rank in a phase, by category of the ledger and as the system saw it.
enum MemoryReport {
    /// Logs a `memory` event for each rank. Collective over the world.
    static func log(_ phase: RunReporter.Phase, _ context: RankContext, _ reporter: RunReporter) throws {
        let peaks = MemoryCategory.allCases.map { ($0.rawValue, JSONValue(context.ledger.peak($0))) }
        let event = JSONValue.dictionary([
            ("rank", JSONValue(context.world.rank)), ("phase", .string(phase.rawValue)),
            ("peak_bytes", .dictionary(peaks + [("total", JSONValue(context.ledger.peakTotalBytes))])),
            ("peak_rss_bytes", JSONValue(peakResidentBytes)),
        ])
        for text in try context.world.gather(Array(event.text().utf8)) ?? [] {
            let members = try JSONValue(parsing: text, file: "memory").members ?? []
            try reporter.event(.memory, members.map { ($0.key, $0.value) })
        }
    }

    /// The largest resident size of this process since it began or since `resetPeak()`.
    private static var peakResidentBytes: Int {
        #if canImport(Glibc)
            // VmHWM can be reset between phases, unlike getrusage's figure.
            if let kibibytes = statusField("VmHWM:") { return kibibytes * 1024 }
        #endif
        var usage = rusage()
        #if canImport(Glibc)
            getrusage(RUSAGE_SELF.rawValue, &usage)
            return usage.ru_maxrss * 1024
        #else
            getrusage(RUSAGE_SELF, &usage)
            return usage.ru_maxrss
        #endif
    }

    /// Starts a new phase.
    static func reset(_ ledger: Ledger) {
        ledger.resetPeaks()
        #if canImport(Glibc)
            // Hands freed memory back to the system, then lets the kernel forget the peak; where it refuses, the peak of
            // the whole process stays, which is never too small.
            ck_return_free_memory()
            let descriptor = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC)
            if descriptor >= 0 {
                _ = write(descriptor, "5", 1)
                close(descriptor)
            }
        #endif
    }

    #if canImport(Glibc)
        private static func statusField(_ name: String) -> Int? {
            guard let file = fopen("/proc/self/status", "r") else { return nil }
            defer { fclose(file) }
            var line = [CChar](repeating: 0, count: 256)
            while fgets(&line, Int32(line.count), file) != nil {
                let text = line.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
                guard text.hasPrefix(name) else { continue }
                return Int(text.dropFirst(name.count).split(whereSeparator: \.isWhitespace).first ?? "")
            }
            return nil
        }
    #endif
}
