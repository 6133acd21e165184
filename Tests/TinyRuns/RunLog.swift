import Support
import Testing

/// What a run wrote to `metrics.jsonl`.
package struct RunLog {
    package let directory: String
    package let events: [JSONValue]

    package init(_ directory: String) throws {
        self.directory = directory
        let file = directory + "/metrics.jsonl"
        events = try readFile(file).split(separator: UInt8(ascii: "\n")).map {
            try JSONValue(parsing: Array($0), file: file)
        }
    }

    package func events(_ name: String) -> [JSONValue] { events.filter { $0["event"]?.string == name } }

    /// Events of a phase.
    package func events(_ name: String, _ phase: String) -> [JSONValue] {
        events(name).filter { $0["phase"]?.string == phase }
    }

    package func losses() throws -> [Double] { try events("step").map { try #require($0["loss"]?.number) } }

    /// The figures of every evaluation, in order.
    package func metrics() throws -> [[String: Double]] {
        try events("evaluation").map { event in
            Dictionary(
                uniqueKeysWithValues: try #require(event["metrics"]?.members).map {
                    ($0.key, $0.value.number ?? .nan)
                })
        }
    }
}

/// The largest relative difference of two sequences; infinite when they differ in length or hold something
/// that is no number.
package func largestDifference(_ a: [Double], _ b: [Double]) -> Double {
    guard a.count == b.count else { return .infinity }
    return zip(a, b).reduce(0) { largest, pair in
        let difference = abs(pair.0 - pair.1) / max(abs(pair.0), abs(pair.1), 1e-12)
        return difference.isNaN ? .infinity : max(largest, difference)
    }
}
