/// The constants of the analytic model that are not sizes of a model or rates of a device.
package enum AnalyticConstants {
    /// Bytes of a float32.
    static let floatBytes = 4.0
    /// Operations of a matrix product's backward in multiples of its forward: one product for the gradient of
    /// the input, one for the gradient of the matrix where it is trained.
    static let inputGradient = 1.0
    static let matrixGradient = 1.0
    /// How often an optimizer's step reads or writes as many bytes as there are trainable ones: SGD the
    /// parameter twice and the gradient once, Adam two moments twice beside.
    static let sgdTransfers = 3.0
    static let adamTransfers = 7.0
    /// Tokens that a decoder reads of a label, from the totals of the paper's Table 1.
    package static let targetTokens = 10
}
