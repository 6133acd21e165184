/// A scale with round numbers at its ticks.
struct Axis {
    let range: ClosedRange<Double>
    let ticks: [Double]
    /// Decimals that tell the ticks apart.
    let decimals: Int

    /// Covers some values with about `count` ticks; a single value gets room on both sides.
    init(_ values: [Double], count: Int, fromZero: Bool = false, isWhole: Bool = false) {
        var low = (fromZero ? values + [0] : values).min() ?? 0
        var high = values.max() ?? 1
        if low >= high {
            let room = low == 0 ? 1 : abs(low) / 2
            (low, high) = (fromZero ? 0 : low - room, high + room)
        }
        let raw = (high - low) / Double(count)
        var unit = 1.0
        var decimals = 0
        while unit > raw {
            unit /= 10
            decimals += 1
        }
        while unit * 10 <= raw {
            unit *= 10
            decimals = max(0, decimals - 1)
        }
        var step = unit
        for factor in [1.0, 2, 5, 10] where step < raw { step = unit * factor }
        if step == unit * 10 { decimals = max(0, decimals - 1) }
        if isWhole, step < 1 { (step, decimals) = (1, 0) }
        self.decimals = decimals
        let first = Int((low / step).rounded(isWhole ? .up : .down))
        let last = Int((high / step).rounded(isWhole ? .down : .up))
        ticks = (min(first, last)...max(first, last)).map { Double($0) * step }
        range = isWhole ? low...high : Double(first) * step...Double(last) * step
    }

    func text(_ tick: Double) -> String { Format.fixed(tick, decimals) }

    /// Where a value lies between 0 and 1.
    func share(_ value: Double) -> Double {
        (value - range.lowerBound) / (range.upperBound - range.lowerBound)
    }
}
