import Support

/// Writes time lines in Chrome's trace-event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.
///
/// One process for each rank of each group, one thread for each lane, a complete event ("X") for each stretch; one event a
/// line. Times are microseconds with three decimals.
///
/// Source: "Trace Event Format", the Chromium project.
public enum TraceFile {
    /// Writes groups into a file, atomically.
    public static func write(_ groups: [TraceGroup], to path: String) throws {
        try write(encoded: groups.map(encode), to: path)
    }

    /// Writes what `encode` made, on any rank, into a file, atomically.
    public static func write(encoded pieces: [[UInt8]], to path: String) throws {
        let file = try AtomicFile(path)
        func put(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try file.write($0) } }
        try put(Array("{\"displayTimeUnit\":\"ms\", \"traceEvents\":[\n".utf8))
        for (index, piece) in pieces.filter({ !$0.isEmpty }).enumerated() {
            if index > 0 { try put(Array(",\n".utf8)) }
            try put(piece)
        }
        try put(Array("\n]}\n".utf8))
        try file.commit()
    }

    /// The events of a group, divided by commas and line breaks.
    public static func encode(_ group: TraceGroup) -> [UInt8] {
        var out: [UInt8] = []
        func put(_ event: JSONValue) {
            if !out.isEmpty { out += [UInt8(ascii: ","), UInt8(ascii: "\n")] }
            out += Array(event.text().utf8)
        }
        for rank in group.ranks { for event in metadata(rank, group) { put(event) } }
        // What lies within another stretch follows it. Of two that look alike it is the one that was recorded first, as it
        // ended first.
        let sorted = group.spans.enumerated().map { index, span in
            (
                span: span,
                key: (span.rank, span.lane.rawValue, nanoseconds(span.start), -nanoseconds(span.end), -index)
            )
        }.sorted { $0.key < $1.key }
        for (span, _) in sorted { put(event(span, group.origin)) }
        return out
    }

    /// Processes of the second group begin here: a viewer shows the number beside the name.
    static let firstPredictedProcess = 1_000_000

    private static func process(_ rank: Int, _ origin: TraceGroup.Origin) -> JSONValue {
        JSONValue(origin == .measured ? rank : firstPredictedProcess + rank)
    }

    private static func metadata(_ rank: Int, _ group: TraceGroup) -> [JSONValue] {
        let isMeasured = group.origin == .measured
        func event(_ name: String, lane: TraceLane? = nil, _ key: String, _ value: JSONValue) -> JSONValue {
            .dictionary(
                [("ph", "M"), ("name", .string(name)), ("pid", process(rank, group.origin))]
                    + (lane.map { [("tid", JSONValue($0.rawValue))] } ?? [])
                    + [("args", .dictionary([(key, value)]))])
        }
        let lanes = TraceLane.allCases.filter { lane in
            lane == .compute || group.spans.contains { $0.rank == rank && $0.lane == lane }
        }
        return [
            event("process_name", "name", .string("rank \(rank)" + (isMeasured ? "" : " (predicted)"))),
            // Each rank's prediction stands under it.
            event("process_sort_index", "sort_index", JSONValue(2 * rank + (isMeasured ? 0 : 1))),
        ] + (group.labels[rank].map { [event("process_labels", "labels", .string($0))] } ?? [])
            + lanes.flatMap {
                [
                    event("thread_name", lane: $0, "name", .string($0.title)),
                    event("thread_sort_index", lane: $0, "sort_index", JSONValue($0.rawValue)),
                ]
            }
    }

    private static func event(_ span: TraceSpan, _ origin: TraceGroup.Origin) -> JSONValue {
        // Both ends are rounded, not the length: a stretch within another stays within it.
        let (start, end) = (nanoseconds(span.start), nanoseconds(span.end))
        let arguments = [
            ("epoch", span.arguments.epoch), ("step", span.arguments.step), ("peer", span.arguments.peer),
            ("bytes", span.arguments.bytes),
        ].compactMap { key, value in value.map { (key, JSONValue($0)) } }
        return .dictionary([
            ("ph", "X"), ("name", .string(span.name)), ("cat", .string(span.category.rawValue)),
            ("pid", process(span.rank, origin)), ("tid", JSONValue(span.lane.rawValue)),
            ("ts", JSONValue(Double(start) / 1000)), ("dur", JSONValue(Double(end - start) / 1000)),
            ("args", .dictionary(arguments)),
        ])
    }

    private static func nanoseconds(_ seconds: Double) -> Int64 { Int64((seconds * 1e9).rounded()) }
}
