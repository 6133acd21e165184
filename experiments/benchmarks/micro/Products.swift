import CBLAS
import Peak
import Support

/// The most that a core can do: fused multiply-adds out of registers.
func measurePeak() {
    var operations = 0.0
    let seconds = medianSeconds { operations = peak_multiply_add(2_000_000) }
    report("peak", "fused multiply-adds", [("gflop_per_s", operations / seconds / 1e9)])
}

/// A matrix product C [m, n] = A [m, k] B, with B [n, k] transposed or [k, n], or with A [k, m] transposed.
struct Product: Hashable {
    enum Form: String {
        case nt = "NT"
        case nn = "NN"
        case tn = "TN"
    }
    var m: Int
    var n: Int
    var k: Int
    var form = Form.nt

    var operations: Double { 2 * Double(m) * Double(n) * Double(k) }

    /// Seconds that OpenBLAS takes for it, alone.
    func seconds() -> Double {
        let (a, b, c) = (m * k, n * k, m * n)
        let numbers = UnsafeMutablePointer<Float>.allocate(capacity: a + b + c)
        numbers.initialize(repeating: 0.5, count: a + b + c)
        defer { numbers.deallocate() }
        let repetitions = max(1, Int(2e9 / operations))
        return medianSeconds(of: repetitions) {
            cblas_sgemm(
                CblasRowMajor, form == .tn ? CblasTrans : CblasNoTrans,
                form == .nt ? CblasTrans : CblasNoTrans,
                blasint(m), blasint(n), blasint(k), 1, numbers, blasint(form == .tn ? m : k), numbers + a,
                blasint(form == .nt ? k : n), 0, numbers + a + b, blasint(n))
        }
    }
}

/// OpenBLAS on the shapes of T5-Base's layers and its side network.
func measureProducts() {
    let shapes: [(String, Product)] = [
        ("projection", Product(m: 2048, n: 768, k: 768)),
        ("feed-forward, up", Product(m: 2048, n: 3072, k: 768)),
        ("feed-forward, down", Product(m: 2048, n: 768, k: 3072)),
        ("gradient of an input", Product(m: 2048, n: 768, k: 768, form: .nn)),
        ("gradient of a weight", Product(m: 768, n: 768, k: 2048, form: .tn)),
        ("side network, down-projection", Product(m: 2048, n: 96, k: 768)),
        ("side network, projection", Product(m: 2048, n: 96, k: 96)),
        ("side network, feed-forward", Product(m: 2048, n: 384, k: 96)),
        ("attention, scores of a head", Product(m: 128, n: 128, k: 64)),
        ("attention, values of a head", Product(m: 128, n: 64, k: 128, form: .nn)),
        ("decoder, projection", Product(m: 160, n: 768, k: 768)),
        ("head", Product(m: 160, n: 32128, k: 768)),
    ]
    for (name, product) in shapes {
        report(
            "products",
            "\(name): \(product.m) x \(product.n) x \(product.k) \(product.form.rawValue)",
            [("gflop_per_s", product.operations / product.seconds() / 1e9)])
    }
}
