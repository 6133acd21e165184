import TensorCore

/// Keys and values of packed sequences: rows `spans[i]` belong to sequence i.
package struct KeysAndValues {
    package let keys: Tensor
    package let values: Tensor
    package let spans: [Range<Int>]
}

/// The keys and values that one decoder block keeps between the steps of a generation: its own tokens so far, and the
/// encoder's, computed once.
package final class BlockCache {
    private let capacity: Int
    /// Tokens of each sequence so far.
    private var lengths: [Int] = []
    private var own: (keys: Tensor, values: Tensor)?
    private var cross: KeysAndValues?

    /// - Parameter capacity: tokens that a sequence can grow to.
    package init(capacity: Int) { self.capacity = capacity }

    /// Appends each sequence's new keys and values, of a prompt or of one token, and returns all so far.
    func appendSelf(_ new: KeysAndValues) -> KeysAndValues {
        let width = new.keys.columns
        if own == nil {
            lengths = new.spans.map { _ in 0 }
            let rows = new.spans.count * capacity
            let make = { Tensor(rows: rows, columns: width, ledger: new.keys.ledger) }
            own = (make(), make())
        }
        precondition(new.spans.count == lengths.count, "the sequences with which the generation began")
        let (keys, values) = own!
        for (i, span) in new.spans.enumerated() {
            precondition(lengths[i] + span.count <= capacity, "more tokens than the cache was made for")
            let (to, from, count) = (
                (i * capacity + lengths[i]) * width, span.lowerBound * width, span.count * width
            )
            (keys.pointer + to).update(from: new.keys.pointer + from, count: count)
            (values.pointer + to).update(from: new.values.pointer + from, count: count)
            lengths[i] += span.count
        }
        return KeysAndValues(
            keys: keys, values: values,
            spans: lengths.enumerated().map { $0 * capacity..<$0 * capacity + $1 })
    }

    /// The encoder's keys and values, computed at the first step.
    func crossKeys(_ compute: () -> KeysAndValues) -> KeysAndValues {
        if let cross { return cross }
        let computed = compute()
        cross = computed
        return computed
    }
}
