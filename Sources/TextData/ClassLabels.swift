import Support

/// The classes of a task, in index order.
struct ClassLabels: Sendable {
    private static let shownCount = 20

    let names: [String]
    private let indices: [[UInt8]: Int]

    init(_ names: [String]) {
        self.names = names
        indices = Dictionary(names.enumerated().map { (Array($1.utf8), $0) }) { first, _ in first }
    }

    /// The different labels of some rows: by value when all are integers, otherwise by their bytes.
    init(sorting rows: [Row]) {
        var seen: Set<[UInt8]> = []
        for case .text(let name)? in rows.map(\.label) { seen.insert(Array(name.utf8)) }
        let names = seen.map { String(decoding: $0, as: UTF8.self) }
        let numbers = names.compactMap { name in Int(name).flatMap { String($0) == name ? $0 : nil } }
        if numbers.count == names.count {
            self.init(numbers.sorted().map { String($0) })
        } else {
            self.init(names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
        }
    }

    func index(of name: String) -> Int? { indices[Array(name.utf8)] }

    /// The row with its label's index in place of its text. Throws when the label is unknown, naming the known ones.
    func resolving(_ row: Row, file: String) throws -> Row {
        guard case .text(let name)? = row.label else { return row }
        guard let index = index(of: name) else {
            let shown = names.prefix(Self.shownCount).map { "\"\($0)\"" }.joined(separator: ", ")
            let rest = names.count > Self.shownCount ? " and \(names.count - Self.shownCount) more" : ""
            let hint = JSONReader.nearest(to: name, among: names).map { ". Did you mean \"\($0)\"?" } ?? ""
            throw Failure.configuration(
                "\(file):\(row.line): label: expected one of \(shown)\(rest), found \"\(name)\"\(hint)")
        }
        var resolved = row
        resolved.label = .index(index)
        return resolved
    }
}
