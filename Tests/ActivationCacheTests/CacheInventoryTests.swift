import ActivationCache
import Configuration
import Foundation
import Models
import Support
import Testing
import TextData

/// Which files and ranks serve a sample, against a search through all sets of files.
@Suite struct CacheInventoryTests {
    private typealias Announcement = CacheInventory.Announcement

    /// Files with some layers of some samples, and the ranks that see them.
    private struct Files {
        let complete: CacheShape
        let all: [Announcement]
        let announcements: [[Announcement]]
        let sampleCount = 6

        init(seed: Int) {
            let random = CounterRandom(11, UInt64(seed))
            var drawn: UInt64 = 0
            func draw(_ count: Int) -> Int {
                drawn += 1
                return Int(random.bits(at: drawn) % UInt64(count))
            }
            let stacks: [CacheShape.StackLayers] =
                seed % 3 == 0
                ? [.init(stack: .encoder, layers: 0..<3), .init(stack: .decoder, layers: 0..<3)]
                : [.init(stack: .encoder, layers: 0..<5)]
            complete = CacheShape(stacks: stacks, hiddenSize: 8)
            let count = stacks.reduce(0) { $0 + $1.layers.count }
            all = (0..<1 + draw(7)).map { index in
                // Neighbouring layers, across the stacks, as the stages of a plan leave them; one of four is whole.
                let (a, b) = draw(4) == 0 ? (0, count - 1) : (draw(count), draw(count))
                var first = 0
                let parts = stacks.compactMap { stack -> CacheShape.StackLayers? in
                    defer { first += stack.layers.count }
                    let own =
                        max(
                            min(a, b), first)..<max(
                            max(first, min(a, b)), min(max(a, b) + 1, first + stack.layers.count))
                    return own.isEmpty
                        ? nil
                        : .init(stack: stack.stack, layers: own.lowerBound - first..<own.upperBound - first)
                }
                return Announcement(
                    identifier: "file \(index)", shape: CacheShape(stacks: parts, hiddenSize: 8),
                    samples: [
                        .train: Set((0..<6).filter { _ in draw(3) > 0 }),
                        .validation: Set((0..<6).filter { _ in draw(3) == 0 }),
                    ])
            }
            var lists = [[Announcement]](repeating: [], count: 1 + draw(3))
            for file in all {
                let seen = 1 + draw((1 << lists.count) - 1)
                for rank in lists.indices where seen & 1 << rank != 0 { lists[rank].append(file) }
            }
            announcements = lists
        }

        func holders(_ split: Split, _ sample: Int) -> [Announcement] {
            all.filter { $0.samples[split]!.contains(sample) }
        }

        func sees(_ rank: Int, _ file: Announcement) -> Bool { announcements[rank].contains(file) }

        /// The fewest files that hold these layers together; nil when none do.
        func fewest(_ stack: CacheShape.StackLayers, _ files: [Announcement]) -> Int? {
            (0..<1 << files.count).compactMap { chosen -> Int? in
                let held = files.indices.filter { chosen & 1 << $0 != 0 }.flatMap { index in
                    files[index].shape.stacks.filter { $0.stack == stack.stack }.flatMap { Array($0.layers) }
                }
                return Set(stack.layers).isSubset(of: held) ? chosen.nonzeroBitCount : nil
            }.min()
        }
    }

