import Foundation
import ReferenceFiles
import Support
import Testing
import Tokenizers

@Suite struct TokenizerTests {
    static let names = [
        "wordpiece_bert", "unigram_t5", "bbpe_bart", "bbpe_llama3", "bbpe_qwen2", "bpe_stories260k",
        "unigram_spiece",
    ]

    @Test("all reference strings have the expected ids and texts", arguments: TokenizerTests.names)
    func allReferenceStringsHaveTheExpectedIdsAndTexts(name: String) throws {
        let tokenizer = try Tokenizer(contentsOf: Reference.tokenizer(name))
        let vectors = try Reference.json("tokenizers/\(name)/vectors.json")
        let strings = try #require(vectors["strings"]?.array)
        #expect(strings.count == 300)
        #expect(tokenizer.vocabularySize == vectors["vocab_size"]?.integer)
        let prefix = try #require(vectors["single_prefix"]).ids
        let suffix = try #require(vectors["single_suffix"]).ids
        for row in strings {
            let text = try #require(row["text"]?.string)
            let expected = try #require(row["ids"]).ids
            #expect(tokenizer.encode(text) == expected, "\(text.debugDescription)")
            let whole = tokenizer.encode(single: text, maximumLength: 1 << 20)
            #expect(whole.ids == prefix + expected + suffix && !whole.wasTruncated)
            let decoded = try #require(row["decoded"]?.string)
            #expect(tokenizer.decode(expected).utf8.elementsEqual(decoded.utf8), "\(text.debugDescription)")
        }
    }

    @Test("pairs are cut longest first", arguments: TokenizerTests.names)
    func pairsAreCutLongestFirst(name: String) throws {
        let tokenizer = try Tokenizer(contentsOf: Reference.tokenizer(name))
        let pairs = try #require(try Reference.json("tokenizers/\(name)/vectors.json")["pairs"]?.array)
        #expect(pairs.count == 40)
        var cut = 0
        for row in pairs {
            let (a, b) = (try #require(row["a"]?.string), try #require(row["b"]?.string))
            let length = try #require(row["max_length"]?.integer)
            let real = try #require(row["attention_mask"]).ids.reduce(0, +)
            let encoding = tokenizer.encode(pair: (a, b), maximumLength: length)
            #expect(encoding.ids == Array(try #require(row["ids"]).ids.prefix(Int(real))))
            #expect(encoding.typeIDs == Array(try #require(row["type_ids"]).ids.prefix(Int(real))))
            let whole = tokenizer.encode(pair: (a, b), maximumLength: 1 << 20)
            #expect(encoding.wasTruncated == (whole.ids != encoding.ids))
            cut += encoding.wasTruncated ? 1 : 0
        }
        #expect(cut > 5)
    }

    @Test("the older layout of the Unigram file gives the same ids")
    func theOlderLayoutOfTheUnigramFileGivesTheSameIds() throws {
        let new = try readFile(Reference.tokenizer("unigram_t5") + "/tokenizer.json")
        let map = try #require(
            try JSONValue(parsing: new, file: "new")["normalizer"]?["precompiled_charsmap"]?.string)
        let old = String(
            decoding: try readFile(Reference.tokenizer("unigram_t5") + "/tokenizer_legacy_layout.json"),
            as: UTF8.self)
        let scratch = try ScratchDirectory()
        _ = try scratch.write(
            old.replacingOccurrences(of: "SAME_AS_tokenizer.json", with: map), to: "tokenizer.json")
        let tokenizer = try Tokenizer(contentsOf: scratch.path)
        let strings = try Reference.json("tokenizers/unigram_t5/vectors.json")["strings"]?.array
        for row in try #require(strings) {
            #expect(tokenizer.encode(try #require(row["text"]?.string)) == row["ids"]?.ids)
        }
    }

    @Test("special tokens stay when one text is cut") func specialTokensStayWhenOneTextIsCut() throws {
        let t5 = try Tokenizer(contentsOf: Reference.tokenizer("unigram_t5"))
        let long = String(repeating: "light ", count: 50)
        let cut = t5.encode(single: long, maximumLength: 10)
        #expect(cut.wasTruncated && cut.ids == Array(t5.encode(long).prefix(9)) + [1])
        let bert = try Tokenizer(contentsOf: Reference.tokenizer("wordpiece_bert"))
        let bertCut = bert.encode(single: long, maximumLength: 10)
        #expect(bertCut.ids == [2] + Array(bert.encode(long).prefix(8)) + [3])
        #expect(bertCut.typeIDs == Array(repeating: 0, count: 10))
        #expect(bert.encode(single: long, maximumLength: 2).ids == [2, 3])
    }

    @Test("tokens are compared byte by byte") func tokensAreComparedByteByByte() throws {
        let t5 = try Tokenizer(contentsOf: Reference.tokenizer("unigram_t5"))
        #expect(t5.id(of: "\u{E9}") == 270)
        #expect(t5.id(of: "e\u{301}") == nil)
        #expect(t5.id(of: "</s>") == 1)
        #expect(t5.id(of: "no such token") == nil)
        #expect(t5.decode([99_999, -4, 8]) == "a")
        #expect(t5.decode([8, 1], skippingSpecialTokens: false) == "a</s>")
    }

    @Test("the fingerprint changes with one byte of the file")
    func theFingerprintChangesWithOneByteOfTheFile() throws {
        let bytes = try readFile(Reference.tokenizer("wordpiece_bert") + "/tokenizer.json")
        let scratch = try ScratchDirectory()
        let same = try Tokenizer(file: try scratch.write(bytes, to: "same.json"))
        let other = try Tokenizer(file: try scratch.write(bytes + [0x20], to: "other.json"))
        #expect(
            same.fingerprint == (try Tokenizer(contentsOf: Reference.tokenizer("wordpiece_bert")).fingerprint)
        )
        #expect(same.fingerprint != other.fingerprint)
        #expect(same.fingerprint.utf8.count == 16)
    }
}
