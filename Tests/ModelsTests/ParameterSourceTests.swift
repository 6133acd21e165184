import Models
import TensorCore
import Testing
import TinyModels

@Suite struct ParameterSourceTests {
    @Test("a model drawn from a seed is the same for every slice", arguments: TinyModel.all)
    func aModelDrawnFromASeedIsTheSameForEverySlice(model: TinyModel) throws {
        let family = try model.family()
        let count = family.plannerLayers.count
        let batch = try model.batch()
        func run(_ cuts: [Int], seed: UInt64) throws -> [Float] {
            var lane: Lane?
            for (from, to) in zip([0] + cuts, cuts + [count]) {
                let steps = family.steps(of: from..<to)
                let slice = try BackboneSlice(
                    family, steps: steps, source: RandomSource(seed: seed, ledger: Ledger()))
                for step in steps { lane = slice.advance(lane, step, batch) }
            }
            return lane!.hidden.values
        }
        let whole = try run([], seed: 5)
        #expect(try run(Array(1..<count), seed: 5) == whole)
        #expect(try run([], seed: 6) != whole)
    }

    @Test("matrices are normal with deviation 0.02, norms one, biases zero")
    func matricesAreNormalWithDeviation002NormsOneBiasesZero() throws {
        let source = RandomSource(seed: 3, ledger: Ledger())
        let values = try source.parameter("m.weight", [200, 301]).values.map(Double.init)
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + $1 * $1 } / Double(values.count)
        // Five standard errors of the mean (0.02 / √60,200) and of the deviation (0.02 / √120,400).
        #expect(abs(mean) < 4.1e-4 && abs(variance.squareRoot() - 0.02) < 2.9e-4)
        let beyond = values.filter { abs($0) > 0.04 }.count
        #expect(abs(Double(beyond) / Double(values.count) - 0.0455) < 0.005)
        #expect(try source.parameter("n.weight", [4]).values == [1, 1, 1, 1])
        #expect(try source.parameter("n.bias", [2]).values == [0, 0])
    }
}
