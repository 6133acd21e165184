import Foundation
import ReferenceFiles
import Support
import Testing
import Tokenizers

/// Checkpoints without a `tokenizer.json`.
@Suite struct TokenizerLayoutTests {
    let scratch: ScratchDirectory

    init() throws { scratch = try ScratchDirectory() }

    /// Writes the vocabulary and the merges of a reference `tokenizer.json` as GPT-2's two files, the added tokens among
    /// them; with a configuration if there is one.
    func writeTwoFiles(of name: String, header: String = "#version: 0.2\n", configuration: String? = nil)
        throws
    {
        let file = try Reference.json("tokenizers/\(name)/tokenizer.json")
        let model = try #require(file["model"])
        var vocabulary = try #require(model["vocab"]?.members)
        let known = Set(vocabulary.compactMap(\.value.integer))
        for token in try #require(file["added_tokens"]?.array)
        where !known.contains(token["id"]?.integer ?? 0) {
            vocabulary.append(
                JSONMember(
                    key: try #require(token["content"]?.string), value: try #require(token["id"]), line: 0))
        }
        let merges = try #require(model["merges"]?.array).map { pair in
            (pair.array ?? []).compactMap(\.string).joined(separator: " ")
        }
        _ = try scratch.write(JSONValue.object(vocabulary).text(), to: "vocab.json")
        _ = try scratch.write(header + merges.joined(separator: "\n") + "\n", to: "merges.txt")
        if let configuration { _ = try scratch.write(configuration, to: "tokenizer_config.json") }
    }

    func expectReference(_ name: String) throws {
        let tokenizer = try Tokenizer(contentsOf: scratch.path)
        let vectors = try Reference.json("tokenizers/\(name)/vectors.json")
        let prefix = try #require(vectors["single_prefix"]).ids
        let suffix = try #require(vectors["single_suffix"]).ids
        #expect(tokenizer.vocabularySize == vectors["vocab_size"]?.integer)
        for row in try #require(vectors["strings"]?.array) {
            let text = try #require(row["text"]?.string)
            let expected = try #require(row["ids"]).ids
            #expect(tokenizer.encode(single: text, maximumLength: 1 << 20).ids == prefix + expected + suffix)
            #expect(tokenizer.decode(expected).utf8.elementsEqual(try #require(row["decoded"]?.string).utf8))
        }
    }

    @Test("BART is recognised by its vocabulary") func bartIsRecognisedByItsVocabulary() throws {
        try writeTwoFiles(of: "bbpe_bart")
        try expectReference("bbpe_bart")
        let pair = try Tokenizer(contentsOf: scratch.path).encode(pair: ("a", "a"), maximumLength: 9)
        #expect(pair.ids.count == 6 && pair.ids[2...3] == [2, 2] && pair.typeIDs == [0, 0, 0, 0, 0, 0])
    }

    @Test("Qwen2 is named by its configuration") func qwen2IsNamedByItsConfiguration() throws {
        let added = try #require(
            try Reference.json("tokenizers/bbpe_qwen2/tokenizer.json")["added_tokens"]?.array)
        let decoder = JSONValue.object(
            added.map { JSONMember(key: "\($0["id"]?.integer ?? -1)", value: $0, line: 0) })
        try writeTwoFiles(
            of: "bbpe_qwen2", header: "",
            configuration:
                #"{"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": \#(decoder.text())}"#)
        try expectReference("bbpe_qwen2")
    }

