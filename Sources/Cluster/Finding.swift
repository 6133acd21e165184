/// Something about a cluster that a person should know, and what to do about it.
package struct Finding: Sendable, Equatable {
    package enum Severity: String, Sendable {
        /// Training works, but slower, less exactly or less safely than it could.
        case warning
        /// Training would not work.
        case problem
    }

    package let severity: Severity
    /// What was found, on which ranks and hosts, without a full stop.
    package let text: String
    /// What mends it, without a full stop.
    package let remedy: String

    package init(_ severity: Severity, _ text: String, remedy: String) {
        self.severity = severity
        self.text = text
        self.remedy = remedy
    }
}

/// "rank 2", "ranks 0, 1, 3", "ranks 0-3".
func rankNames(_ ranks: [Int]) -> String {
    let isRun = ranks.count > 2 && ranks.last! - ranks[0] == ranks.count - 1
    let list = isRun ? "\(ranks[0])-\(ranks.last!)" : ranks.map(String.init).joined(separator: ", ")
    return (ranks.count == 1 ? "rank " : "ranks ") + list
}

/// "rank 2 (pi)", "ranks 0, 3 (laptop, pi)".
///
/// - Parameter hosts: of all ranks.
func rankNames(_ ranks: [Int], hosts: [String]) -> String {
    "\(rankNames(ranks)) (\(unique(ranks.map { hosts[$0] }).joined(separator: ", ")))"
}

/// The different ones, in the order in which they first appear.
package func unique<Element: Equatable>(_ items: [Element]) -> [Element] {
    items.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
}
