import Families
import MPI
import Models
import Planning
import Plans
import Profiling
import RankChecks
import Support
import TensorCore

let profileChecks: [(name: String, run: RankCheck)] = [
    ("profile-bert", profileOfBert), ("profile-t5", profileOfT5),
    ("profile-bfloat16", profileOfStoredMatrices),
    ("profile-within-memory", profileWithinMemory),
]

private func family(_ configuration: String) throws -> any ModelFamily {
    try readModelFamily(
        JSONReader(parsing: Array(configuration.utf8), file: "config.json"))
}

private func smallBert() throws -> any ModelFamily {
    try family(
        """
        {"model_type": "bert", "hidden_size": 64, "vocab_size": 500, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 128, "max_position_embeddings": 40}
        """)
}

private func smallT5() throws -> any ModelFamily {
    try family(
        """
        {"model_type": "t5", "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4,
         "vocab_size": 6000}
        """)
}

/// Lengths from 4 to 19.
private let lengths = (0..<48).map { 4 + $0 * 7 % 16 }

private func expectSound(_ profile: Profile, sizes: [Int], _ world: borrowing Communicator) throws {
    // The same on every rank, and the same after a round through its file.
    let text = profile.json.text()
    try expect(
        try world.allGather(Array(text.utf8)).allSatisfy { $0 == Array(text.utf8) },
        "profiles differ between ranks")
    let read = try Profile(JSONReader(parsing: Array(text.utf8), file: "profile"))
    try expectEqual(read, profile, "the profile that was read back")

    try expectEqual(profile.devices.count, world.size, "devices")
    for device in profile.devices {
        try expectEqual(device.microBatchSizes, sizes, "micro-batch sizes")
        try expect(device.coreCount >= 1 && device.memoryBytes > 0 && device.host != "", "device \(device)")
        for (layer, times) in zip(profile.layers, device.layers) {
            for seconds in [times.forwardSeconds, times.backwardSeconds] {
                try expect(
                    seconds.allSatisfy { $0 > 0 && $0 < 1 } && seconds == seconds.sorted(),
                    "\(layer.name): seconds \(seconds)")
            }
        }
    }
    try expectEqual(profile.links.count, world.size * (world.size - 1) / 2, "links")
    for a in 0..<world.size {
        for b in 0..<world.size where b != a {
            try expectEqual(profile.link(a, b), profile.link(b, a), "the link of \(a) and \(b)")
            let link = profile.link(a, b)
            try expect(link.bandwidth > 1e6 && (1e-9..<0.1).contains(link.latencySeconds), "link \(link)")
        }
    }
    let plan = try Planner(profile: profile, schedule: .oneForwardOneBackward).plan(miniBatchSize: 8)
    try expectEqual(plan.stages.last!.layers.upperBound, profile.layers.count, "planned layers")
}

@Sendable private func profileOfBert(_ world: borrowing Communicator) throws {
    let profiler = Profiler(
        family: try smallBert(),
        model: StageModel.Configuration(
            technique: ParallelAdapters(reductionFactor: 4), head: .classification(2),
            pooling: .mean))
    let profile = try profiler.run(
        world: world, sourceLengths: lengths, targetLengths: [], miniBatchSize: 8, memoryBudget: 1 << 30)
    try expectSound(profile, sizes: [1, 2, 4, 8], world)
    try expectEqual(profile.meanTokens, TokenCounts(source: 11.5), "mean tokens")
    try expectEqual(
        profile.devices.map(\.memoryBudgetBytes), Array(repeating: 1 << 30, count: world.size), "budgets")

    let (d, r) = (64, 16)
    let names = ["embedding", "encoder 0", "encoder 1", "encoder 2", "head"]
    try expectEqual(profile.layers.map(\.name), names, "layers")
    try expectEqual(
        profile.layers.map(\.kind), [.embedding, .encoderBlock, .encoderBlock, .encoderBlock, .head], "kinds")
    // Counted by hand: words, types, positions and a norm; down-projection.
    let embedding = 4 * ((500 + 2 + 40) * d + 2 * d)
    let down = 4 * (r * d + r)
    try expectEqual(profile.layers[0].trainableBytes, down, "trainable bytes of the embedding")
    try expectEqual(profile.layers[0].parameterBytes, embedding + down, "bytes of the embedding")
    func block(_ d: Int, _ ff: Int) -> Int { 4 * (4 * (d * d + d) + 2 * d * ff + ff + d + 4 * d) }
    try expectEqual(profile.layers[1].trainableBytes, down + 4 + block(r, 32), "trainable bytes of a block")
    try expectEqual(
        profile.layers[1].parameterBytes, block(d, 128) + down + 4 + block(r, 32), "bytes of a block")
    // Read-out and classifier; mean pooling needs no frozen tensor.
    try expectEqual(
        profile.layers[4].trainableBytes, 4 * (r * d + d + 2 * d + 2), "trainable bytes of the head")
    try expectEqual(profile.layers[4].parameterBytes, profile.layers[4].trainableBytes, "bytes of the head")
    for layer in profile.layers[..<4] {
        try expectEqual(layer.forwardBytesPerToken, TokenCounts(source: 4 * Double(d + r)), "forward bytes")
        try expectEqual(layer.backwardBytesPerToken, TokenCounts(source: 4 * Double(r)), "backward bytes")
    }
    try expectEqual(profile.layers[4].forwardBytesPerToken, TokenCounts(source: 0), "bytes after the head")
    // b is kept by the down-projection's backward: the least that a block of any kind saves. 92 tokens in 8 samples.
    try expect(
        profile.layers[1].savedBytesPerSample >= 11.5 * Double(4 * (d + r)),
        "saved bytes of a block: \(profile.layers[1].savedBytesPerSample)")
    try expectEqual(
        profile.layers[0].savedBytesPerSample, 11.5 * Double(4 * d), "saved bytes of the embedding: b")
    try expectEqual(
        profile.layers[1].heldInputBytesPerSample, 11.5 * Double(4 * r),
        "input that a block's backward needs: a, for the gate")
    try expect(
        profile.layers[..<4].allSatisfy { $0.transientBytesPerSample > 0 },
        "a layer needs memory while it runs")
}

