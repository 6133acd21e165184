import Support

/// The rows of a split as a model reads them: token ids packed one row after the other, and what is to be learned.
///
/// Row i has the tokens `inputIDs[inputOffsets[i]..<inputOffsets[i + 1]]`. Nothing is padded.
public struct TokenizedDataset: Sendable, Equatable {
    /// What the metrics compare with, one a row.
    public enum Labels: Sendable, Equatable {
        case none
        /// Class indices.
        case classes([Int32])
        case scores([Float])
        /// The target texts.
        case texts([String])
    }

    public let inputIDs: [Int32]
    /// [count + 1], from 0 to the number of input tokens.
    public let inputOffsets: [Int]
    /// Which of two texts each input token belongs to, 0 or 1; as long as `inputIDs`.
    public let typeIDs: [Int32]
    /// Where a model learns the input itself, whether each token is learned; as long as `inputIDs`, empty otherwise.
    public let lossMarks: [Bool]
    public let labels: Labels
    /// The token ids to be written, for models that write text; empty otherwise.
    public let targetIDs: [Int32]
    /// [count + 1]; `[0]` where there are no targets.
    public let targetOffsets: [Int]
    /// How many rows lost tokens of a text or of a target to the maximum sequence length.
    public let truncatedCount: Int
    /// A hash of everything above, 16 hexadecimal digits: any other row, label, order or length changes it.
    public private(set) var fingerprint = ""

    public var count: Int { inputOffsets.count - 1 }
    public var hasTargets: Bool { targetOffsets.count > 1 }
    /// The length of the longest target, in tokens; 0 without targets.
    public var maximumTargetLength: Int {
        zip(targetOffsets, targetOffsets.dropFirst()).reduce(0) { max($0, $1.1 - $1.0) }
    }

    /// Packs rows.
    ///
    /// - Parameters:
    ///   - inputs: the ids of every row.
    ///   - typeIDs: as `inputs`; nil for zeros.
    ///   - lossMarks: as `inputs`; nil for models that do not learn the input itself.
    ///   - labels: one a row, or none.
    ///   - targets: the ids to be written, one array a row; nil for models that write no text.
    public init(
        inputs: [[Int32]], typeIDs: [[Int32]]? = nil, lossMarks: [[Bool]]? = nil, labels: Labels,
        targets: [[Int32]]? = nil, truncatedCount: Int = 0
    ) {
        self.init(
            inputIDs: inputs.flatMap { $0 }, inputOffsets: Self.offsets(inputs),
            typeIDs: typeIDs.map { $0.flatMap { $0 } } ?? inputs.flatMap { $0.map { _ in 0 } },
            lossMarks: lossMarks?.flatMap { $0 } ?? [], labels: labels,
            targetIDs: targets?.flatMap { $0 } ?? [], targetOffsets: Self.offsets(targets ?? []),
            truncatedCount: truncatedCount)
        precondition(self.typeIDs.count == inputIDs.count, "one type id a token")
        precondition(lossMarks == nil || self.lossMarks.count == inputIDs.count, "one loss mark a token")
        precondition(lossMarks == nil || typeIDs == nil, "what is learned itself is no pair of texts")
        precondition(labels.count == nil || labels.count == count, "one label a row")
        precondition(targets == nil || targets?.count == count, "one target a row")
    }

    init(
        inputIDs: [Int32], inputOffsets: [Int], typeIDs: [Int32], lossMarks: [Bool], labels: Labels,
        targetIDs: [Int32], targetOffsets: [Int], truncatedCount: Int
    ) {
        self.inputIDs = inputIDs
        self.inputOffsets = inputOffsets
        self.typeIDs = typeIDs
        self.lossMarks = lossMarks
        self.labels = labels
        self.targetIDs = targetIDs
        self.targetOffsets = targetOffsets
        self.truncatedCount = truncatedCount
        fingerprint = Fingerprint(content.bytes).text
    }

    /// The input tokens of a row.
    public func input(_ row: Int) -> ArraySlice<Int32> { inputIDs[inputOffsets[row]..<inputOffsets[row + 1]] }

    /// Which text of a pair each input token of a row belongs to: 0 or 1.
    public func types(_ row: Int) -> ArraySlice<Int32> { typeIDs[inputOffsets[row]..<inputOffsets[row + 1]] }

    /// Whether each input token of a row is learned; empty where the input itself is not.
    public func lossMarks(_ row: Int) -> ArraySlice<Bool> {
        lossMarks.isEmpty ? [] : lossMarks[inputOffsets[row]..<inputOffsets[row + 1]]
    }

    /// The target tokens of a row; requires targets.
    public func target(_ row: Int) -> ArraySlice<Int32> {
        targetIDs[targetOffsets[row]..<targetOffsets[row + 1]]
    }

    private static func offsets(_ rows: [[Int32]]) -> [Int] {
        var offsets = [0]
        offsets.reserveCapacity(rows.count + 1)
        for row in rows { offsets.append(offsets[offsets.count - 1] + row.count) }
        return offsets
    }
}

extension TokenizedDataset.Labels {
    /// The number of labels; nil for none.
    public var count: Int? {
        switch self {
        case .none: nil
        case .classes(let labels): labels.count
        case .scores(let labels): labels.count
        case .texts(let labels): labels.count
        }
    }
}
