import Foundation
import ReferenceFiles
import Support
import Testing
import Tokenizers

/// Byte-pair encoding where the reference files do not reach: ties, long words, unknown characters, bad files.
@Suite struct BytePairTests {
    let scratch: ScratchDirectory

    init() throws { scratch = try ScratchDirectory() }

    /// A model over these characters and the results of the merges, ids in this order.
    func bytePair(
        _ characters: String, merges: [(String, String)], extra: String = "", top: String = ""
    ) throws -> Tokenizer {
        let tokens = ["<unk>"] + characters.map { String($0) } + merges.map { $0 + $1 }
        let vocabulary = tokens.enumerated().map { "\(JSONValue($1).text()): \($0)" }
        let pairs = merges.map { "[\(JSONValue($0).text()), \(JSONValue($1).text())]" }
        return try Tokenizer(
            file: try scratch.write(
                """
                {"model": {"type": "BPE", "vocab": {\(vocabulary.joined(separator: ", "))},
                 "merges": [\(pairs.joined(separator: ", "))]\(extra)}\(top)}
                """, to: "tokenizer.json"))
    }

    @Test("the lowest rank comes first, the leftmost of equal ones")
    func theLowestRankComesFirstTheLeftmostOfEqualOnes() throws {
        let tokenizer = try bytePair("abc", merges: [("a", "a"), ("b", "c"), ("aa", "a"), ("a", "b")])
        // 1 a, 2 b, 3 c, 4 aa, 5 bc, 6 aaa, 7 ab
        #expect(tokenizer.encode("aaaaa") == [4, 6])
        #expect(tokenizer.encode("abc") == [1, 5])
        #expect(tokenizer.encode("aab") == [4, 2])
        #expect(tokenizer.encode("bab") == [2, 7])
    }

    /// The definition: join the pair of the lowest rank, the leftmost first, until none is left.
    func merged(_ word: [String], _ ranks: [[String]: Int]) -> [String] {
        var parts = word
        while let best = parts.indices.dropLast().compactMap({ i in
            ranks[[parts[i], parts[i + 1]]].map { ($0, i) }
        })
        .min(by: <) {
            parts.replaceSubrange(best.1...best.1 + 1, with: [parts[best.1] + parts[best.1 + 1]])
        }
        return parts
    }

    @Test("random merges give what the definition gives") func randomMergesGiveWhatTheDefinitionGives() throws
    {
        let random = CounterRandom(seed: 3, name: "merges")
        var draw: UInt64 = 0
        func below(_ bound: Int) -> Int {
            draw += 1
            return Int(random.bits(at: draw) % UInt64(bound))
        }
        for round in 0..<20 {
            var tokens = ["a", "b", "c", "é"]
            var merges: [(String, String)] = []
            while merges.count < 60 {
                let pair = (tokens[below(tokens.count)], tokens[below(tokens.count)])
                guard !tokens.contains(pair.0 + pair.1), (pair.0 + pair.1).count < 12 else { continue }
                merges.append(pair)
                tokens.append(pair.0 + pair.1)
            }
            // Not the order in which they were made: some tokens cannot be reached by their own merges.
            if round % 2 == 1 { merges.sort { $0.0 + $0.1 < $1.0 + $1.1 } }
            let tokenizer = try bytePair("abcé", merges: merges)
            let ranks = Dictionary(uniqueKeysWithValues: merges.enumerated().map { ([$1.0, $1.1], $0) })
            for length in [1, 2, 3, 5, 8, 13, 200] {
                for _ in 0..<20 {
                    let word = (0..<length).map { _ in ["a", "b", "c", "é"][below(4)] }
                    let expected = merged(word, ranks).map { tokenizer.id(of: $0) }
                    #expect(tokenizer.encode(word.joined()) == expected)
                }
            }
        }
    }

    @Test("a text without words takes no quadratic time") func aTextWithoutWordsTakesNoQuadraticTime() throws
    {
        let tokenizer = try bytePair("ab", merges: [("a", "b"), ("ab", "ab")])
        let count = 300_000
        let ids = tokenizer.encode(String(repeating: "ab", count: count))
        #expect(ids == Array(repeating: 4, count: count / 2))
    }

    @Test("characters without a token") func charactersWithoutAToken() throws {
        func ids(_ text: String, _ extra: String) throws -> [Int32] {
            try bytePair("ab", merges: [("a", "b")], extra: extra).encode(text)
        }
        #expect(try ids("axyb", #", "unk_token": "<unk>""#) == [1, 0, 0, 2])
        #expect(try ids("axyb", #", "unk_token": "<unk>", "fuse_unk": true"#) == [1, 0, 2])
        // What stands between is gone, and with it the neighbourhood.
        #expect(try ids("axb", "") == [3])
    }

    @Test("bytes stand in for characters without a token") func bytesStandInForCharactersWithoutAToken()
        throws
    {
        let file = try scratch.write(
            """
            {"model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "merges": [],
              "vocab": {"<unk>": 0, "<0xC3>": 1, "<0xA9>": 2, "<0xE4>": 3, "a": 4}},
             "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"},
              {"type": "Strip", "content": "a", "start": 1, "stop": 2}]}}
            """, to: "tokenizer.json")
        let tokenizer = try Tokenizer(file: file)
        #expect(tokenizer.encode("aéa") == [4, 1, 2, 4])
        #expect(tokenizer.encode("ä") == [0])
        #expect(tokenizer.decode([1, 2, 4, 1, 4]) == "éa\u{FFFD}")
        #expect(tokenizer.decode([4, 4, 3, 3, 4]) == "a\u{FFFD}\u{FFFD}")
    }

