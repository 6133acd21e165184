import Foundation
import ReferenceFiles
import Support
import Testing
import Tokenizers

/// Components that the two reference files do not have, in tokenizers small enough to work out by hand.
@Suite struct TokenizerComponentTests {
    let scratch: ScratchDirectory

    init() throws { scratch = try ScratchDirectory() }

    /// Unigram over single characters, so that the ids spell out what reached the model.
    func unigram(
        _ characters: String, normalizer: String = "null", preTokenizer: String = "null",
        added: String = "[]",
        extra: String = ""
    ) throws -> Tokenizer {
        let pieces = ["<unk>"] + characters.map { String($0) }
        let vocabulary = pieces.map { "[\(JSONValue($0).text()), -1.5]" }.joined(separator: ", ")
        return try Tokenizer(
            file: try scratch.write(
                """
                {"added_tokens": \(added), "normalizer": \(normalizer), "pre_tokenizer": \(preTokenizer),
                 "model": {"type": "Unigram", "unk_id": 0, "vocab": [\(vocabulary)]\(extra)}}
                """, to: "tokenizer.json"))
    }

    /// The characters that reached the model, "?" for unknown ones; tokens parted by nothing.
    func spelled(_ tokenizer: Tokenizer, _ text: String) -> String {
        tokenizer.encode(text).map { $0 == 0 ? "?" : tokenizer.decode([$0]) }.joined()
    }

