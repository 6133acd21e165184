import Configuration
import HDF5
import Support

/// What a cache belongs to: it is of no use for another model, tokenizer, data set, length or precision.
struct CacheIdentity: Sendable, Equatable {
    var modelHash: String
    var tokenizerHash: String
    var dataHash: String
    var family: String
    var maximumSequenceLength: Int
    var precision: CachePrecision

    private static let formatVersion: Int64 = 1

    /// The root attributes of a file, in order.
    var attributes: [(name: String, value: H5Attribute)] {
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
    func check(_ file: H5File) throws {
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
