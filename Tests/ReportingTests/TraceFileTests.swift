import Foundation
import Reporting
import Support
import Testing

@Suite struct TraceFileTests {
    let path = NSTemporaryDirectory() + "pac-mpi-trace-" + UUID().uuidString + ".json"

    /// Two ranks; a wait that fills the action around it to the last nanosecond, at times that no binary fraction hits.
    private static let measured = TraceGroup(
        origin: .measured, labels: [0: "stage 0 on \"vm\"", 2: "in no stage"],
        spans: [
            TraceSpan(
                rank: 0, name: "from 1", category: .wait, start: 0.1, seconds: 0.2,
                arguments: TraceArguments(step: 3, peer: 1, bytes: 8448)),
            TraceSpan(
                rank: 0, name: "RB0", category: .receive, start: 0.1, seconds: 0.2,
                arguments: TraceArguments(step: 3)),
            TraceSpan(
                rank: 1, name: "epoch 1", category: .epoch, start: 1e-6 / 3, seconds: 1,
                arguments: TraceArguments(epoch: 1)),
        ])
    private static let predicted = TraceGroup(
        origin: .predicted,
        spans: [TraceSpan(rank: 0, name: "F0", category: .forward, start: 0, seconds: 0.018)])

    @Test("a file is what a trace viewer expects") func aFileIsWhatATraceViewerExpects() throws {
        defer { unlink(path) }
        try TraceFile.write([Self.measured, Self.predicted], to: path)
        let file = try JSONValue(contentsOf: path)
        #expect(file["displayTimeUnit"] == "ms")
        let events = try #require(file["traceEvents"]?.array)
        func metadata(_ name: String) -> [JSONValue] {
            events.filter { $0["ph"] == "M" && $0["name"]?.string == name }
        }
        let names = metadata("process_name").map { [$0["pid"]!, $0["args"]!["name"]!] }
        #expect(
            names == [
                [0, "rank 0"], [1, "rank 1"], [2, "rank 2"], [1_000_000, "rank 0 (predicted)"],
            ])
        // Each prediction is sorted in under its rank.
        #expect(metadata("process_sort_index").map { $0["args"]?["sort_index"] } == [0, 2, 4, 1])
        #expect(
            metadata("process_labels").map { $0["args"]?["labels"] } == ["stage 0 on \"vm\"", "in no stage"])
        let threads = metadata("thread_name").map { [$0["pid"]!, $0["tid"]!, $0["args"]!["name"]!] }
        #expect(
            threads == [
                [0, 0, "compute"], [0, 1, "network"], [1, 0, "compute"], [2, 0, "compute"],
                [1_000_000, 0, "compute"],
            ])
        let complete = events.filter { $0["ph"] == "X" }
        #expect(events.count == complete.count + 4 + 4 + 2 + 5 + 5)
        // What lies within another stretch follows it; times are microseconds.
        #expect(complete.map { $0["name"] } == ["RB0", "from 1", "epoch 1", "F0"])
        #expect(complete.map { $0["ts"]?.number } == [100_000, 100_000, 0.333, 0])
        #expect(complete.map { $0["dur"]?.number } == [200_000, 200_000, 1_000_000, 18_000])
        #expect(complete.map { $0["tid"] } == [1, 1, 0, 0])
        #expect(
            complete[1]["args"] == .dictionary([("step", 3), ("peer", 1), ("bytes", 8448)]))
        #expect(complete[2]["args"] == .dictionary([("epoch", 1)]))
        #expect(complete[1]["cat"] == "wait")
    }

    @Test("what is written is read back") func whatIsWrittenIsReadBack() throws {
        defer { unlink(path) }
        try TraceFile.write([Self.measured, Self.predicted], to: path)
        let groups = try TraceFile.read(path)
        #expect(groups.map(\.origin) == [.measured, .predicted])
        #expect(groups[0].labels == Self.measured.labels && groups[0].ranks == [0, 1, 2])
        let spans = groups[0].spans
        #expect(spans.map(\.name) == ["RB0", "from 1", "epoch 1"])
        #expect(spans.map(\.category) == [.receive, .wait, .epoch])
        #expect(spans.map(\.lane) == [.network, .network, .compute])
        #expect(spans[1].arguments == TraceArguments(step: 3, peer: 1, bytes: 8448))
        for (read, written) in zip(
            spans, [Self.measured.spans[1], Self.measured.spans[0], Self.measured.spans[2]])
        {
            #expect(abs(read.start - written.start) <= 1e-9 && abs(read.seconds - written.seconds) <= 1e-9)
        }
    }

    /// Rounding must not push a stretch out of the one around it: a viewer would draw nonsense.
    @Test("stretches within others stay within them") func stretchesWithinOthersStayWithinThem() throws {
        defer { unlink(path) }
        let spans = (0..<500).flatMap { index -> [TraceSpan] in
            let random = CounterRandom(7, UInt64(index))
            func uniform(_ at: UInt64) -> Double { Double(random.bits(at: at) % 1_000_003) / 1_000_003 }
            let outer = (start: Double(index) + uniform(0) * 0.3, end: Double(index) + 0.5 + uniform(1) * 0.4)
            let inner = index % 2 == 0 ? outer.start : outer.start + uniform(2) * 1e-7
            return [
                TraceSpan(
                    rank: 0, name: "to 1", category: .transfer, start: inner, seconds: outer.end - inner),
                TraceSpan(
                    rank: 0, name: "SF0", category: .transfer, start: outer.start,
                    seconds: outer.end - outer.start),
            ]
        }
        try TraceFile.write([TraceGroup(origin: .measured, spans: spans)], to: path)
        let events = try #require(try JSONValue(contentsOf: path)["traceEvents"]?.array).filter {
            $0["ph"] == "X"
        }
        #expect(events.count == 1000)
        func nanoseconds(_ event: JSONValue, _ key: String) -> Int64 {
            Int64((event[key]!.number! * 1000).rounded())
        }
        for pair in stride(from: 0, to: events.count, by: 2).map({ events[$0...$0 + 1] }) {
            let (outer, inner) = (pair.first!, pair.last!)
            #expect(outer["name"] == "SF0" && inner["name"] == "to 1")
            #expect(nanoseconds(inner, "ts") >= nanoseconds(outer, "ts"))
            #expect(
                nanoseconds(inner, "ts") + nanoseconds(inner, "dur")
                    <= nanoseconds(outer, "ts") + nanoseconds(outer, "dur"))
        }
    }

    @Test(
        "a damaged file is named with the line",
        arguments: [
            (#"{"displayTimeUnit":"ms", "traceEvents":["#, "FILE:1: not valid JSON"),
            (#"{"displayTimeUnit":"ms"}"#, #"FILE:1: the key "traceEvents" is missing"#),
            (
                "{\"traceEvents\":[\n{\"ph\":\"X\",\"name\":\"F0\",\"cat\":\"forwards\",\"pid\":0,\"tid\":0,\"ts\":0,\"dur\":0,\"args\":{}}]}",
                #"FILE:2: traceEvents[0].cat: expected one of "forward", "#
            ),
            (
                "{\"traceEvents\":[\n{\"ph\":\"X\",\"name\":\"F0\",\"cat\":\"forward\",\"pid\":0,\"tid\":0,\"ts\":0,\"args\":{}}]}",
                #"FILE:2: traceEvents[0]: the key "traceEvents[0].dur" is missing"#
            ),
            (
                "{\"traceEvents\":[{\"ph\":\"B\",\"pid\":0}]}",
                #"FILE:1: traceEvents[0].ph: expected one of "M", "X", found the string "B""#
            ),
        ])
    func aDamagedFileIsNamedWithTheLine(text: String, message: String) throws {
        defer { unlink(path) }
        try writeFileAtomically(text, to: path)
        let failure = #expect(throws: Failure.self) { try TraceFile.read(path) }
        let expected = message.replacingOccurrences(of: "FILE", with: path)
        #expect(failure?.message.contains(expected) == true, "\(failure?.message ?? "")")
        #expect(failure?.exitStatus == 2)
    }
}
