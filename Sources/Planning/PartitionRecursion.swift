/// The dynamic programme of eq. (2): layers in order, devices in order, both cut into the same number of runs, the largest
/// cost as small as possible.
///
/// Eq. (2) peels stages off the end. A stage's memory depends on how many stages follow it (1F1B keeps min(M, S - i)
/// micro-batches in flight), which eq. (2) does not know, so that it would have to run once for each S. Peeling them off
/// the front instead, the number of stages from here to the end is the recursion's own index: one run answers every S,
/// with the same optimum. Among equal bottlenecks the smaller sum of costs wins; eq. (2) leaves that open.
///
/// O(S L^2 D^2) for the stages and O(S L D^3) for the links.
struct PartitionRecursion {
    /// A run of layers and of devices (positions in the ordered set).
    struct Part: Equatable {
        var layers: Range<Int>
        var devices: Range<Int>
    }

    private struct Score {
        var bottleneck = Double.infinity
        var sum = Double.infinity

        static func < (a: Score, b: Score) -> Bool {
            a.bottleneck < b.bottleneck || (a.bottleneck == b.bottleneck && a.sum < b.sum)
        }
    }

    /// The best way on from a first device and a first layer, and where its first part ends.
    private struct Entry {
        var score = Score()
        var layerEnd = 0
        var nextDeviceCount = 0
    }

    let layerCount: Int
    let deviceCount: Int
    private let groupSizes: ClosedRange<Int>
    /// `[k][layer][first device][device count]`: layers from `layer` on in k parts, of which the first has so many devices.
    private var entries: [Entry]
    private let maximumPartCount: Int

    /// - Parameters:
    ///   - partCount: the largest number of parts to answer for.
    ///   - groupSizes: the numbers of devices that a part can have.
    ///   - cost: of layers on devices as the k-th part from the end (1 is the last); infinity when impossible.
    ///   - link: of passing the boundary before a layer from one run of devices to the next.
    init(
        layerCount: Int, deviceCount: Int, partCount: Int, groupSizes: ClosedRange<Int>,
        cost: (_ layers: Range<Int>, _ devices: Range<Int>, _ partsFromEnd: Int) -> Double,
        link: (_ layer: Int, _ from: Range<Int>, _ to: Range<Int>) -> Double
    ) {
        self.layerCount = layerCount
        self.deviceCount = deviceCount
        self.groupSizes = groupSizes
        maximumPartCount = partCount
        entries = Array(
            repeating: Entry(),
            count: (partCount + 1) * (layerCount + 1) * deviceCount * groupSizes.count)
        for parts in 1...partCount {
            for first in 0..<deviceCount {
                // Each part that follows needs a device, and all of them take what is left.
                guard
                    (parts * groupSizes.lowerBound...parts * groupSizes.upperBound).contains(
                        deviceCount - first)
                else { continue }
                for count in counts(deviceCount - first, before: parts - 1) {
                    let devices = first..<first + count
                    if parts == 1 {
                        if devices.upperBound == deviceCount { closeWithOnePart(devices, cost) }
                    } else {
                        peel(devices, parts, cost, link)
                    }
                }
            }
        }
    }

    private func index(_ parts: Int, _ layer: Int, _ first: Int, _ count: Int) -> Int {
        ((parts * (layerCount + 1) + layer) * deviceCount + first) * groupSizes.count + count
            - groupSizes.lowerBound
    }

    /// The sizes of a group that leaves a device for each of the parts after it.
    private func counts(_ free: Int, before parts: Int) -> StrideThrough<Int> {
        stride(from: groupSizes.lowerBound, through: min(groupSizes.upperBound, free - parts), by: 1)
    }

    private mutating func closeWithOnePart(
        _ devices: Range<Int>, _ cost: (Range<Int>, Range<Int>, Int) -> Double
    ) {
        for layer in 0..<layerCount {
            let value = cost(layer..<layerCount, devices, 1)
            entries[index(1, layer, devices.lowerBound, devices.count)] = Entry(
                score: Score(bottleneck: value, sum: value), layerEnd: layerCount, nextDeviceCount: 0)
        }
    }

    private mutating func peel(
        _ devices: Range<Int>, _ parts: Int, _ cost: (Range<Int>, Range<Int>, Int) -> Double,
        _ link: (Int, Range<Int>, Range<Int>) -> Double
    ) {
        let next = devices.upperBound
        // What follows a boundary does not depend on where this part began: the best next group for each boundary.
        var ways = [Entry](repeating: Entry(), count: layerCount)
        for boundary in stride(from: 1, through: layerCount - (parts - 1), by: 1) {
            for nextCount in counts(deviceCount - next, before: parts - 2) {
                let rest = entries[index(parts - 1, boundary, next, nextCount)].score
                guard rest.bottleneck < .infinity else { continue }
                let seconds = link(boundary, devices, next..<next + nextCount)
                let score = Score(bottleneck: max(rest.bottleneck, seconds), sum: rest.sum + seconds)
                if score < ways[boundary].score {
                    ways[boundary] = Entry(score: score, layerEnd: boundary, nextDeviceCount: nextCount)
                }
            }
        }
        for layer in stride(from: 0, through: layerCount - parts, by: 1) {
            var best = Entry()
            for boundary in layer + 1...layerCount - (parts - 1)
            where ways[boundary].score.bottleneck < .infinity {
                let seconds = cost(layer..<boundary, devices, parts)
                let way = ways[boundary]
                let score = Score(
                    bottleneck: max(way.score.bottleneck, seconds), sum: way.score.sum + seconds)
                if score < best.score {
                    best = Entry(score: score, layerEnd: boundary, nextDeviceCount: way.nextDeviceCount)
                }
            }
            entries[index(parts, layer, devices.lowerBound, devices.count)] = best
        }
    }

    /// W(0 -> L, D, s) of eq. (2): the best division of all layers over all devices in so many parts; nil when every one
    /// has an impossible part.
    func best(partCount: Int) -> (bottleneck: Double, parts: [Part])? {
        precondition(
            (1...maximumPartCount).contains(partCount), "the recursion was not run for \(partCount) parts")
        var deviceCount = 0
        var score = Score()
        for count in counts(self.deviceCount, before: partCount - 1) {
            let entry = entries[index(partCount, 0, 0, count)]
            if entry.score < score { (score, deviceCount) = (entry.score, count) }
        }
        guard score.bottleneck < .infinity else { return nil }
        var parts: [Part] = []
        var (layer, device) = (0, 0)
        for remaining in stride(from: partCount, to: 0, by: -1) {
            let entry = entries[index(remaining, layer, device, deviceCount)]
            parts.append(Part(layers: layer..<entry.layerEnd, devices: device..<device + deviceCount))
            layer = entry.layerEnd
            device += deviceCount
            deviceCount = entry.nextDeviceCount
        }
        return (score.bottleneck, parts)
    }
}
