import Support
import Testing
import TextData

@Suite struct TokenizedDatasetTests {
    static let examples: [TokenizedDataset] = [
        TokenizedDataset(
            inputs: [[1, 2, 3], [], [4]], typeIDs: [[0, 1, 1], [], [0]], labels: .classes([2, 0, 1])),
        TokenizedDataset(
            inputs: [[7], [-8, 9]], labels: .scores([0.1, -3]), targets: [[1], [2, 3]], truncatedCount: 1),
        TokenizedDataset(inputs: [[7]], labels: .texts(["e\u{301} 😀"]), targets: [[]]),
        TokenizedDataset(inputs: [[1], [2]], labels: .none),
        TokenizedDataset(
            inputs: [[1, 2, 3], [4]], lossMarks: [[false, true, false], [true]], labels: .none),
    ]

    @Test("what is sent arrives", arguments: 0..<5)
    func whatIsSentArrives(index: Int) throws {
        let dataset = Self.examples[index]
        let bytes = dataset.serialized()
        let copy = try TokenizedDataset(serialized: bytes)
        #expect(copy == dataset)
        #expect(copy.fingerprint == dataset.fingerprint)
        #expect(copy.input(0) == dataset.input(0))
        for count in 0..<bytes.count {
            #expect(throws: Failure.self) { try TokenizedDataset(serialized: Array(bytes.prefix(count))) }
        }
        #expect(throws: Failure.self) { try TokenizedDataset(serialized: bytes + [0]) }
    }

    @Test("damaged bytes never trap") func damagedBytesNeverTrap() throws {
        let bytes = Self.examples[1].serialized()
        for index in bytes.indices {
            for value: UInt8 in [0, 1, 0x7F, 0x80, 0xFF] {
                var damaged = bytes
                damaged[index] = value
                if let dataset = try? TokenizedDataset(serialized: damaged) {
                    for row in 0..<dataset.count { _ = dataset.input(row) }
                }
            }
        }
    }

    @Test("the fingerprint changes with every part") func theFingerprintChangesWithEveryPart() {
        func fingerprint(
            _ inputs: [[Int32]] = [[1, 2], [3]], _ labels: TokenizedDataset.Labels = .classes([0, 1]),
            types: [[Int32]]? = nil, targets: [[Int32]]? = nil, truncated: Int = 0
        ) -> String {
            TokenizedDataset(
                inputs: inputs, typeIDs: types, labels: labels, targets: targets, truncatedCount: truncated
            ).fingerprint
        }
        let all = [
            fingerprint(), fingerprint([[1], [2, 3]]), fingerprint([[3], [1, 2]]),
            fingerprint([[1, 2], [4]]),
            fingerprint([[1, 2], [3], []], .classes([0, 1, 0])),
            fingerprint([[1, 2], [3]], .classes([1, 1])),
            fingerprint([[1, 2], [3]], .scores([0, 1])), fingerprint(types: [[0, 1], [0]]),
            fingerprint(targets: [[1], [1]]), fingerprint(truncated: 1), fingerprint([[1, 2], [3]], .none),
        ]
        #expect(Set(all).count == all.count)
        #expect(fingerprint() == fingerprint())
    }

    @Test("loss marks have the fingerprint of the type ids in whose place they stand, as caches know it")
    func lossMarksHaveTheFingerprintOfTypeIDs() {
        let marked = Self.examples[4]
        let typed = TokenizedDataset(
            inputs: [[1, 2, 3], [4]], typeIDs: [[0, 1, 0], [1]], labels: .none)
        #expect(marked.fingerprint == typed.fingerprint && marked != typed)
        #expect(marked.typeIDs == [0, 0, 0, 0] && typed.lossMarks(0).isEmpty)
        #expect(Array(marked.lossMarks(0)) == [false, true, false])
        #expect(marked.fingerprint == "67ffec3748b581aa")
    }
}
