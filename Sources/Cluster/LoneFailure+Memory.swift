import Reporting
import Support
import TensorCore

extension BudgetOverrun {
    /// One line: what was asked for, the budget, and the table by category.
    var message: String {
        "\(activity): \(Format.bytes(requested)) more for \(category.rawValue) would exceed the memory budget "
            + "(device.memory_budget_bytes) of \(Format.bytes(budget)); \(inUse(liveBytes))"
    }
}

extension RefusedAllocation {
    /// One line: what was asked for, and the table by category.
    var message: String {
        "\(activity): out of memory: the system has no \(Format.bytes(requested)) more for \(category.rawValue); "
            + inUse(liveBytes)
    }
}

extension Ledger {
    /// Ends the job, with a message that names this rank, where a buffer would go beyond the budget.
    package func endJobBeyond(budget: Int) {
        enforce(budget: budget) { LoneFailure.end(.run($0.message)) }
    }

    /// Ends the job, with a message that names this rank, where the system has no memory for a buffer.
    package func endJobWhenRefused() { onRefusal { LoneFailure.end(.run($0.message)) } }
}

/// The bytes of each category, in the order of `MemoryCategory.allCases`, in words.
private func inUse(_ liveBytes: [Int]) -> String {
    let held = zip(MemoryCategory.allCases, liveBytes).map { "\($0.rawValue) \(Format.bytes($1))" }
    return "in use are \(Format.bytes(liveBytes.reduce(0, +))): \(held.joined(separator: ", "))"
}
