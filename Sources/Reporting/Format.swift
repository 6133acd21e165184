/// Numbers as people read them.
public enum Format {
    /// A number with a fixed count of decimals; "nan" and "inf" for what is no number.
    public static func fixed(_ value: Double, _ decimals: Int) -> String {
        guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
        let scale = (0..<decimals).reduce(1.0) { scale, _ in scale * 10 }
        guard let scaled = Int64(exactly: (value * scale).rounded()) else { return "\(value)" }
        let digits = String(scaled.magnitude)
        let padded = String(repeating: "0", count: max(0, decimals + 1 - digits.count)) + digits
        let sign = scaled < 0 ? "-" : ""
        return decimals == 0
            ? sign + padded : sign + padded.dropLast(decimals) + "." + padded.suffix(decimals)
    }

    /// Bytes in decimal units: "812 B", "64.0 kB", "1.2 GB".
    public static func bytes(_ count: Int) -> String {
        guard count.magnitude >= 1000 else { return "\(count) B" }
        let (value, prefix) = scaled(Double(count))
        return "\(fixed(value, 1)) \(prefix)B"
    }

    /// A duration in its two largest units: "850 µs", "12 ms", "4.2 s", "3 min 12 s", "1 h 03 min", "2 d 05 h".
    public static func duration(_ seconds: Double) -> String {
        guard seconds.isFinite else { return "unknown" }
        if seconds < 0 { return "-" + duration(-seconds) }
        if seconds == 0 { return "0 s" }
        if (seconds * 1e6).rounded() < 1000 { return "\(fixed(seconds * 1e6, 0)) µs" }
        if (seconds * 1e3).rounded() < 1000 { return "\(fixed(seconds * 1e3, 0)) ms" }
        if (seconds * 10).rounded() < 600 { return "\(fixed(seconds, 1)) s" }
        guard let whole = Int64(exactly: seconds.rounded()) else { return "\(seconds) s" }
        if whole < 3600 { return "\(whole / 60) min \(twoDigits(whole % 60)) s" }
        let minutes = (whole + 30) / 60
        if minutes < 24 * 60 { return "\(minutes / 60) h \(twoDigits(minutes % 60)) min" }
        let hours = (whole + 1800) / 3600
        return "\(hours / 24) d \(twoDigits(hours % 24)) h"
    }

    /// A duration to compare with others: "0.57 ms", "1204.00 ms".
    public static func milliseconds(_ seconds: Double) -> String { fixed(seconds * 1000, 2) + " ms" }

    /// A rate: "3.42 samples/s", "812 tokens/s", "12.3k tokens/s".
    public static func rate(_ perSecond: Double, _ unit: String) -> String {
        guard perSecond.isFinite else { return "? \(unit)/s" }
        if perSecond.magnitude < 9.995 { return "\(fixed(perSecond, 2)) \(unit)/s" }
        if perSecond.magnitude < 99.95 { return "\(fixed(perSecond, 1)) \(unit)/s" }
        if perSecond.magnitude < 9999.5 { return "\(fixed(perSecond, 0)) \(unit)/s" }
        let (value, prefix) = scaled(perSecond)
        return "\(fixed(value, 1))\(prefix) \(unit)/s"
    }

    /// A whole number in groups of three digits: "22,713,216".
    public static func count(_ number: Int) -> String {
        let digits = String(number.magnitude)
        var out = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { out += "," }
            out.append(digit)
        }
        return (number < 0 ? "-" : "") + out
    }

    /// A share as a percentage: "1.9 %".
    public static func percent(_ share: Double) -> String { "\(fixed(share * 100, 1)) %" }

    private static func twoDigits(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }

    /// The value in the largest decimal unit that leaves at least 1 after rounding to one decimal.
    private static func scaled(_ value: Double) -> (Double, String) {
        var value = value
        var prefix = ""
        for next in ["k", "M", "G", "T", "P", "E"] where value.magnitude >= 999.95 {
            value /= 1000
            prefix = next
        }
        return (value, prefix)
    }
}
