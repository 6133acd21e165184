import Support
import Tokenizers

/// A tokenizer on the lines of a text, as fast as one core reads.
///
/// - Parameter argument: `DIRECTORY:TEXT`.
func measureTokenizer(_ argument: String) throws {
    let parts = argument.split(separator: ":", maxSplits: 1).map(String.init)
    guard parts.count == 2 else {
        throw Failure.configuration("tokenizer=\(argument): expected DIRECTORY:TEXT")
    }
    let tokenizer = try Tokenizer(contentsOf: parts[0])
    let text = String(decoding: try readFile(parts[1]), as: UTF8.self)
    let lines = text.split(separator: "\n").map(String.init)
    let bytes = lines.reduce(0) { $0 + $1.utf8.count }
    var count = 0
    let seconds = medianSeconds(rounds: 3) {
        count = lines.reduce(0) { $0 + tokenizer.encode($1).count }
    }
    report(
        "tokenizers", parts[0].split(separator: "/").last.map(String.init) ?? parts[0],
        [("mb_per_s", Double(bytes) / seconds / 1e6), ("bytes_per_token", Double(bytes) / Double(count))])
}
