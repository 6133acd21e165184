import Support
import TextData
import Tokenizers

/// A tokenizer's reference strings and pairs.
enum TokenizerVerification {
    static func rows(_ name: String, _ directory: String) -> [VerificationReport.Row] {
        Comparisons.rows(name, "tokenizer") { comparisons in
            let path = directory + "/vectors.json"
            let vectors = try JSONReader(contentsOf: path).object()
            let tokenizer = try Tokenizer(contentsOf: directory)
            let prefix = try ids(vectors.required("single_prefix"))
            let suffix = try ids(vectors.required("single_suffix"))
            for (index, item) in try vectors.required("strings").array().enumerated() {
                let row = try item.object()
                let text = try row.required("text").string()
                let expected = try ids(row.required("ids"))
                comparisons.exact(tokenizer.encode(text), expected, .tokenIDs, "strings[\(index)]")
                let whole = tokenizer.encode(single: text, maximumLength: Int(Int32.max)).ids
                comparisons.exact(whole, prefix + expected + suffix, .tokenIDs, "strings[\(index)]")
                let decoded = Array(tokenizer.decode(expected).utf8)
                comparisons.exact(
                    decoded, Array(try row.required("decoded").string().utf8), .texts, "strings[\(index)]")
            }
            for (index, item) in try vectors.required("pairs").array().enumerated() {
                let row = try item.object()
                let encoding = tokenizer.encode(
                    pair: (try row.required("a").string(), try row.required("b").string()),
                    maximumLength: try row.required("max_length").integer(in: 1...Int(Int32.max)))
                let count = try ids(row.required("attention_mask")).filter { $0 != 0 }.count
                let place = "pairs[\(index)]"
                comparisons.exact(
                    encoding.ids, Array(try ids(row.required("ids")).prefix(count)), .tokenIDs, place)
                let types = Array(try ids(row.required("type_ids")).prefix(count))
                comparisons.exact(encoding.typeIDs, types, .tokenIDs, place)
            }
        }
    }

    private static func ids(_ reader: JSONReader) throws -> [Int32] {
        try reader.array().map { Int32(try $0.integer(in: 0...Int(Int32.max))) }
    }
}
