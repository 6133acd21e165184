import Cluster
import Plans
import Testing

/// A link, from two measurements of it.
@Suite struct LinkProfileTests {
    @Test func linkReproducesItsMeasurements() {
        let link = LinkProfile(ranks: (0, 1), smallSeconds: 0.001, largeSeconds: 0.011, largeBytes: 1_000_000)
        #expect(link.latencySeconds == 0.001)
        #expect(abs(link.bandwidth - 1e8) < 1)
        // A latency that is noise still leaves a link that is finite and exact at the large message.
        let noisy = LinkProfile(ranks: (0, 1), smallSeconds: 0.02, largeSeconds: 0.01, largeBytes: 1_000_000)
        #expect(noisy.latencySeconds == 0.005)
        #expect(abs(noisy.seconds(bytes: 1_000_000) - 0.01) < 1e-12)
    }
}
