import TensorCore

/// Keys and values of packed sequences: rows `spans[i]` belong to sequence i.
public struct KeysAndValues {
    let keys: Tensor
    let values: Tensor
    let spans: [Range<Int>]
}

/// The keys and values that one decoder block keeps between the steps of a generation: its own tokens so far, and the
/// encoder's, computed once.
public final class BlockCache {
    private let capacity: Int
    private var length = 0
    private var own: (keys: Tensor, values: Tensor)?
    private var cross: KeysAndValues?

    /// - Parameter capacity: tokens that a sequence can grow to.
    public init(capacity: Int) { self.capacity = capacity }

    /// Appends one token's keys and values to every sequence and returns all so far.
    func appendSelf(_ new: KeysAndValues) -> KeysAndValues {
        let sequences = new.spans.count
        precondition(new.keys.rows == sequences && length < capacity, "one token a sequence and step")
        let width = new.keys.columns
        if own == nil {
            let make = { Tensor(rows: sequences * self.capacity, columns: width, ledger: new.keys.ledger) }
            own = (make(), make())
        }
        let (keys, values) = own!
        for i in 0..<sequences {
            let place = (i * capacity + length) * width
            (keys.pointer + place).update(from: new.keys.pointer + i * width, count: width)
            (values.pointer + place).update(from: new.values.pointer + i * width, count: width)
        }
        length += 1
        return KeysAndValues(
            keys: keys, values: values, spans: (0..<sequences).map { $0 * capacity..<$0 * capacity + length })
    }

    /// The encoder's keys and values, computed at the first step.
    func crossKeys(_ compute: () -> KeysAndValues) -> KeysAndValues {
        if let cross { return cross }
        let computed = compute()
        cross = computed
        return computed
    }
}
