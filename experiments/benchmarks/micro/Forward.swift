import Families
import Models
import Support
import TensorCore

/// The frozen backbone's forward pass over 16 samples of 128 source and 10 target tokens, with drawn weights, beside the
/// time that its matrix products take alone.
///
/// - Parameter model: a directory with the `config.json` of a T5 or a BART.
func measureForward(model directory: String) throws {
    let family = try readModelFamily(directory: directory)
    let ledger = Ledger()
    let steps = family.steps(of: 0..<family.plannerLayers.count).filter { $0 != .head }
    let backbone = try BackboneSlice(
        family, steps: steps, source: RandomSource(seed: 1, ledger: ledger))
    let shape = try EncoderDecoderShape(directory)
    let (samples, sourceLength, targetLength) = (16, 128, 10)
    func tokens(_ count: Int) -> [[Int32]] {
        (0..<samples).map { sample in
            (0..<count).map { position in
                let id: Int = 5 + (sample * 131 + position * 7) % 30000
                return Int32(id)
            }
        }
    }
    let inputs = tokens(sourceLength)
    let batch = MicroBatch(
        sampleIDs: Array(0..<samples), inputs: inputs, types: inputs.map { $0.map { _ in 0 } },
        decoderInputs: tokens(targetLength), targets: .none)
    let seconds = ledger.withoutRecording {
        medianSeconds(rounds: 5) {
            var lane: Lane?
            for step in steps { lane = backbone.advance(lane, step, batch, dropout: nil, caches: nil) }
        }
    }
    let products = shape.products(
        samples: samples, sourceLength: sourceLength, targetLength: targetLength)
    let alone = products.reduce(0.0) { $0 + $1.key.seconds() * Double($1.value) }
    let operations = products.reduce(0.0) { $0 + $1.key.operations * Double($1.value) }
    report(
        "forward", directory.split(separator: "/").last.map(String.init) ?? directory,
        [
            ("seconds", seconds), ("products_alone_seconds", alone), ("share", alone / seconds),
            ("gflop_per_s", operations / seconds / 1e9),
        ])
}

/// The sizes that decide which matrix products a T5 or a BART makes.
private struct EncoderDecoderShape {
    let hidden: Int
    let feedForward: Int
    let heads: Int
    let headSize: Int
    let encoderLayers: Int
    let decoderLayers: Int

    init(_ directory: String) throws {
        let path = directory + "/config.json"
        let object = try JSONReader(contentsOf: path).object()
        func size(_ names: String...) throws -> Int {
            let name = names.first { object.optional($0) != nil } ?? names[0]
            return try object.required(name).integer(in: 1...1_000_000)
        }
        hidden = try size("d_model")
        feedForward = try size("d_ff", "encoder_ffn_dim")
        heads = try size("num_heads", "encoder_attention_heads")
        headSize = try object.optional("d_kv")?.integer() ?? hidden / heads
        encoderLayers = try size("encoder_layers", "num_layers")
        decoderLayers = try size("decoder_layers", "num_decoder_layers")
    }

    /// How often a forward pass makes each product, the head's left out.
    func products(samples: Int, sourceLength: Int, targetLength: Int) -> [Product: Int] {
        var counts: [Product: Int] = [:]
        let inner = heads * headSize
        func add(_ product: Product, _ count: Int) { counts[product, default: 0] += count }
        func attention(_ queries: Int, _ keys: Int, _ layers: Int) {
            add(Product(m: samples * queries, n: inner, k: hidden), layers)
            add(Product(m: samples * keys, n: inner, k: hidden), 2 * layers)
            add(Product(m: samples * queries, n: hidden, k: inner), layers)
            add(Product(m: queries, n: keys, k: headSize), samples * heads * layers)
            add(Product(m: queries, n: headSize, k: keys, form: .nn), samples * heads * layers)
        }
        func widening(_ tokens: Int, _ layers: Int) {
            add(Product(m: samples * tokens, n: feedForward, k: hidden), layers)
            add(Product(m: samples * tokens, n: hidden, k: feedForward), layers)
        }
        attention(sourceLength, sourceLength, encoderLayers)
        widening(sourceLength, encoderLayers)
        attention(targetLength, targetLength, decoderLayers)
        attention(targetLength, sourceLength, decoderLayers)
        widening(targetLength, decoderLayers)
        return counts
    }
}
