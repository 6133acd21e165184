import Foundation
import Support
import TensorCore
import Testing

@Suite struct OptimizerTests {
    private let ledger = Ledger()

    private func bucket(_ count: Int) -> ParameterBucket {
        let bucket = ParameterBucket([.init(name: "p", shape: [count])], ledger: ledger)
        bucket.set("p", DoubleMatrix.random(1, count, seed: 1).values.map { Float($0) })
        return bucket
    }

    private func setGradient(_ bucket: ParameterBucket, _ values: [Double]) {
        for (i, value) in values.enumerated() { bucket.gradients.pointer[i] = Float(value) }
    }

    @Test("AdamW against its definition in double precision")
    func adamwAgainstItsDefinitionInDoublePrecision() {
        let bucket = bucket(37)
        let adamW = AdamW(parameterCount: 37, weightDecay: 0.05, ledger: ledger)
        var p = bucket.values.values.map(Double.init)
        var m = [Double](repeating: 0, count: 37)
        var v = m
        for step in 1...15 {
            let scale = step % 3 == 0 ? 0.25 : 1.0
            let gradient = DoubleMatrix.random(1, 37, seed: UInt64(100 + step)).values.map {
                step == 4 ? 0 : $0
            }
            setGradient(bucket, gradient)
            let rate = 0.01 / Double(step)
            adamW.step(bucket, learningRate: Float(rate), gradientScale: Float(scale))
            for i in 0..<37 {
                let g = gradient[i] * scale
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g * g
                let corrected = m[i] / (1 - pow(0.9, Double(step)))
                let root = (v[i] / (1 - pow(0.999, Double(step)))).squareRoot()
                p[i] = p[i] * (1 - rate * 0.05) - rate * corrected / (root + 1e-8)
            }
            #expect(zip(bucket.values.values, p).allSatisfy { abs(Double($0) - $1) < 1e-6 }, "step \(step)")
        }
        #expect(adamW.stepCount == 15 && adamW.state.count == 2)
    }

    @Test("an optimizer restored from another's state goes on like it")
    func anOptimizerRestoredFromAnothersStateGoesOnLikeIt() {
        let (a, b) = (bucket(9), bucket(9))
        let first = AdamW(parameterCount: 9, weightDecay: 0.1, ledger: ledger)
        func step(_ optimizer: AdamW, _ bucket: ParameterBucket, _ seed: UInt64) {
            setGradient(bucket, DoubleMatrix.random(1, 9, seed: seed).values)
            optimizer.step(bucket, learningRate: 0.01, gradientScale: 1)
        }
        step(first, a, 1)
        step(first, a, 2)
        let second = AdamW(parameterCount: 9, weightDecay: 0.1, ledger: ledger)
        b.set("p", a.values.values)
        for (to, from) in zip(second.state, first.state) { to.pointer.update(from: from.pointer, count: 9) }
        second.restore(stepCount: first.stepCount)
        step(first, a, 3)
        step(second, b, 3)
        #expect(a.values.values == b.values.values)
    }

    @Test("gradient descent with decay") func gradientDescentWithDecay() {
        let bucket = bucket(5)
        let before = bucket.values.values
        setGradient(bucket, [0, 1, 2, 3, 4])
        SGD(weightDecay: 0.1).step(bucket, learningRate: 0.5, gradientScale: 0.5)
        for (i, found) in bucket.values.values.enumerated() {
            #expect(abs(found - (before[i] * 0.95 - 0.25 * Float(i))) < 1e-6)
        }
    }

    @Test("schedule and clipping against the reference table")
    func scheduleAndClippingAgainstTheReferenceTable() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Reference/tables/tables.json").path
        let table = try #require(try JSONValue(contentsOf: path)["adamw"])
        let warmup = try #require(table["warmup"]?.integer)
        let total = try #require(table["total"]?.integer)
        let peak = try #require(table["lr0"]?.number)
        let rates = try #require(table["lr"]?.array).compactMap(\.number)
        #expect(rates.count == total)
        let linear = LearningRateSchedule(peak: peak, decay: .linear, warmupSteps: warmup, totalSteps: total)
        for (step, rate) in rates.enumerated() {
            #expect(abs(linear.rate(afterCompleted: step) - rate) < 1e-15)
        }
        #expect(linear.rate(afterCompleted: total) == 0 && linear.rate(afterCompleted: total + 3) == 0)
        let constant = LearningRateSchedule(
            peak: peak, decay: .constant, warmupSteps: warmup, totalSteps: total)
        #expect(
            (0..<warmup).allSatisfy { constant.rate(afterCompleted: $0) == linear.rate(afterCompleted: $0) })
        #expect(constant.rate(afterCompleted: total + 3) == peak)
        for norm in try #require(table["grad_norm"]?.array).compactMap(\.number) {
            #expect(clippingScale(squaredNorm: norm * norm, maximumNorm: 1) == Float(1 / (norm + 1e-6)))
        }
        #expect(clippingScale(squaredNorm: 0.25, maximumNorm: 1) == 1)
        #expect(clippingScale(squaredNorm: 100, maximumNorm: nil) == 1)
    }

    @Test("shared parameters stand at the bucket's end, a segment for each group")
    func sharedParametersStandAtTheBucketsEndASegmentForEachGroup() {
        let bucket = ParameterBucket(
            [
                .init(name: "table", shape: [4, 2], sharingGroup: "encoder"),
                .init(name: "a", shape: [3, 2]),
                .init(name: "other", shape: [5], sharingGroup: "decoder"), .init(name: "b", shape: [1]),
            ], ledger: ledger)
        #expect(bucket.declarations.map(\.name) == ["a", "b", "other", "table"])
        #expect(bucket.segment(nil) == 0..<7)
        #expect(bucket.segment("decoder") == 7..<12 && bucket.segment("encoder") == 12..<20)
        #expect(bucket.segment("nobody").isEmpty && bucket.count == 20)
        #expect(bucket.tensor("a")?.rows == 3 && bucket.tensor("a")?.columns == 2)
        #expect(bucket.tensor("other")?.rows == 1 && bucket.tensor("missing") == nil)
        bucket.set("b", [42])
        #expect(bucket.values.values[6] == 42 && bucket.tensor("b")?.values == [42])
    }

    @Test("gradients of a bucket add up until they are zeroed")
    func gradientsOfABucketAddUpUntilTheyAreZeroed() {
        let bucket = bucket(4)
        let x = DoubleMatrix.random(3, 4, seed: 2).tensor(ledger)
        let seed = DoubleMatrix.random(3, 1, seed: 3).tensor(ledger)
        func pass() { backward(from: [linear(x, weight: bucket.tensor("p")!)], seeds: [seed]) }
        pass()
        let once = bucket.gradient(of: "p")!
        pass()
        #expect(zip(bucket.gradient(of: "p")!, once).allSatisfy { abs($0 - 2 * $1) < 1e-6 })
        bucket.zeroGradients()
        pass()
        #expect(bucket.gradient(of: "p")! == once)
    }
}