    @Test("T5's published normaliser: strip, then double spaces")
    func t5sPublishedNormaliserStripThenDoubleSpaces() throws {
        let metaspace =
            #"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#
        let tokenizer = try unigram(
            "ab▁",
            normalizer: #"""
                {"type": "Sequence", "normalizers": [
                    {"type": "Strip", "strip_left": false, "strip_right": true},
                    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]}
                """#, preTokenizer: metaspace)
        #expect(spelled(tokenizer, "a") == "▁a")
        #expect(spelled(tokenizer, " a") == "▁a")
        #expect(spelled(tokenizer, "   a") == "▁a")
        #expect(spelled(tokenizer, "a b") == "▁a▁b")
        #expect(spelled(tokenizer, "a    b \u{3000}\n") == "▁a▁b")
        #expect(spelled(tokenizer, "a ▁b") == "▁a▁▁b")
        #expect(spelled(tokenizer, "   ") == "")
        // Unknowns are fused within a word and not across words.
        #expect(spelled(tokenizer, "xy z") == "▁?▁?")
    }

    @Test("replacing a plain text") func replacingAPlainText() throws {
        let tokenizer = try unigram(
            "abc", normalizer: #"{"type": "Replace", "pattern": {"String": "ab"}, "content": "c"}"#)
        #expect(spelled(tokenizer, "ababa") == "cca")
        #expect(spelled(tokenizer, "aab") == "ac")
    }

    @Test("added tokens swallow white space and respect words")
    func addedTokensSwallowWhiteSpaceAndRespectWords() throws {
        let tokenizer = try unigram(
            "ab_<m>",
            added: """
                [{"id": 7, "content": "<m>", "lstrip": true, "rstrip": true, "normalized": false, "special": true},
                 {"id": 8, "content": "<mm", "normalized": false, "special": false},
                 {"id": 9, "content": "<m", "single_word": true, "normalized": false}]
                """)
        #expect(tokenizer.encode("a \u{85}<m>  b") == [1, 7, 2])
        #expect(tokenizer.encode("<m><m> ") == [7, 7])
        #expect(tokenizer.encode("a<mm>") == [1, 8, 6])
        #expect(tokenizer.encode("_<m") == [3, 4, 5])
        #expect(tokenizer.encode("><m") == [6, 9])
        #expect(tokenizer.decode([1, 7, 8]) == "a <mm")
        #expect(tokenizer.vocabularySize == 10)
    }

    @Test("added tokens in normalised text") func addedTokensInNormalisedText() throws {
        let lower = """
            {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
             "lowercase": true}
            """
        let tokenizer = try unigram(
            "ab", normalizer: lower,
            added:
                #"[{"id": 3, "content": "AB", "normalized": true}, {"id": 4, "content": "BA", "normalized": false}]"#
        )
        #expect(tokenizer.encode("abÁBba") == [3, 3, 2, 1])
        #expect(tokenizer.encode("aBA") == [1, 4])
    }

    @Test("BERT's older post processor") func bertsOlderPostProcessor() throws {
        let file = try scratch.write(
            """
            {"normalizer": {"type": "BertNormalizer", "lowercase": false}, "pre_tokenizer": {"type": "BertPreTokenizer"},
             "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
             "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
             "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2,
                "É": 3, "a": 4, "##b": 5, ".": 6}}}
            """, to: "tokenizer.json")
        let tokenizer = try Tokenizer(file: file)
        let pair = tokenizer.encode(pair: ("É ab.", "a"), maximumLength: 99)
        #expect(pair.ids == [1, 3, 4, 5, 6, 2, 4, 2] && pair.typeIDs == [0, 0, 0, 0, 0, 0, 1, 1])
        // A cased model keeps accents as they are written.
        #expect(tokenizer.encode("E\u{301}") == [0])
        #expect(tokenizer.decode([4, 5, 6]) == "ab .")
    }

    @Test("what is not built in is named") func whatIsNotBuiltInIsNamed() throws {
        func message(_ body: () throws -> Tokenizer) -> String {
            failure { _ = try body() }?.message.replacing(scratch.path + "/", with: "") ?? "no failure"
        }
        #expect(
            message { try unigram("a", normalizer: #"{"type": "NFKC"}"#) }
                == #"tokenizer.json:1: normalizer.type: expected one of "Sequence", "Precompiled", "BertNormalizer", "#
                + #""NFC", "Strip", "Prepend", "Replace", found the string "NFKC""#)
        #expect(
            message { try unigram("a", preTokenizer: #"{"type": "Digits"}"#) }
                .hasPrefix("tokenizer.json:1: pre_tokenizer.type: "))
        #expect(
            message { try unigram("a", extra: #", "byte_fallback": true"#) }.contains("model.byte_fallback"))
        #expect(
            message {
                try unigram("a", normalizer: #"{"type": "Precompiled", "precompiled_charsmap": "AAAA"}"#)
            }
            .contains("normalizer.precompiled_charsmap"))
        let regex = #"{"type": "Replace", "pattern": {"Regex": "(a|b)"}, "content": ""}"#
        #expect(
            message { try unigram("a", normalizer: regex) }.contains(
                "normalizer.pattern.Regex: expected a regular"))
        #expect(
            message { try Tokenizer(contentsOf: scratch.path + "/none") }.hasPrefix("none/tokenizer.json: "))
    }

    @Test("a file that is cut anywhere is an error", arguments: TokenizerTests.names)
    func aFileThatIsCutAnywhereIsAnError(name: String) throws {
        let file = name == "unigram_spiece" ? "spiece.model" : "tokenizer.json"
        let bytes = try readFile("\(Reference.tokenizer(name))/\(file)")
        for part in 0..<20 {
            _ = try scratch.write(Array(bytes.prefix(bytes.count * part / 20)), to: file)
            #expect(throws: Failure.self) { try Tokenizer(contentsOf: scratch.path) }
        }
    }

    @Test("any text has ids of the vocabulary", arguments: TokenizerTests.names)
    func anyTextHasIdsOfTheVocabulary(name: String) throws {
        let tokenizer = try Tokenizer(contentsOf: Reference.tokenizer(name))
        let random = CounterRandom(seed: 7, name: name)
        var draw: UInt64 = 0
        func below(_ bound: UInt32) -> UInt32 {
            draw += 1
            return UInt32(random.bits(at: draw) % UInt64(bound))
        }
        for _ in 0..<4000 {
            var text = String.UnicodeScalarView()
            for _ in 0..<below(24) {
                let range: UInt32 = [0x80, 0x3000, 0x1_0000, 0x11_0000][Int(below(4))]
                text.append(Unicode.Scalar(below(range)) ?? "\u{301}")
            }
            let ids = tokenizer.encode(String(text))
            #expect(ids.allSatisfy { 0 <= $0 && $0 < tokenizer.vocabularySize })
            // The same text, the same ids, with room for them or not.
            let cut = tokenizer.encode(single: String(text), maximumLength: 8)
            #expect(cut.ids.count <= 8 && cut.ids.count == cut.typeIDs.count)
            _ = tokenizer.decode(ids, skippingSpecialTokens: false)
        }
    }
}
