/// The trainable parameters of a rank: names and shapes over flat buffers of values and gradients, so that an
/// all-reduce, a clipping and an optimizer step are each one pass over one bucket.
///
/// Parameters that several stages hold (a relative-position table) stand at the end, one segment for each sharing
/// group, because their gradients are summed over more ranks than the rest.
public final class ParameterBucket {
    /// A parameter before it has a place.
    public struct Declaration: Sendable, Equatable {
        public let name: String
        public let shape: [Int]
        /// Names the set of stages that hold a copy; nil when only this stage does.
        public let sharingGroup: String?

        public init(name: String, shape: [Int], sharingGroup: String? = nil) {
            self.name = name
            self.shape = shape
            self.sharingGroup = sharingGroup
        }

        public var count: Int { shape.reduce(1, *) }
    }

    public let declarations: [Declaration]
    /// All values, and all gradients in the same order; gradients are zero until backward adds to them.
    public let values: Tensor
    public let gradients: Tensor
    private let offsets: [String: Int]
    private var leaves: [String: Tensor] = [:]

    /// Lays out the parameters, this stage's own first, then each sharing group in order of name. Values are zero.
    public init(_ declarations: [Declaration], ledger: Ledger) {
        self.declarations = Self.ordered(declarations)
        var offsets: [String: Int] = [:]
        var total = 0
        for declaration in self.declarations {
            precondition(offsets[declaration.name] == nil, "\(declaration.name) is declared twice")
            offsets[declaration.name] = total
            total += declaration.count
        }
        self.offsets = offsets
        values = Tensor(rows: 1, columns: total, category: .weights, ledger: ledger)
        gradients = Tensor(rows: 1, columns: total, category: .gradients, ledger: ledger)
        values.fill(0)
        gradients.fill(0)
        for declaration in self.declarations {
            let view = { (tensor: Tensor) -> Tensor in
                let rows = declaration.shape.count > 1 ? declaration.shape[0] : 1
                return Tensor(
                    tensor.storage, offset: offsets[declaration.name]!, rows: rows,
                    columns: declaration.count / max(1, rows))
            }
            leaves[declaration.name] = view(values).with(node: Node(leaf: view(gradients), ledger: ledger))
        }
    }

    /// Declarations in the order of a bucket: a stage's own first, then each sharing group in order of name.
    public static func ordered(_ declarations: [Declaration]) -> [Declaration] {
        declarations.filter { $0.sharingGroup == nil }
            + declarations.filter { $0.sharingGroup != nil }
            .sorted { ($0.sharingGroup!, $0.name) < ($1.sharingGroup!, $1.name) }
    }

    /// Number of trainable scalars.
    public var count: Int { values.columns }

    /// A parameter on the tape. Vectors are one row.
    public func tensor(_ name: String) -> Tensor? { leaves[name] }

    /// Where a parameter stands in the flat buffers.
    public func range(of name: String) -> Range<Int>? {
        guard let offset = offsets[name], let tensor = leaves[name] else { return nil }
        return offset..<offset + tensor.count
    }

    /// The segment of a sharing group, or (nil) of the parameters that only this stage holds.
    public func segment(_ group: String?) -> Range<Int> {
        let ranges = declarations.filter { $0.sharingGroup == group }.map { range(of: $0.name)! }
        guard let first = ranges.first, let last = ranges.last else { return 0..<0 }
        return first.lowerBound..<last.upperBound
    }

    /// The gradient of one parameter, for tests and checks.
    public func gradient(of name: String) -> [Float]? {
        range(of: name).map { range in range.map { gradients.pointer[$0] } }
    }

    /// Every parameter with its values, in the order of the bucket.
    public var named: [(name: String, shape: [Int], values: [Float])] {
        declarations.map { declaration in
            (declaration.name, declaration.shape, range(of: declaration.name)!.map { values.pointer[$0] })
        }
    }

    /// Overwrites a parameter's values.
    public func set(_ name: String, _ newValues: [Float]) {
        guard let range = range(of: name) else { preconditionFailure("no parameter \(name)") }
        precondition(range.count == newValues.count, "\(name): \(newValues.count) values for \(range.count)")
        for (index, value) in zip(range, newValues) { values.pointer[index] = value }
    }

    /// Sets all gradients to zero, before the first micro-batch of a mini-batch.
    public func zeroGradients() { gradients.fill(0) }
}