    @Test("a prefix space and byte-level text that is no UTF-8")
    func aPrefixSpaceAndByteLevelTextThatIsNoUTF8() throws {
        let tokenizer = try bytePair(
            "aĠÃ©â", merges: [("Ġ", "a")],
            top: """
                , "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true},
                "decoder": {"type": "ByteLevel"}
                """)
        #expect(tokenizer.encode("a") == [6] && tokenizer.encode(" a") == [6])
        #expect(tokenizer.encode("aé") == [6, 3, 4])
        #expect(tokenizer.decode([6, 3, 4]) == " aé")
        #expect(tokenizer.decode([3, 1, 5]) == "\u{FFFD}a\u{FFFD}")
        // "<unk>" is written in the alphabet too, so that it decodes to itself.
        #expect(tokenizer.decode([0]) == "<unk>")
    }

    @Test("words of the published patterns") func wordsOfThePublishedPatterns() throws {
        // Only words that are tokens have ids.
        func words(_ text: String, _ expression: String, _ candidates: [String]) throws -> [Int32] {
            let tokens = ["<unk>"] + candidates
            let vocabulary = tokens.enumerated().map { "\(JSONValue($1).text()): \($0)" }.joined(
                separator: ", ")
            let split = """
                {"type": "Split", "behavior": "Isolated", "pattern": {"Regex": \(JSONValue(expression).text())}}
                """
            return try Tokenizer(
                file: try scratch.write(
                    """
                    {"pre_tokenizer": \(split), "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true,
                     "merges": [], "ignore_merges": true, "vocab": {\(vocabulary)}}}
                    """, to: "tokenizer.json")
            ).encode(text).map { $0 - 1 }
        }
        let lines =
            #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
        let single = lines.replacing("{1,3}", with: "")
        let gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
        #expect(try words("I'LL 12345", lines, ["I", "'LL", " ", "123", "45"]) == [0, 1, 2, 3, 4])
        #expect(try words("a 12", single, ["a", " ", "1", "2"]) == [0, 1, 2, 3])
        #expect(try words("a'LL 12345", gpt2, ["a", "'", "LL", " 12345"]) == [0, 1, 2, 3])
        #expect(try words("a  \n b.\n\nc", lines, ["a", "  \n", " b", ".\n\n", "c"]) == [0, 1, 2, 3, 4])
        #expect(
            try words("a  \n b.\n\nc", gpt2, ["a", "  \n", " b", ".", "\n", "c"]) == [0, 1, 2, 3, 4, 4, 5])
        #expect(try words("  a\tb  ", lines, [" ", " a", "\tb", "  "]) == [0, 1, 2, 3])
        #expect(try words("  a\tb  ", gpt2, [" ", " a", "\t", "b", "  "]) == [0, 1, 2, 3, 4])
        #expect(try words("(x)²\u{301}", lines, ["(x", ")", "²", "\u{301}"]) == [0, 1, 2, 3])
        #expect(try words("'\u{17F}\u{17F}", lines, ["'\u{17F}", "\u{17F}"]) == [0, 1])
    }

    @Test("canonical composition") func canonicalComposition() throws {
        let tokenizer = try bytePair(
            "é각가", merges: [],
            extra: #", "unk_token": "<unk>""#, top: #", "normalizer": {"type": "NFC"}"#)
        #expect(tokenizer.encode("e\u{301}\u{E9}") == [1, 1])
        #expect(tokenizer.encode("\u{AC00}\u{11A8}\u{1100}\u{1161}\u{11A8}\u{1100}\u{1161}") == [2, 2, 3])
        // Each run is composed by itself, together with the ASCII character before it.
        #expect(tokenizer.encode("e\u{301}e\u{301}e\u{301}") == [1, 1, 1])
        #expect(tokenizer.encode("\u{E9}e\u{301}") == [1, 1])
        // A second final consonant stays by itself.
        #expect(tokenizer.encode("\u{AC01}\u{11A8}") == [2, 0])
    }

    @Test("bad files are named") func badFilesAreNamed() throws {
        func message(_ body: () throws -> Void) -> String {
            failure(body)?.message.replacing(scratch.path + "/", with: "") ?? "no failure"
        }
        #expect(
            message {
                _ = try bytePair(
                    "ab", merges: [],
                    top:
                        #", "pre_tokenizer": {"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "\\w+"}}"#
                )
            }
                == #"tokenizer.json:2: pre_tokenizer.pattern.Regex: expected the word pattern of GPT-2, Llama 3 or Qwen2, found "\w+""#
        )
        func merges(_ text: String) -> String {
            message {
                _ = try Tokenizer(
                    file: try scratch.write(
                        #"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": \#(text)}}"#,
                        to: "tokenizer.json"))
            }
        }
        #expect(merges(#"["a b", ["a", "b"]]"#) == "no failure")
        #expect(
            merges(#"["a b", "a"]"#) == "tokenizer.json:1: model.merges[1]: expected a merge of two tokens")
        #expect(merges(#"[["a", 3]]"#) == "tokenizer.json:1: model.merges[0]: expected a merge of two tokens")
        #expect(
            merges(#"["b a"]"#)
                == #"tokenizer.json:1: model.merges[0]: expected tokens of the vocabulary, found "ba""#)
        #expect(
            merges("3") == "tokenizer.json:1: model.merges: expected an array of merges, found the number 3")
        #expect(
            message { _ = try bytePair("ab", merges: [], extra: #", "dropout": 0.1"#) }.contains(
                "model.dropout"))
        #expect(
            message { _ = try bytePair("ab", merges: [], extra: #", "end_of_word_suffix": "</w>""#) }
                .contains("model.end_of_word_suffix"))
    }
}
