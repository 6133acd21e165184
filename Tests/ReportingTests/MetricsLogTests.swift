import Foundation
import Reporting
import Support
import Testing

@Suite struct MetricsLogTests {
    let path = NSTemporaryDirectory() + "pac-mpi-log-" + UUID().uuidString + ".jsonl"

    func lines() throws -> [JSONValue] {
        let text = String(decoding: try readFile(path), as: UTF8.self)
        #expect(text.hasSuffix("\n"))
        return try text.split(separator: "\n").map { try JSONValue(parsing: Array($0.utf8), file: path) }
    }

    @Test("every event is a line with its name, its time and its fields")
    func everyEventIsALineWithItsNameItsTimeAndItsFields() throws {
        defer { unlink(path) }
        let log = try MetricsLog(path: path, start: .now - .seconds(2))
        try log.append(.step, [("loss", 0.5), ("phase", "cached \"e\"\n"), ("samples", 16)])
        // What is logged is in the file before the log is closed.
        #expect(try lines().count == 1)
        try log.append(.end)
        let all = try lines()
        #expect(all[0].members?.map(\.key) == ["event", "time", "loss", "phase", "samples"])
        #expect(all[0]["phase"] == "cached \"e\"\n" && all[0]["samples"] == 16 && all[0]["loss"] == 0.5)
        #expect(all[1]["event"] == "end")
        let times = all.compactMap { $0["time"]?.number }
        #expect(times.count == 2 && times[0] >= 2 && times[0] < 60 && times[1] >= times[0])
    }

    @Test("a run that goes on takes back what it will log again")
    func aRunThatGoesOnTakesBackWhatItWillLogAgain() throws {
        defer { unlink(path) }
        func rewound(to step: Int, isClosed: Bool) throws -> [String] {
            let log = try MetricsLog(path: path)
            let events: [(MetricsEvent, Int)] = [
                (.start, 0), (.step, 1), (.step, 2), (.epoch, 0), (.memory, 0), (.step, 3),
            ]
            for (event, step) in events {
                try log.append(event, step == 0 ? [] : [("step", JSONValue(step))])
            }
            let handle = try #require(FileHandle(forWritingAtPath: path))
            try handle.seekToEnd()
            // Cut short by a crash.
            try handle.write(contentsOf: Data("{\"event\":\"st".utf8))
            try handle.close()
            let time = try MetricsLog.rewind(path, toStep: step, isClosed: isClosed)
            let left = try lines()
            #expect(time == left.last?["time"]?.number)
            unlink(path)
            return left.map { ($0["event"]?.string ?? "") + ($0["step"]?.integer.map(String.init) ?? "") }
        }
        #expect(try rewound(to: 2, isClosed: true) == ["start", "step1", "step2", "epoch", "memory"])
        #expect(try rewound(to: 2, isClosed: false) == ["start", "step1", "step2"])
        #expect(try rewound(to: 1, isClosed: false) == ["start", "step1"])
        #expect(try rewound(to: 0, isClosed: false) == ["start"])
        #expect(
            try rewound(to: 3, isClosed: false) == ["start", "step1", "step2", "epoch", "memory", "step3"])
        #expect(try MetricsLog.rewind(path, toStep: 1, isClosed: true) == 0)
    }

    @Test("a second log appends") func aSecondLogAppends() throws {
        defer { unlink(path) }
        try MetricsLog(path: path).append(.start)
        try MetricsLog(path: path).append(.resume)
        #expect(try lines().map { $0["event"] } == ["start", "resume"])
    }

    @Test("a loss that is no number becomes null") func aLossThatIsNoNumberBecomesNull() throws {
        defer { unlink(path) }
        let metrics = JSONValue.dictionary([
            ("mean", .number(-.infinity)), ("all", .array([.number(.nan), 1])),
        ])
        try MetricsLog(path: path).append(.step, [("loss", .number(.nan)), ("metrics", metrics)])
        let line = try lines()[0]
        #expect(line["loss"] == .null && line["metrics"]?["mean"] == .null)
        #expect(line["metrics"]?["all"] == [.null, 1])
    }

    @Test("what cannot be written is a run failure that names the file")
    func whatCannotBeWrittenIsARunFailureThatNamesTheFile() throws {
        #expect(throws: Failure.run("/no/such/metrics.jsonl: cannot be written: No such file or directory")) {
            try MetricsLog(path: "/no/such/metrics.jsonl")
        }
        #expect(throws: Failure.run("/dev/full: cannot be written: No space left on device")) {
            try MetricsLog(path: "/dev/full").append(.step)
        }
    }

    /// A file size limit stands in for a full disk; it binds a whole process, hence one of its own.
    @Test("a full disk leaves whole lines only") func aFullDiskLeavesWholeLinesOnly() async {
        await #expect(processExitsWith: .success) {
            let path = NSTemporaryDirectory() + "pac-mpi-log-" + UUID().uuidString + ".jsonl"
            defer { unlink(path) }
            let log = try MetricsLog(path: path)
            try log.append(.start)
            let size = try readFile(path).count
            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit(rlim_cur: rlim_t(size + 20), rlim_max: rlim_t(size + 20))
            try #require(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
            #expect(throws: Failure.run("\(path): cannot be written: File too large")) {
                try log.append(.step, [("text", .string(String(repeating: "x", count: 99)))])
            }
            #expect(try readFile(path).count == size)
        }
    }
}
