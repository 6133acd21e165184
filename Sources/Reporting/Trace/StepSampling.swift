/// Which steps of a phase are traced: the first 20, then 9 of every power of ten, so that a trace stays small however long
/// the run.
public enum StepSampling {
    /// Whether step `number` of a phase, counted from 1, is traced: 1 to 20, 30, 40, ..., 100, 200, ..., 1000, 2000, ...
    public static func contains(_ number: Int) -> Bool {
        guard number > denseCount else { return number > 0 }
        var unit = 1
        while number / unit >= 10 { unit *= 10 }
        return number % unit == 0
    }

    private static let denseCount = 20
}
