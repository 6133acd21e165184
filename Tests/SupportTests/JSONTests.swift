import Support
import Testing

@Suite struct JSONTests {
    private func parse(_ text: String) throws -> JSONValue {
        try JSONValue(parsing: Array(text.utf8), file: "f.json")
    }

    private func message(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "no error"
        } catch { return String(describing: error) }
    }

    @Test func valuesAndOrderSurviveARoundTrip() throws {
        let text = #"{"b": [1, -2.5, true, null, "\u00e9\ud83d\ude00\n"], "a": {}}"#
        let value = try parse(text)
        #expect(value.members?.map(\.key) == ["b", "a"])
        #expect(value["b"]?.array?[4].string == "\u{E9}\u{1F600}\n")
        #expect(try parse(value.text()) == value)
        #expect(try parse(value.text(indented: true)) == value)
    }

    @Test func keysAreComparedByBytes() throws {
        // The same letter composed and decomposed: equal as Swift strings, two different vocabulary entries.
        let value = try parse("{\"\u{E9}\": 1, \"e\u{301}\": 2}")
        #expect(value["\u{E9}"]?.integer == 1)
        #expect(value["e\u{301}"]?.integer == 2)
    }

    @Test(arguments: [
        ("{\"a\": 1,\n \"a\": 2}", "f.json:2: the key \"a\" stands twice"),
        ("[1,\n2", "f.json:2: not valid JSON: expected \",\" or \"]\", found the end of the text"),
        ("{} x", "f.json:1: not valid JSON: expected the end of the text, found \"x\""),
        ("[01]", "f.json:1: not valid JSON: expected a value, found \"0\""),
        ("\"\\ud800\"", "f.json:1: not valid JSON: expected a surrogate pair, found \"\"\""),
    ])
    func errorsNameTheLine(_ text: String, _ expected: String) {
        #expect(message { _ = try parse(text) } == expected)
    }

    @Test func badUTF8IsAnError() {
        #expect(message { _ = try JSONValue(parsing: [0x22, 0xFF, 0x22], file: "f") }.contains("UTF-8"))
    }

    @Test func unknownKeysSuggestTheNearest() throws {
        let reader = JSONReader(try parse("{\n \"epohcs\": 1}"), file: "f.json", path: "training")
        let text = message { _ = try reader.object(keys: ["epochs", "seed"]) }
        #expect(text.hasPrefix("f.json:2: unknown key \"training.epohcs\". Did you mean \"epochs\"?"))
    }

    @Test func wordsAreOneOfThoseListed() throws {
        let words = ["pruned", "random"]
        let reader = try JSONReader(parse("\"prunde\""), file: "f.json", path: "start")
        let known = #"f.json:1: start: expected one of "pruned", "random", found the string "prunde""#
        #expect(message { _ = try reader.choice(words) } == known)
        #expect(
            message { _ = try reader.choice(words, suggestsNearest: true) }
                == known + #". Did you mean "pruned"?"#)
        let far = try JSONReader(parse("\"drawn\""), file: "f.json")
        #expect(
            message { _ = try far.choice(words, suggestsNearest: true) }.hasSuffix(#"the string "drawn""#))
        #expect(try JSONReader(parse("\"random\""), file: "f.json").choice(words) == "random")
    }

    @Test func wrongTypesNamePathAndFinding() throws {
        let object = try JSONReader(parse("{\"a\": {\"b\": \"x\"}}"), file: "f.json").object()
        let inner = try object.required("a").object()
        #expect(
            message { _ = try inner.required("b").integer(in: 1...9) }
                == "f.json:1: a.b: expected an integer from 1 to 9, found the string \"x\"")
        #expect(message { _ = try inner.required("c") } == "f.json:1: a: the key \"a.c\" is missing")
    }

    @Test func overridesReplaceAndCreate() throws {
        var value = try parse("{\"training\": {\"epochs\": 3}}")
        try value.apply(override: "training.epochs=5")
        try value.apply(override: "model.path=models/x")
        try value.apply(override: "task.labels=[\"a\", \"b\"]")
        try value.apply(override: "output.directory=2024-run")
        #expect(value["training"]?["epochs"]?.integer == 5)
        #expect(value["model"]?["path"]?.string == "models/x")
        #expect(value["task"]?["labels"]?.array?.count == 2)
        #expect(value["output"]?["directory"]?.string == "2024-run")
        #expect(message { try value.apply(override: "epochs") }.contains("expected key.path=value"))
        #expect(message { try value.apply(override: "training.epochs.x=1") }.contains("expected an object"))
    }
}
