import MPI
import Models
import Support
import TextData

extension CacheInventory {
    /// What a rank tells the others of a file that it sees.
    package struct Announcement: Equatable {
        package let identifier: String
        package let shape: CacheShape
        /// The samples in the file, and those that will be.
        package let samples: [Split: Set<Int>]

        package init(identifier: String, shape: CacheShape, samples: [Split: Set<Int>]) {
            self.identifier = identifier
            self.shape = shape
            self.samples = samples
        }
    }

    /// Tells all ranks what each has. Collective over the world.
    ///
    /// - Parameters: `own` are the files that this rank sees; `complete` has all layers that a sample needs; `expected` are
    ///   the samples that the last of the files will have.
    init(
        _ own: [ActivationCacheFile], complete: CacheShape, world: borrowing Communicator,
        expected: [Split: [Int]] = [:]
    ) throws {
        let announcements = own.enumerated().map { index, file in
            Announcement(file, expected: index == own.count - 1 ? expected : [:])
        }
        self.init(
            try world.allGatherJSON(.array(announcements.map(\.json)), "files").map {
                try $0.array().map { try Announcement($0) }
            }, complete: complete)
    }
}

extension CacheInventory.Announcement {
    /// - Parameter expected: the samples that are still to be written.
    package init(_ file: ActivationCacheFile, expected: [Split: [Int]]) {
        self.init(
            identifier: file.identifier, shape: file.shape,
            samples: Dictionary(
                uniqueKeysWithValues: Split.allCases.map { split in
                    (split, Set(file.samples(split)).union(expected[split] ?? []))
                }))
    }

    package init(_ reader: JSONReader) throws {
        let object = try reader.object()
        let stacks = try object.required("stacks").array().map { stack in
            let parts = try stack.array()
            let kind = StackKind(rawValue: try parts[0].choice(StackKind.allCases.map(\.rawValue)))!
            return CacheShape.StackLayers(stack: kind, layers: try parts[1].integer()..<parts[2].integer())
        }
        let lists = try object.required("samples").object()
        var samples: [Split: Set<Int>] = [:]
        for split in Split.allCases {
            samples[split] = Set(try lists.required(split.rawValue).array().map { try $0.integer() })
        }
        self.init(
            identifier: try object.required("id").string(),
            shape: CacheShape(stacks: stacks, hiddenSize: try object.required("hidden").integer()),
            samples: samples)
    }

    package var json: JSONValue {
        .dictionary([
            ("id", .string(identifier)), ("hidden", JSONValue(shape.hiddenSize)),
            (
                "stacks",
                .array(
                    shape.stacks.map {
                        [
                            .string($0.stack.rawValue), JSONValue($0.layers.lowerBound),
                            JSONValue($0.layers.upperBound),
                        ]
                    })
            ),
            (
                "samples",
                .dictionary(
                    Split.allCases.map { split in
                        (split.rawValue, .array((samples[split] ?? []).sorted().map { JSONValue($0) }))
                    })
            ),
        ])
    }
}
