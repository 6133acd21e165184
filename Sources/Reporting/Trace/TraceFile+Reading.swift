import Support

extension TraceFile {
    /// Reads what `write` wrote, strictly: a group for each origin that the file has.
    ///
    /// - Throws: a configuration failure that names the file and the event, what was expected and what was found.
    public static func read(_ path: String) throws -> [TraceGroup] {
        let root = try JSONReader(contentsOf: path)
            .object(keys: ["displayTimeUnit", "traceEvents"])
        var groups = Dictionary(
            uniqueKeysWithValues: TraceGroup.Origin.allCases.map { ($0, TraceGroup(origin: $0, spans: [])) })
        for item in try root.required("traceEvents").array() {
            let line = item.value.members?.first?.line ?? item.line
            let reader = JSONReader(item.value, file: path, line: line, path: item.path)
            let event = try reader.object(keys: ["ph", "name", "cat", "pid", "tid", "ts", "dur", "args"])
            let process = try event.required("pid").integer(in: 0...2 * firstPredictedProcess - 1)
            let origin: TraceGroup.Origin = process < firstPredictedProcess ? .measured : .predicted
            let rank = process % firstPredictedProcess
            if try event.required("ph").choice(["M", "X"]) == "X" {
                groups[origin]!.spans.append(try span(event, rank))
            } else if try event.required("name").string() == "process_labels" {
                groups[origin]!.labels[rank] = try event.required("args").object(keys: ["labels"])
                    .required("labels").string()
            }
        }
        return TraceGroup.Origin.allCases.map { groups[$0]! }.filter { !$0.ranks.isEmpty }
    }

    private static func span(_ event: JSONObjectReader, _ rank: Int) throws -> TraceSpan {
        let category = try event.required("cat").choice(TraceCategory.allCases.map(\.rawValue))
        let lane = try event.required("tid").integer(in: 0...TraceLane.allCases.count - 1)
        let arguments = try event.required("args").object(keys: ["epoch", "step", "peer", "bytes"])
        func argument(_ key: String) throws -> Int? {
            try arguments.optional(key)?.integer(in: 0...Int.max)
        }
        return TraceSpan(
            rank: rank, lane: TraceLane(rawValue: lane)!, name: try event.required("name").string(),
            // `choice` and the range let only these through.
            category: TraceCategory(rawValue: category)!,
            start: try event.required("ts").number() * 1e-6,
            seconds: try event.required("dur").number(in: 0...Double.greatestFiniteMagnitude) * 1e-6,
            arguments: TraceArguments(
                epoch: try argument("epoch"), step: try argument("step"), peer: try argument("peer"),
                bytes: try argument("bytes")))
    }
}
