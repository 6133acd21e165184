import Support

/// What a run logged, read back from its `metrics.jsonl`.
///
/// The events and fields read here must be valid; all others are ignored.
public struct MetricsHistory: Sendable {
    public struct Start: Sendable {
        public let ranks: Int
        /// One for each rank.
        public let hosts: [String]
        public let trainableParameters: Int
        public let totalParameters: Int
    }

    public struct Step: Sendable {
        public let epoch: Int
        public let step: Int
        public let phase: TrainingPhase
        /// nil where it was no number: a run that diverged.
        public let loss: Double?
        public let learningRate: Double
        public let samples: Int
        public let tokens: Int
        public let seconds: Double
    }

    public struct Epoch: Sendable {
        public let epoch: Int
        public let phase: TrainingPhase
        public let trainLoss: Double?
        public let seconds: Double
        /// What rank 0 waited for its disk; nil with the backbone.
        public let diskWaitSeconds: Double?
        /// What part of the time went into messages, the mean over all ranks; nil in logs that do not tell.
        public let communicationShare: Double?
    }

    public struct Evaluation: Sendable {
        public let epoch: Int
        /// In the order of the log; nil where a figure was no number.
        public let metrics: [(name: String, value: Double?)]
        public let samples: Int
        public let seconds: Double
    }

    public struct Redistribution: Sendable {
        public let bytes: Int
        public let seconds: Double
    }

    public struct Memory: Sendable {
        public let rank: Int
        public let phase: TrainingPhase
        /// Peaks by category, in the order of the log, without the total.
        public let categories: [(name: String, bytes: Int)]
        public let totalBytes: Int
        public let residentBytes: Int
    }

    public struct End: Sendable {
        public let seconds: Double
        public let steps: Int
    }

    public let start: Start
    public private(set) var steps: [Step] = []
    public private(set) var epochs: [Epoch] = []
    public private(set) var evaluations: [Evaluation] = []
    public private(set) var redistributions: [Redistribution] = []
    public private(set) var memory: [Memory] = []
    /// nil when the run did not come to its end.
    public private(set) var end: End?

    /// Reads a log.
    ///
    /// - Throws: a configuration failure that names the file and the line, what was expected and what was found.
    public init(contentsOf path: String) throws {
        var start: Start?
        let lines = try readFile(path).split(
            separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() where !(line.isEmpty && index == lines.count - 1) {
            let value = try JSONValue(parsing: Array(line), file: path, firstLine: index + 1)
            let event = try JSONReader(value, file: path, line: index + 1).object()
            switch MetricsEvent(rawValue: try event.required("event").string()) {
            case .start: start = try Start(event)
            case .step: steps.append(try Step(event))
            case .epoch: epochs.append(try Epoch(event))
            case .evaluation: evaluations.append(try Evaluation(event))
            case .redistribution: redistributions.append(try Redistribution(event))
            case .memory: memory.append(try Memory(event))
            case .end: end = try End(event)
            case .resume, .activations, nil: break
            }
        }
        guard let start else {
            throw Failure.configuration("\(path): expected an event \"start\", found none")
        }
        self.start = start
    }
}

extension MetricsHistory.Start {
    fileprivate init(_ event: JSONObjectReader) throws {
        self.init(
            ranks: try event.count("ranks"),
            hosts: try event.required("hosts").array().map { try $0.string() },
            trainableParameters: try event.count("trainable_parameters"),
            totalParameters: try event.count("total_parameters"))
        guard hosts.count == ranks else {
            throw try event.required("hosts").failure(expected: "a host for each of \(ranks) ranks")
        }
    }
}

extension MetricsHistory.Step {
    fileprivate init(_ event: JSONObjectReader) throws {
        self.init(
            epoch: try event.count("epoch"), step: try event.count("step"), phase: try event.phase(),
            loss: try event.nullableNumber("loss"),
            learningRate: try event.required("learning_rate").number(), samples: try event.count("samples"),
            tokens: try event.count("tokens"), seconds: try event.seconds())
    }
}

extension MetricsHistory.Epoch {
    fileprivate init(_ event: JSONObjectReader) throws {
        self.init(
            epoch: try event.count("epoch"), phase: try event.phase(),
            trainLoss: try event.nullableNumber("train_loss"), seconds: try event.seconds(),
            diskWaitSeconds: try event.optional("disk_wait_seconds")?.number(),
            communicationShare: try event.optional("communication_share")?.number())
    }
}

extension MetricsHistory.Evaluation {
    fileprivate init(_ event: JSONObjectReader) throws {
        self.init(
            epoch: try event.count("epoch"),
            metrics: try event.required("metrics").object().all.map { member in
                (name: member.key, value: member.value.isNull ? nil : try member.value.number())
            }, samples: try event.count("samples"), seconds: try event.seconds())
    }
}

extension MetricsHistory.Redistribution {
    fileprivate init(_ event: JSONObjectReader) throws {
        self.init(bytes: try event.count("bytes"), seconds: try event.seconds())
    }
}

extension MetricsHistory.Memory {
    fileprivate init(_ event: JSONObjectReader) throws {
        let peaks = try event.required("peak_bytes").object()
        self.init(
            rank: try event.count("rank"), phase: try event.phase(),
            categories: try peaks.all.filter { $0.key != "total" }.map {
                (name: $0.key, bytes: try $0.value.integer(in: 0...Int.max))
            }, totalBytes: try peaks.count("total"), residentBytes: try event.count("peak_rss_bytes"))
    }
}

extension MetricsHistory.End {
    fileprivate init(_ event: JSONObjectReader) throws {
        self.init(seconds: try event.seconds(), steps: try event.count("steps"))
    }
}

extension JSONObjectReader {
    fileprivate func count(_ key: String) throws -> Int { try required(key).integer(in: 0...Int.max) }

    /// A number that the log writes as null where it is none.
    fileprivate func nullableNumber(_ key: String) throws -> Double? {
        guard let value = all.first(where: { $0.key == key })?.value else {
            return try required(key).number()
        }
        return value.isNull ? nil : try value.number()
    }

    fileprivate func seconds() throws -> Double {
        try required("seconds").number(in: 0...Double.greatestFiniteMagnitude)
    }

    fileprivate func phase() throws -> TrainingPhase {
        let word = try required("phase").choice(TrainingPhase.allCases.map(\.rawValue))
        return TrainingPhase(rawValue: word)!  // `choice` let only these words through
    }
}
