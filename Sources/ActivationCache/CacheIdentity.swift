import Configuration
import HDF5
import Support

/// What a cache belongs to: it is of no use for another model, tokenizer, data set, length or precision.
package struct CacheIdentity: Sendable, Equatable {
    package var modelHash: String
    package var tokenizerHash: String
    package var dataHash: String
    package var family: String
    package var maximumSequenceLength: Int
    package var precision: CachePrecision

    package init(
        modelHash: String, tokenizerHash: String, dataHash: String, family: String,
        maximumSequenceLength: Int,
        precision: CachePrecision
    ) {
        self.modelHash = modelHash
        self.tokenizerHash = tokenizerHash
        self.dataHash = dataHash
        self.family = family
        self.maximumSequenceLength = maximumSequenceLength
        self.precision = precision
    }

    private static let formatVersion: Int64 = 1

    /// The root attributes of a file, in order.
    package var attributes: [(name: String, value: H5Attribute)] {
        [
            ("format_version", .integer(Self.formatVersion)), ("family", .string(family)),
            ("precision", .string(precision.rawValue)),
            // Before the data: another length makes other rows of the same texts.
            ("max_sequence_length", .integer(Int64(maximumSequenceLength))),
            ("model_hash", .string(modelHash)), ("tokenizer_hash", .string(tokenizerHash)),
            ("data_hash", .string(dataHash)),
        ]
    }

    /// Checks that a file belongs to the same.
    ///
    /// - Throws: a configuration failure that names the file and the field that differs.
    package func check(_ file: H5File) throws {
        for (name, expected) in attributes {
            let found = try file.attribute(name)
            guard found != expected else { continue }
            throw Failure.configuration(
                "\(file.path): \(name): expected \(Self.text(expected)), as this experiment has it, found "
                    + "\(found.map(Self.text) ?? "none"): the cache belongs to another \(Self.subjects[name]!)"
            )
        }
    }

    private static let subjects = [
        "format_version": "version of the program", "model_hash": "model", "tokenizer_hash": "tokenizer",
        "data_hash": "data set", "family": "kind of model", "precision": "precision",
        "max_sequence_length": "length of samples",
    ]

    private static func text(_ attribute: H5Attribute) -> String {
        switch attribute {
        case .integer(let number): "\(number)"
        case .double(let number): "\(number)"
        case .string(let text): "\"\(text)\""
        case .bool(let flag): "\(flag)"
        }
    }
}