    @Test("a sample's pieces hold all of its layers, in as few files as can be", arguments: 0..<150)
    func pieces(seed: Int) throws {
        let files = Files(seed: seed)
        let inventory = CacheInventory(files.announcements, complete: files.complete)
        func announced(_ index: Int) throws -> Announcement {
            let rank = try #require(
                files.announcements.indices.first { inventory.files[index].position(on: $0) != nil })
            return files.announcements[rank][inventory.files[index].position(on: rank)!]
        }
        #expect(inventory.files.count == files.all.count)
        for split in Split.allCases {
            for sample in 0..<files.sampleCount {
                let holders = files.holders(split, sample)
                let fewest = files.complete.stacks.map { files.fewest($0, holders) }
                for rank in files.announcements.indices {
                    guard let pieces = inventory.pieces(split, sample, for: rank) else {
                        #expect(fewest.contains(nil))
                        continue
                    }
                    let chosen = try pieces.map(announced)
                    #expect(Set(pieces).count == pieces.count && chosen.allSatisfy(holders.contains))
                    let whole = holders.filter { $0.shape == files.complete }
                    if !whole.isEmpty {
                        #expect(chosen.count == 1 && whole.contains(chosen[0]))
                        #expect(files.sees(rank, chosen[0]) || !whole.contains { files.sees(rank, $0) })
                    }
                    for (stack, least) in zip(files.complete.stacks, fewest) {
                        #expect(least != nil && files.fewest(stack, chosen) == least)
                    }
                    #expect(chosen.count <= fewest.reduce(0) { $0 + ($1 ?? 0) })
                    // Of two files with the same layers the rank's own is taken.
                    for file in chosen where !files.sees(rank, file) {
                        #expect(!holders.contains { $0.shape == file.shape && files.sees(rank, $0) })
                    }
                }
            }
        }
    }

    @Test("who reads and who removes a file, and what is missing or in place", arguments: 0..<150)
    func ranks(seed: Int) {
        let files = Files(seed: seed)
        let inventory = CacheInventory(files.announcements, complete: files.complete)
        let ranks = files.announcements.indices
        for file in files.all {
            let index = inventory.files.indices.first { index in
                ranks.contains {
                    inventory.files[index].position(on: $0) != nil
                        && inventory.files[index].position(on: $0)
                            == files.announcements[$0].firstIndex(of: file)
                }
            }!
            let first = ranks.first { files.sees($0, file) }!
            for rank in ranks {
                #expect(inventory.reader(of: index, for: rank) == (files.sees(rank, file) ? rank : first))
                #expect(inventory.isCustodian(rank, of: file.identifier) == (rank == first))
            }
        }
        for split in Split.allCases {
            let all = Array(0..<files.sampleCount)
            let missing = all.filter { sample in
                files.complete.stacks.contains { files.fewest($0, files.holders(split, sample)) == nil }
            }
            #expect(inventory.missing(split, of: all) == missing)
            for rank in ranks {
                let own = files.announcements[rank].filter { $0.shape == files.complete }
                for samples in [[], [0], [1, 2], [0, 3, 5], all] {
                    #expect(
                        inventory.isPlaced(split, samples, on: rank, fromOne: false)
                            == samples.allSatisfy { s in own.contains { $0.samples[split]!.contains(s) } })
                    #expect(
                        inventory.isPlaced(split, samples, on: rank, fromOne: true)
                            == (samples.isEmpty
                                || own.contains { $0.samples[split]!.isSuperset(of: samples) }))
                }
            }
        }
    }

    @Test("what a rank tells of a file survives the way", arguments: 0..<20) func announcements(seed: Int)
        throws
    {
        for file in Files(seed: seed).all {
            #expect(try Announcement(JSONReader(file.json, file: "files")) == file)
        }
    }

    @Test("samples that a file will have count as well") func expectedSamples() throws {
        let path = NSTemporaryDirectory() + "pac-mpi-cache-" + UUID().uuidString + ".h5"
        let shape = CacheShape(stacks: [.init(stack: .encoder, layers: 0..<2)], hiddenSize: 4)
        let identity = CacheIdentity(
            modelHash: "m", tokenizerHash: "t", dataHash: "d", family: "bert", maximumSequenceLength: 8,
            precision: .float32)
        let file = try ActivationCacheFile.create(
            path, shape: shape, identity: identity, rank: 0, worldSize: 1)
        defer { try? file.discard() }
        let told = Announcement(file, expected: [.train: [3, 5]])
        #expect(told.identifier == file.identifier && told.shape == shape)
        #expect(told.samples == [.train: [3, 5], .validation: []])
        let inventory = CacheInventory([[], [told]], complete: shape)
        #expect(inventory.pieces(.train, 5, for: 0) == [0] && inventory.reader(of: 0, for: 0) == 1)
        #expect(inventory.missing(.train, of: [3, 4, 5]) == [4])
        #expect(inventory.missing(.validation, of: [3]) == [3])
    }
}