    @Test("GPT-2 has one special token and no template") func gpt2HasOneSpecialTokenAndNoTemplate() throws {
        try writeTwoFiles(of: "bbpe_qwen2")
        let tokenizer = try Tokenizer(contentsOf: scratch.path)
        let text = "I'LL see  12345\n\nit"
        #expect(tokenizer.encode(text + "<|endoftext|>") == tokenizer.encode(text) + [380])
        #expect(tokenizer.encode("<|im_end|>").count > 1)
        #expect(tokenizer.encode(single: text, maximumLength: 99).ids == tokenizer.encode(text))
        #expect(tokenizer.decode(tokenizer.encode(text) + [380]) == text)
        // A configuration may ask for a space in front.
        let plain = tokenizer.encode(" see")
        _ = try scratch.write(#"{"add_prefix_space": true}"#, to: "tokenizer_config.json")
        let spaced = try Tokenizer(contentsOf: scratch.path)
        #expect(spaced.encode("see") == plain && spaced.encode(" see") == plain)
        #expect(spaced.fingerprint != tokenizer.fingerprint)
    }

    @Test("100 sentinels follow a sentencepiece model unless its configuration says how many")
    func test100SentinelsFollowASentencepieceModelUnlessItsConfigurationSaysHowMany() throws {
        let bytes = try readFile(Reference.tokenizer("unigram_spiece") + "/spiece.model")
        _ = try scratch.write(bytes, to: "spiece.model")
        let tokenizer = try Tokenizer(contentsOf: scratch.path)
        #expect(tokenizer.vocabularySize == 460)
        #expect(tokenizer.id(of: "<extra_id_99>") == 360 && tokenizer.id(of: "<extra_id_0>") == 459)
        #expect(
            tokenizer.encode("the <extra_id_1> the") == tokenizer.encode("the") + [458]
                + tokenizer.encode("the"))
        #expect(tokenizer.decode([458] + tokenizer.encode("the")) == "the")
    }