@Sendable private func profileOfT5(_ world: borrowing Communicator) throws {
    let profiler = Profiler(
        family: try smallT5(),
        model: StageModel.Configuration(
            technique: ParallelAdapters(reductionFactor: 4), head: .languageModel, pooling: .mean),
        dropout: 0.1)
    let profile = try profiler.run(
        world: world, sourceLengths: lengths, targetLengths: lengths.map { $0 / 2 }, miniBatchSize: 6,
        memoryBudget: nil)
    try expectSound(profile, sizes: [1, 2, 4, 6], world)
    let (d, r) = (64.0, 16.0)
    let names = ["embedding", "encoder 0", "encoder 1", "decoder 0", "decoder 1", "head"]
    try expectEqual(profile.layers.map(\.name), names, "layers")
    for layer in profile.layers[..<3] {
        try expectEqual(
            layer.forwardBytesPerToken, TokenCounts(source: 4 * (d + r)), "\(layer.name): forward bytes")
        try expectEqual(
            layer.backwardBytesPerToken, TokenCounts(source: 4 * r), "\(layer.name): backward bytes")
    }
    // Inside the decoder the encoder's results travel too.
    for layer in profile.layers[3..<5] {
        let forward = TokenCounts(source: 4 * (d + r), target: 4 * (d + r))
        try expectEqual(layer.forwardBytesPerToken, forward, "\(layer.name): forward bytes")
        let backward = TokenCounts(source: 4 * r, target: 4 * r)
        try expectEqual(layer.backwardBytesPerToken, backward, "\(layer.name): backward bytes")
    }
    // The whole table is counted though only a part of it is made: in the first decoder block the table, the encoder's
    // two final norms and a down-projection more than in the second.
    let more = 6000 * 64 + 64 + 16 + 16 * 64 + 16
    try expectEqual(
        profile.layers[3].parameterBytes - profile.layers[4].parameterBytes, 4 * more,
        "bytes of the decoder's entry")
    try expect(profile.layers[5].parameterBytes > 4 * 6000 * 64, "the head holds the vocabulary")
    // The gradient of the logits waits for backward; the logits do not.
    let logits = profile.meanTokens.target * 4 * 6000
    try expect(
        profile.layers[5].savedBytesPerSample > logits
            && profile.layers[5].savedBytesPerSample < 1.2 * logits,
        "saved bytes of the head: \(profile.layers[5].savedBytesPerSample)")
}

/// Frozen matrices are counted as they are stored, and computed with; what is trained is float32.
@Sendable private func profileOfStoredMatrices(_ world: borrowing Communicator) throws {
    let (family, model) = (
        try smallBert(),
        StageModel.Configuration(
            technique: ParallelAdapters(reductionFactor: 4), head: .classification(2), pooling: .mean)
    )
    func profile(_ formats: StoredFormats) throws -> Profile {
        try Profiler(family: family, model: model, formats: formats).run(
            world: world, sourceLengths: lengths, targetLengths: [], miniBatchSize: 8, memoryBudget: nil)
    }
    let matrices = try DeclaringSource(wholeModel: family, model).matrices
    let stored = try profile(
        StoredFormats(Dictionary(uniqueKeysWithValues: matrices.map { ($0, .bfloat16) })))
    try expectSound(stored, sizes: [1, 2, 4, 8], world)
    let wide = try profile(.float32)
    let d = 64
    // Words, types and positions; four of attention and two of the feed-forward; the head has none.
    let savings =
        [2 * (500 + 2 + 40) * d] + [Int](repeating: 2 * (4 * d * d + 2 * d * 128), count: 3) + [0]
    for ((a, b), saved) in zip(zip(stored.layers, wide.layers), savings) {
        try expectEqual(b.parameterBytes - a.parameterBytes, saved, "bytes that \(a.name) takes less")
        try expectEqual(a.trainableBytes, b.trainableBytes, "trainable bytes of \(a.name)")
        try expectEqual(a.savedBytesPerSample, b.savedBytesPerSample, "saved bytes of \(a.name)")
    }
}

/// The largest micro-batches are left out, on every rank, where one rank's budget would not hold them.
@Sendable private func profileWithinMemory(_ world: borrowing Communicator) throws {
    let profiler = Profiler(
        family: try smallT5(),
        model: StageModel.Configuration(
            technique: ParallelAdapters(reductionFactor: 4), head: .languageModel, pooling: .mean)
    )
    let isNarrow = world.rank == world.size - 1
    let profile = try profiler.run(
        world: world, sourceLengths: [10], targetLengths: [10], miniBatchSize: 16,
        memoryBudget: isNarrow ? 6_000_000 : nil)
    // The head holds 1.6 MB of weights and, for each sample, 0.48 MB of logits and gradients.
    for device in profile.devices { try expectEqual(device.microBatchSizes, [1, 2, 4], "sizes that fit") }
}
