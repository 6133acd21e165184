import Support
import TensorCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

// Times the parts of the program by themselves on one core, one line of JSON a measurement. The page's script,
// experiments/benchmarks/run, starts it.

setThreadCount(1)
prepareAllocator()
do {
    for section in CommandLine.arguments.dropFirst() {
        switch section {
        case "peak": measurePeak()
        case "kernels": measureKernels()
        case "narrow": measureNarrowProducts()
        case "products": measureProducts()
        case "planner": try measurePlanner()
        case _ where section.hasPrefix("forward="): try measureForward(model: argument(of: section))
        case _ where section.hasPrefix("tokenizer="): try measureTokenizer(argument(of: section))
        default:
            throw Failure.configuration(
                "expected peak, kernels, narrow, products, planner, forward=MODEL or tokenizer=DIRECTORY:TEXT, "
                    + "found \"\(section)\"")
        }
    }
} catch {
    let line = Array("microbenchmarks: \(error)\n".utf8)
    _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress!, $0.count) }
    exit(1)
}

private func argument(of section: String) -> String { String(section.drop { $0 != "=" }.dropFirst()) }
