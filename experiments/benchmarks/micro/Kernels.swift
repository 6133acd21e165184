import CKernels

/// The loops beside the matrix products, on 2048 x 768 numbers: nanoseconds an element, and the bytes that must be read
/// and written at least.
func measureKernels() {
    let (rows, columns) = (2048, 768)
    let n = rows * columns
    let numbers = UnsafeMutablePointer<Float>.allocate(capacity: 6 * n)
    for index in 0..<6 * n { numbers[index] = Float((index &* 2_654_435_761) % 2001) / 1000 - 1 }
    defer { numbers.deallocate() }
    let (out, x, y, z, w) = (numbers, numbers + n, numbers + 2 * n, numbers + 3 * n, numbers + 4 * n)
    let halves = UnsafeMutablePointer<UInt16>.allocate(capacity: n)
    halves.initialize(repeating: 0, count: n)
    defer { halves.deallocate() }
    let labels = (0..<rows).map { Int32($0 % columns) }
    for index in 0..<n { (z[index], w[index]) = (0, 0) }

    func kernel(_ name: String, bytesEach bytes: Int, _ body: () -> Void) {
        let seconds = medianSeconds(of: 20, body)
        report(
            "kernels", name,
            [
                ("ns_per_element", seconds / Double(n) * 1e9),
                ("gb_per_s", Double(bytes * n) / seconds / 1e9),
            ])
    }
    kernel("add", bytesEach: 12) { ck_add(out, x, y, n) }
    kernel("axpy", bytesEach: 12) { ck_axpy(out, 1, x, n) }
    kernel("add bias", bytesEach: 8) { ck_add_bias(out, x, rows, columns) }
    kernel("ReLU", bytesEach: 8) { ck_relu(out, x, n) }
    kernel("GELU (erf)", bytesEach: 8) { ck_gelu_erf(out, x, n) }
    kernel("GELU (tanh)", bytesEach: 8) { ck_gelu_tanh(out, x, n) }
    kernel("SiLU", bytesEach: 8) { ck_silu(out, x, n) }
    kernel("GELU (erf), backward", bytesEach: 12) { ck_gelu_erf_backward(out, y, x, n) }
    kernel("GELU (tanh), backward", bytesEach: 12) { ck_gelu_tanh_backward(out, y, x, n) }
    kernel("LayerNorm", bytesEach: 8) {
        ck_layer_norm(out, nil, nil, x, y, y, 1e-6, rows, columns)
    }
    var (mean, inverse) = ([Float](repeating: 0, count: rows), [Float](repeating: 0, count: rows))
    ck_layer_norm(out, &mean, &inverse, x, y, y, 1e-6, rows, columns)
    var (weightGradient, biasGradient) = (
        [Float](repeating: 0, count: columns), [Float](repeating: 0, count: columns)
    )
    kernel("LayerNorm, backward", bytesEach: 12) {
        ck_layer_norm_backward(
            out, &weightGradient, &biasGradient, y, x, y, mean, inverse, rows, columns)
    }
    kernel("RMSNorm", bytesEach: 8) { ck_rms_norm(out, nil, x, y, 1e-6, rows, columns) }
    kernel("softmax", bytesEach: 8) { ck_softmax_rows(out, x, rows, columns) }
    for keys in [20, 128] {
        kernel("attention's softmax, \(keys) keys", bytesEach: 8) {
            ck_attention_softmax(out, nil, 0.125, 0, n / keys, keys)
        }
    }
    kernel("cross-entropy with gradient", bytesEach: 8) {
        _ = ck_cross_entropy(out, x, labels, 1, rows, columns)
    }
    kernel("dropout", bytesEach: 8) { ck_dropout(out, x, 1, 0, 0.1, n) }
    kernel("sum of squares", bytesEach: 4) { _ = ck_sum_squares(x, n) }
    kernel("AdamW", bytesEach: 28) { ck_adamw(out, z, w, x, 1e-3, 0.9, 0.999, 1e-8, 0, 1, 10, n) }
    kernel("float16 to float32", bytesEach: 6) { ck_float_from_half(out, halves, n) }
    kernel("float32 to float16", bytesEach: 6) { ck_half_from_float(halves, x, n) }
    kernel("float32 to bfloat16", bytesEach: 6) { ck_bfloat16_from_float(halves, x, n) }
    kernel("CRC-32C", bytesEach: 4) { _ = ck_crc32c(0, x, n * 4) }
}

/// The products of attention in a side network, whose heads are narrow: nanoseconds a multiplication.
func measureNarrowProducts() {
    // Rows of q, k and v lie a row of the side network apart, of which a head is a part.
    let (heads, stride) = (100, 96)
    for tokens in [20, 128] {
        let scores = [Float](repeating: 0.01, count: tokens * tokens)
        let values = [Float](repeating: 0.5, count: tokens * stride)
        var products = scores
        var sums = values
        for width in [4, 8, 16] {
            func product(_ form: Product.Form, _ body: () -> Void) {
                let seconds = medianSeconds(of: heads, body)
                report(
                    "narrow", "\(form.rawValue), \(tokens) tokens, heads of \(width)",
                    [("ns_per_product", seconds / Double(tokens * tokens * width) * 1e9)])
            }
            product(.nt) {
                ck_narrow_nt(&products, tokens, values, stride, values, stride, tokens, tokens, width)
            }
            product(.nn) {
                ck_narrow_nn(&sums, stride, scores, tokens, values, stride, tokens, tokens, width, 0)
            }
            product(.tn) {
                ck_narrow_tn(&sums, stride, scores, tokens, values, stride, tokens, tokens, width, 0)
            }
        }
    }
}
