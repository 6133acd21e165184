import Foundation
import Reporting
import Support
import Testing

@Suite struct MetricsHistoryTests {
    let path = NSTemporaryDirectory() + "pac-mpi-history-" + UUID().uuidString + ".jsonl"

    private static let start =
        #"{"event":"start", "time":0.1, "ranks":1, "hosts":["vm"], "trainable_parameters":3, "total_parameters":9}"#
    private static let step =
        #"{"event":"step", "time":1, "epoch":1, "step":1, "phase":"pipeline", "loss":null, "learning_rate":0.1, "#
        + #""samples":8, "tokens":50, "seconds":0.5}"#

    @Test("other events, other fields and losses that are no numbers are legal") func otherEventsAreLegal()
        throws
    {
        defer { unlink(path) }
        let extra = #"{"event":"weather", "rain":true}"#
        try writeFileAtomically([Self.start, extra, Self.step].joined(separator: "\n") + "\n", to: path)
        let history = try MetricsHistory(contentsOf: path)
        #expect(history.start.hosts == ["vm"] && history.start.totalParameters == 9)
        #expect(history.steps.count == 1 && history.steps[0].loss == nil && history.steps[0].tokens == 50)
        #expect(history.end == nil && history.epochs.isEmpty)
    }

    @Test(
        "a damaged line is named",
        arguments: [
            (step.replacingOccurrences(of: "\"step\":1, ", with: ""), #"FILE:2: the key "step" is missing"#),
            (
                step.replacingOccurrences(of: "\"loss\":null, ", with: ""),
                #"FILE:2: the key "loss" is missing"#
            ),
            (
                step.replacingOccurrences(of: "pipeline", with: "cache"),
                #"FILE:2: phase: expected one of "pipeline", "cached", found the string "cache""#
            ),
            (
                step.replacingOccurrences(of: "0.5}", with: "-1}"),
                "FILE:2: seconds: expected a number from 0.0 to"
            ),
            (String(step.prefix(60)), "FILE:2: not valid JSON"),
            ("", "FILE:2: not valid JSON"), (#"{"time":3}"#, #"FILE:2: the key "event" is missing"#),
            ("[]", "FILE:2: expected an object, found an array"),
        ])
    func aDamagedLineIsNamed(line: String, message: String) throws {
        defer { unlink(path) }
        try writeFileAtomically([Self.start, line, Self.step].joined(separator: "\n") + "\n", to: path)
        let failure = #expect(throws: Failure.self) { try MetricsHistory(contentsOf: path) }
        let expected = message.replacingOccurrences(of: "FILE", with: path)
        #expect(failure?.message.hasPrefix(expected) == true, "\(failure?.message ?? "")")
    }

    @Test("a log without a beginning is none") func aLogWithoutABeginningIsNone() throws {
        defer { unlink(path) }
        try writeFileAtomically(Self.step + "\n", to: path)
        let failure = #expect(throws: Failure.self) { try MetricsHistory(contentsOf: path) }
        #expect(failure?.message == "\(path): expected an event \"start\", found none")
    }
}
