import Support

/// Seconds that a body takes: the median over at least `rounds`, and at least a fifth of a second of them, after one that
/// warms up.
func medianSeconds(rounds: Int = 7, _ body: () throws -> Void) rethrows -> Double {
    try body()
    var times: [Double] = []
    let begin = MonotonicClock.seconds
    while times.count < rounds || MonotonicClock.seconds - begin < 0.2 {
        let start = MonotonicClock.seconds
        try body()
        times.append(MonotonicClock.seconds - start)
    }
    return times.sorted()[times.count / 2]
}

/// Seconds of one run of a body that is too short for the clock.
func medianSeconds(of repetitions: Int, _ body: () -> Void) -> Double {
    medianSeconds { for _ in 0..<repetitions { body() } } / Double(repetitions)
}

/// Prints a measurement.
func report(_ section: String, _ name: String, _ values: [(String, Double)]) {
    let fields: [(String, JSONValue)] = [("section", .string(section)), ("name", .string(name))]
    print(JSONValue.dictionary(fields + values.map { ($0.0, JSONValue($0.1)) }).text())
}