    @Test("a model without a tokenizer reads characters") func aModelWithoutATokenizerReadsCharacters() {
        let encoder = Tokenizer.characters(isEncoder: true)
        #expect(encoder.vocabularySize == 100)
        let ids = encoder.encode("a b")
        // The mark of a space, then "a" and "b", 65 and 66 places behind it.
        let expected: [Int32] = [5, 70, 5, 71]
        #expect(ids == expected)
        #expect(encoder.decode(ids) == "a b")
        #expect(encoder.encode(single: "a b", maximumLength: 9).ids == [3] + ids + [4])
        #expect(
            Tokenizer.characters(isEncoder: false).encode(single: "a b", maximumLength: 9).ids == ids + [1])
        #expect(encoder.encode("\u{E9}") == [5, 2])
    }

    @Test("letters and sounds: two vocabularies in config.json") func lettersAndSounds() throws {
        func write(_ keys: String) throws {
            _ = try scratch.write(
                #"{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2\#(keys)}"#, to: "config.json")
        }
        func message(_ keys: String) throws -> String? {
            try write(keys)
            return failure { _ = try Tokenizer(contentsOf: scratch.path) }?
                .message.replacing(scratch.path + "/", with: "")
        }
        // "e" with an acute accent is one place as one scalar, two as two; of a letter that stands twice the last counts.
        let lists = #", "grapheme_chars": "____ab\u00e9a", "phoneme_chars": "____\u02c8xe\u0301""#
        try write(lists)
        let tokenizer = try Tokenizer(contentsOf: scratch.path)
        let letters = tokenizer.encode(single: "ab\u{E9}c_", maximumLength: 9)
        #expect(letters.ids == [1, 7, 5, 6, 3, 3, 2] && letters.typeIDs == [0, 0, 0, 0, 0, 0, 0])
        #expect(tokenizer.encode("e\u{301}") == [3, 3])
        #expect(tokenizer.decode(letters.ids) == "ab\u{E9}" && tokenizer.vocabularySize == 8)
        let sounds = tokenizer.targets.encode(single: "\u{2C8}xe\u{301}", maximumLength: 9).ids
        #expect(sounds == [1, 4, 5, 6, 7, 2])
        #expect(tokenizer.targets.decode([1, 1, 4, 5, 0, 3, 2]) == "\u{2C8}x")
        #expect(tokenizer.id(of: "b") == 5 && tokenizer.targets.id(of: "b") == nil)
        #expect(tokenizer.encode(single: "ababab", maximumLength: 4).ids == [1, 7, 5, 2])

        #expect(
            try message(#", "grapheme_chars": "____a""#)?.contains("config.json with grapheme_chars") == true)
        #expect(
            try message(#", "grapheme_chars": "____", "phoneme_chars": "____x""#)?.hasPrefix(
                "config.json:1: grapheme_chars: expected more than 4 characters") == true)
        _ = try scratch.write(
            #"{"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2\#(lists)}"#, to: "config.json")
        #expect(
            failure { _ = try Tokenizer(contentsOf: scratch.path) }?.message.contains(
                "pad_token_id: expected 0") == true)
        // A file of its own comes before them.
        try writeTwoFiles(of: "bbpe_bart")
        try expectReference("bbpe_bart")
    }

    @Test("what a sentencepiece file may not hold") func whatASentencepieceFileMayNotHold() throws {
        func message(_ bytes: [UInt8]) throws -> String {
            _ = try scratch.write(bytes, to: "spiece.model")
            return failure { _ = try Tokenizer(contentsOf: scratch.path) }?
                .message.replacing(scratch.path + "/", with: "") ?? "no failure"
        }
        /// A field that holds bytes.
        func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
            [number << 3 | 2, UInt8(bytes.count)] + bytes
        }
        func piece(_ text: String, _ kind: UInt8) -> [UInt8] {
            field(1, field(1, Array(text.utf8)) + [3 << 3, kind])
        }
        let good = piece("</s>", 3) + piece("<unk>", 2)
        let tail = field(2, []) + field(3, [])
        #expect(try message(good + tail) == "no failure")
        #expect(try message(good).hasPrefix("spiece.model: expected a trainer_spec and a normalizer_spec"))
        #expect(try message(tail) == "spiece.model: expected at least one piece, found none")
        #expect(
            try message(good + field(2, [3 << 3, 2]) + field(3, []))
                == "spiece.model: expected a Unigram model (model_type 1), found model_type 2")
        #expect(
            try message(good + field(2, []) + field(3, [4 << 3, 0])).contains(
                "remove_extra_whitespaces false"))
        #expect(try message(good + piece("<0x00>", 6) + tail).contains("kind 1 to 5, found 6 at piece 2"))
        #expect(try message(good + good + tail) == "spiece.model: expected one unknown piece, found 2")
        #expect(
            try message(piece("<unk>", 2) + tail) == #"spiece.model: expected a piece "</s>", found none"#)
        #expect(try message([0x0A, 0xFF, 0x01]).contains("expected a length within the message at byte 3"))
        #expect(try message([0x0B]).contains("a wire type of 0, 1, 2 or 5"))
        #expect(try message([0x08] + Array(repeating: 0xFF, count: 12)).contains("at most 10 bytes"))
        #expect(
            try message(good + field(2, []) + field(3, field(2, [1, 2]))).contains("precompiled_charsmap"))
        // Without the space in front, spaces at the beginning go.
        _ = try message(
            piece("</s>", 3) + piece("<unk>", 2) + piece("a", 1) + field(2, []) + field(3, [3 << 3, 0]))
        #expect(try Tokenizer(contentsOf: scratch.path).encode("  a ") == [2])
    }

    @Test("bad files are named") func badFilesAreNamed() throws {
        func message() -> String {
            failure { _ = try Tokenizer(contentsOf: scratch.path) }?
                .message.replacing(scratch.path + "/", with: "") ?? "no failure"
        }
        #expect(message().hasPrefix("tokenizer.json: expected this file, or spiece.model, or vocab.json"))
        _ = try scratch.write(#"{"a": 0, "b": 1, "ab": 2}"#, to: "vocab.json")
        #expect(message().hasPrefix("tokenizer.json: expected this file"))
        for (merges, expected) in [
            ("a b\n", "no failure"), ("", "no failure"),
            ("#version: 0.2\na b\n\n", "merges.txt:3: expected a merge of two tokens"),
            ("a b c\n", "merges.txt:1: expected a merge of two tokens"),
            ("#version: 0.2\na c\n", #"merges.txt:2: expected tokens of the vocabulary, found "c""#),
        ] {
            _ = try scratch.write(merges, to: "merges.txt")
            #expect(message() == expected)
        }
        _ = try scratch.write("a b\r\n", to: "merges.txt")
        #expect(try Tokenizer(contentsOf: scratch.path).encode("ab") == [2])
        _ = try scratch.write(#"{"tokenizer_class": "CodeGenTokenizer"}"#, to: "tokenizer_config.json")
        #expect(
            message().hasPrefix(
                #"tokenizer_config.json:1: tokenizer_class: expected one of "GPT2Tokenizer", "#))
        _ = try scratch.write(#"{"tokenizer_class": "BartTokenizerFast"}"#, to: "tokenizer_config.json")
        #expect(message() == #"vocab.json: expected the tokens "<s>" and "</s>" of a BartTokenizer"#)
        _ = try scratch.write(
            #"{"added_tokens_decoder": {"x": {"content": "y"}}}"#, to: "tokenizer_config.json")
        #expect(message().hasSuffix(#"expected an id as the key, found "x""#))
    }
}
