import PlanExamples
import Plans
import Support
import Testing

private func reader(_ text: String) throws -> JSONReader {
    try JSONReader(parsing: Array(text.utf8), file: "profile.json")
}

/// One layer on one device, timed at some sizes.
private func timed(_ sizes: [Int], _ seconds: [Double]) throws -> Profile {
    let layer = LayerProfile(
        name: "block", kind: .encoderBlock, parameterBytes: 8, trainableBytes: 4,
        forwardBytesPerToken: TokenCounts(source: 12, target: 3),
        backwardBytesPerToken: TokenCounts(source: 1, target: 2), savedBytesPerSample: 1,
        transientBytesPerSample: 1)
    let device = DeviceProfile(
        rank: 0, host: "a", coreCount: 1, memoryBytes: 1, memoryBudgetBytes: nil, blasCore: "",
        microBatchSizes: sizes,
        layers: [LayerTimes(forwardSeconds: seconds, backwardSeconds: seconds.map { 3 * $0 })])
    return try Profile(
        devices: [device], layers: [layer], links: [], meanTokens: TokenCounts(source: 10, target: 4))
}

@Suite("Profile")
struct ProfileTests {
    @Test("times are interpolated between measured sizes and extrapolated beyond")
    func interpolation() throws {
        let profile = try timed([1, 2, 4, 8], [3, 4, 8, 10])
        let expected: [(samples: Double, seconds: Double)] = [
            (0, 0), (0.5, 2.5), (1, 3), (1.5, 3.5), (2, 4), (3, 6), (4, 8), (6, 9), (8, 10), (10, 11),
            (16, 14),
        ]
        for (samples, seconds) in expected {
            #expect(profile.forwardSeconds(device: 0, layer: 0, samples: samples) == seconds)
            #expect(profile.backwardSeconds(device: 0, layer: 0, samples: samples) == 3 * seconds)
        }
    }

    @Test("noise never makes more samples cheaper or a few free")
    func extrapolationOfNoise() throws {
        let falling = try timed([2, 4], [6, 5])
        #expect(falling.forwardSeconds(device: 0, layer: 0, samples: 8) == 5)
        #expect(falling.forwardSeconds(device: 0, layer: 0, samples: 1) == 6.5)
        let steep = try timed([2, 4], [1, 5])
        #expect(steep.forwardSeconds(device: 0, layer: 0, samples: 1) == 0.5)
    }

    @Test("one measured size is extrapolated in proportion")
    func oneSize() throws {
        let profile = try timed([4], [8])
        #expect(profile.forwardSeconds(device: 0, layer: 0, samples: 1) == 2)
        #expect(profile.forwardSeconds(device: 0, layer: 0, samples: 6) == 12)
    }

    @Test("boundary bytes weigh source and target tokens")
    func boundaryBytes() throws {
        let profile = try timed([1], [1])
        #expect(profile.forwardBytesPerSample(after: 0) == 132)
        #expect(profile.backwardBytesPerSample(after: 0) == 18)
    }

    @Test("a link is found in either order of its ranks")
    func links() throws {
        let profile = try Profiles.random(seed: 3, layerCount: 2, deviceCount: 4)
        for link in profile.links {
            #expect(profile.link(link.ranks.0, link.ranks.1) == link)
            #expect(profile.link(link.ranks.1, link.ranks.0) == link)
        }
        #expect(try Profiles.twoDevices().link(0, 1).seconds(bytes: 50) == 1.0)
    }

    @Test("JSON round trip", arguments: [true, false])
    func roundTrip(indented: Bool) throws {
        let profile = try Profiles.random(seed: 11, layerCount: 5, deviceCount: 3)
        #expect(profile.devices.contains { $0.memoryBudgetBytes == nil })
        #expect(profile.devices.contains { $0.memoryBudgetBytes != nil })
        #expect(try Profile(reader(profile.json.text(indented: indented))) == profile)
        let device = profile.devices[1]
        #expect(try DeviceProfile(reader(device.json.text())) == device)
    }

    @Test("a changed file is refused, and the message says where")
    func badFiles() throws {
        let text = try Profiles.twoDevices().json.text()
        let cases: [(String, String, String)] = [
            (
                "\"host\"", "\"hots\"",
                "profile.json:1: unknown key \"devices[0].hots\". Did you mean \"host\"?"
            ),
            ("\"embedding\", \"parameter", "\"embeding\", \"parameter", "layers[0].kind: expected one of"),
            (
                "\"bandwidth\":100.0", "\"bandwidth\":0",
                "links[0].bandwidth: expected bytes per second above 0"
            ),
            (
                "\"ranks\":[0, 1]", "\"ranks\":[1, 1]",
                "link 0: expected two different ranks from 0 to 1, found 1 and 1"
            ),
            (
                "\"ranks\":[0, 1]", "\"ranks\":[0, 2]",
                "link 0: expected two different ranks from 0 to 1, found 0 and 2"
            ),
            (
                "\"rank\":1", "\"rank\":0",
                "device 1: expected rank 1, as devices stand in rank order, found 0"
            ),
            (
                "[1, 2]", "[2, 1]",
                "device 0: expected ascending micro-batch sizes of at least 1, found [2, 1]"
            ),
            ("[1.0, 2.0]", "[1.0]", "device 0: layer 0: expected 2 forward times"),
            (
                "[1.0, 2.0]", "[-1.0, 2.0]",
                "devices[0].layers[0].forward_seconds[0]: expected seconds of at least 0"
            ),
            (
                "\"trainable_bytes\":100", "\"trainable_bytes\":1001",
                "expected at most the layer's parameter_bytes, 1000"
            ),
            ("\"latency_seconds\":0.5", "\"latency_second\":0.5", "Did you mean \"latency_seconds\"?"),
        ]
        for (old, new, message) in cases {
            let position = try #require(text.firstRange(of: old), "\(old) is not in the profile")
            let changed = text.replacingCharacters(in: position, with: new)
            #expect {
                try Profile(reader(changed))
            } throws: { error in
                (error as? Failure)?.message.contains(message) == true
                    && (error as? Failure)?.kind == .configuration
            }
        }
    }

    @Test("links must name every pair once")
    func linkCoverage() throws {
        let profile = try Profiles.random(seed: 5, layerCount: 2, deviceCount: 3)
        func with(_ links: [LinkProfile]) throws {
            _ = try Profile(
                devices: profile.devices, layers: profile.layers, links: links, meanTokens: profile.meanTokens
            )
        }
        #expect(
            throws: Failure.configuration(
                "profile: expected a link for every pair of ranks, found none between 1 and 2")
        ) { try with(Array(profile.links.dropLast())) }
        #expect(
            throws: Failure.configuration(
                "profile: link 3: expected every pair of ranks once, found 0 and 1 twice")
        ) { try with(profile.links + [LinkProfile(ranks: (0, 1), bandwidth: 1, latencySeconds: 0)]) }
    }
}

extension String {
    fileprivate func firstRange(of text: String) -> Range<Index>? { ranges(of: text).first }

    fileprivate func replacingCharacters(in range: Range<Index>, with text: String) -> String {
        self[..<range.lowerBound] + text + self[range.upperBound...]
    }
}
