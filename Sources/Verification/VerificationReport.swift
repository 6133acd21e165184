import Reporting
import Support

/// What a verification found: one row for each group of compared numbers.
package struct VerificationReport: Sendable {
    package struct Row: Sendable {
        /// The case, tokenizer or table directory ("bert_cls").
        package let subject: String
        /// What of it was compared: "backbone", a technique's file without its extension, or "".
        package let part: String
        /// The group of the tolerance table ("gradients"); "files" when nothing could be compared.
        package let group: String
        /// The largest error, infinite when a number was not finite; nil when nothing could be compared.
        package let largestError: Double?
        /// The largest error that passes; 0 for what must be exact.
        package let tolerance: Double
        /// The tensor with the largest error, or why nothing could be compared.
        package let detail: String

        package var passed: Bool { largestError.map { $0 <= tolerance } ?? false }
    }

    package let rows: [Row]

    /// Whether something was compared and nothing failed.
    package var passed: Bool { !rows.isEmpty && rows.allSatisfy(\.passed) }

    /// The rows as JSON: an array of objects. An error that is no finite number is null.
    package var json: JSONValue {
        .array(
            rows.map { row in
                let error = row.largestError.flatMap { $0.isFinite ? JSONValue($0) : nil } ?? .null
                return .dictionary([
                    ("subject", .string(row.subject)), ("part", .string(row.part)),
                    ("group", .string(row.group)),
                    ("largest_error", error), ("tolerance", JSONValue(row.tolerance)),
                    ("passed", .bool(row.passed)), ("detail", .string(row.detail)),
                ])
            })
    }

    /// The rows as a table for the terminal.
    package var table: String {
        var table = Table([
            ("subject", .left), ("part", .left), ("group", .left), ("largest error", .right),
            ("tolerance", .right),
            ("", .left), ("where", .left),
        ])
        for row in rows {
            let tolerance = row.tolerance == 0 ? "exact" : Self.short(row.tolerance)
            table.add([
                row.subject, row.part, row.group, row.largestError.map { Self.short($0) } ?? "-",
                row.largestError == nil ? "-" : tolerance, row.passed ? "ok" : "FAILED", row.detail,
            ])
        }
        return table.text
    }

    /// Two significant digits: "3.1e-06", "0", "inf".
    private static func short(_ value: Double) -> String {
        guard value != 0, value.isFinite else { return value == 0 ? "0" : "inf" }
        var (mantissa, exponent) = (value, 0)
        while mantissa < 1 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
        while mantissa >= 10 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
        let digits = Int((mantissa * 10).rounded(.up))
        return "\(digits / 10).\(digits % 10)e\(exponent)"
    }
}

/// A group of the tolerance table, and how far its numbers may be from the reference.
enum ComparisonGroup: String {
    case tokenIDs = "token ids"
    case texts = "texts"
    case pruningPlan = "pruning plan"
    case initialTensors = "initial tensors"
    case greedyIDs = "greedy ids"
    case activations
    case losses
    case gradients
    case trajectories = "20-step trajectories"
    case finalParameters = "parameters after"
    case positionBuckets = "position buckets"
    case activationFunctions = "activation functions"
    case optimizer = "AdamW with schedule and clipping"
    case metrics

    var tolerance: Double {
        switch self {
        case .tokenIDs, .texts, .pruningPlan, .initialTensors, .greedyIDs, .positionBuckets: 0
        case .activations, .trajectories: 5e-5
        case .losses: 1e-5
        case .gradients: 2e-5
        case .finalParameters: 1e-3
        case .activationFunctions, .optimizer, .metrics: 1e-6
        }
    }
}

/// The largest error of each group, gathered while one file is compared.
struct Comparisons {
    private var groups: [(group: ComparisonGroup, error: Double, place: String)] = []

    /// Notes one error. What is not a number is infinitely wrong.
    mutating func include(_ error: Double, _ group: ComparisonGroup, _ place: @autoclosure () -> String) {
        let error = error.isNaN ? Double.infinity : error
        guard let index = groups.firstIndex(where: { $0.group == group }) else {
            groups.append((group, error, place()))
            return
        }
        if error > groups[index].error { groups[index] = (group, error, place()) }
    }

    /// Notes how many elements differ; another length counts as one more.
    mutating func exact<T: Equatable>(
        _ found: [T], _ expected: [T], _ group: ComparisonGroup, _ place: @autoclosure () -> String
    ) {
        let different = zip(found, expected).reduce(0) { $0 + ($1.0 == $1.1 ? 0 : 1) }
        include(Double(different + (found.count == expected.count ? 0 : 1)), group, place())
    }

    /// Notes the largest difference over `scale`, or over the reference's largest magnitude.
    mutating func near(
        _ found: [Float], _ expected: [Double], over scale: Double? = nil, _ group: ComparisonGroup,
        _ place: @autoclosure () -> String
    ) {
        guard found.count == expected.count else { return include(.infinity, group, place()) }
        var (difference, magnitude) = (0.0, 0.0)
        for (a, b) in zip(found, expected) {
            let distance = abs(Double(a) - b)
            if !(distance <= difference) { difference = distance.isNaN ? .infinity : distance }
            magnitude = max(magnitude, abs(b))
        }
        let divisor = scale ?? magnitude
        include(difference == 0 ? 0 : difference / divisor, group, place())
    }

    /// The rows of the report.
    func rows(_ subject: String, _ part: String) -> [VerificationReport.Row] {
        groups.map {
            .init(
                subject: subject, part: part, group: $0.group.rawValue, largestError: $0.error,
                tolerance: $0.group.tolerance, detail: $0.error == 0 ? "" : $0.place)
        }
    }

    /// Runs a comparison of one file; what it throws becomes a row that fails.
    static func rows(
        _ subject: String, _ part: String, _ compare: (inout Comparisons) throws -> Void
    ) -> [VerificationReport.Row] {
        var comparisons = Comparisons()
        do {
            try compare(&comparisons)
        } catch {
            return comparisons.rows(subject, part) + [.failed(subject, part, "\(error)")]
        }
        let rows = comparisons.rows(subject, part)
        return rows.isEmpty ? [.failed(subject, part, "there is nothing to compare")] : rows
    }
}

extension VerificationReport.Row {
    /// A row for something that could not be compared.
    package static func failed(_ subject: String, _ part: String, _ reason: String) -> Self {
        Self(subject: subject, part: part, group: "files", largestError: nil, tolerance: 0, detail: reason)
    }
}
