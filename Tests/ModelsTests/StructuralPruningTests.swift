import Models
import TensorCore
import Testing
import TinyModels

@Suite struct StructuralPruningTests {
    @Test("largest columns stay, ties go to the lower index, kept indices ascend")
    func largestColumnsStayTiesGoToTheLowerIndexKeptIndicesAscend() {
        let ledger = Ledger()
        let table = Tensor([1, -3, 2, 3, 0, 0, 0, 0, -1, 0], rows: 2, columns: 5, ledger: ledger)
        // Sums of magnitudes: 1, 3, 2, 4, 0.
        #expect(StructuralPruning.residualChannels(.float32(table), keeping: 2) == [1, 3])
        #expect(StructuralPruning.residualChannels(.float32(table), keeping: 3) == [1, 2, 3])
        let ties = Tensor([1, 1, 1, 1], rows: 1, columns: 4, ledger: ledger)
        #expect(StructuralPruning.residualChannels(.float32(ties), keeping: 2) == [0, 1])
        // Below 2^-24 everything counts as nothing.
        let small = Tensor([0x1p-25, 0x1.8p-25, 0x1p-24], rows: 1, columns: 3, ledger: ledger)
        #expect(StructuralPruning.residualChannels(.float32(small), keeping: 2) == [0, 2])
    }

    @Test("the initial values of slices are those of the whole", arguments: TinyModel.all)
    func theInitialValuesOfSlicesAreThoseOfTheWhole(model: TinyModel) throws {
        let ledger = Ledger()
        let (family, source) = (try model.family(), try model.source(ledger))
        let r = try family.reduced(by: model.reductionFactor).hiddenSize
        let embedding = try source.weight(
            family.tokenEmbeddingName, [family.vocabularySize, family.hiddenSize])
        let residual = StructuralPruning.residualChannels(embedding, keeping: r)
        func values(_ layers: Range<Int>) throws -> [String: [Float]] {
            let initial = try SideInitialization(
                family, ParallelAdapters(reductionFactor: model.reductionFactor),
                steps: family.steps(of: layers),
                residual: residual, backbone: source)
            return Dictionary(uniqueKeysWithValues: initial.values.map { ($0.name, $0.values) })
        }
        let count = family.plannerLayers.count
        let whole = try values(0..<count)
        for cut in 1..<count {
            let parts = (try values(0..<cut), try values(cut..<count))
            #expect(parts.0.merging(parts.1) { $1 } == whole)
            // Each stage's values are those that its model declares.
            let declared = try model.stage(cut..<count, ledger: ledger).parameters.declarations.map(\.name)
            #expect(Set(declared.filter { $0.hasPrefix("side.") }) == Set(parts.1.keys))
        }
    }
}
