import ChatTemplates
import Foundation
import ReferenceFiles
import Support
import Testing

/// Chat templates, against what Jinja makes of them.
@Suite struct ChatTemplateTests {
    private static let folder = Reference.directory + "/templates"

    private func template(_ name: String) throws -> ChatTemplate {
        let file = "\(Self.folder)/\(name).jinja"
        return try ChatTemplate(
            String(decoding: try readFile(file), as: UTF8.self), file: file, beginToken: "<s>",
            endToken: "</s>")
    }

    private func message(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "nothing was thrown"
        } catch { return "\(error)" }
    }

    private func conversation(_ entry: JSONValue) throws -> [ChatMessage] {
        try #require(entry["messages"]?.array).map {
            ChatMessage(role: try #require($0["role"]?.string), content: try #require($0["content"]?.string))
        }
    }

    @Test("templates of real models give what Jinja gives") func templatesOfRealModelsGiveWhatJinjaGives()
        throws
    {
        let entries = try #require(try Reference.json("templates/expected.json").array)
        #expect(entries.count == 140)
        for entry in entries {
            let name = try #require(entry["template"]?.string)
            let template = try template(name)
            let (messages, prompt) = (try conversation(entry), entry["add_generation_prompt"]?.bool == true)
            let place: Comment = "\(name), \(entry["conversation"]?.string ?? ""), prompt \(prompt)"
            if let failure = entry["failure"]?.string {
                let found = message { _ = try template.render(messages, addGenerationPrompt: prompt) }
                #expect(found.contains(failure), place)
            } else {
                let text = try template.render(messages, addGenerationPrompt: prompt)
                #expect(text.utf8.elementsEqual(try #require(entry["text"]?.string).utf8), place)
            }
        }
    }

    @Test("answers are found with what ends them") func answersAreFoundWithWhatEndsThem() throws {
        let messages = [
            ChatMessage(role: "user", content: "Hi"), ChatMessage(role: "assistant", content: "Größe"),
            ChatMessage(role: "user", content: "?"), ChatMessage(role: "assistant", content: "b"),
        ]
        for (name, expected) in [
            ("chatml", ["Größe<|im_end|>\n", "b<|im_end|>\n"]),
            ("llama3", ["Größe<|eot_id|>", "b<|eot_id|>"]),
            ("llama2", [" Größe </s>", " b </s>"]), ("qwen2.5", ["Größe<|im_end|>\n", "b<|im_end|>\n"]),
            ("zephyr", ["Größe</s>\n", "b</s>\n"]),
        ] {
            let (text, answers) = try template(name).renderMarkingAnswers(messages)
            let bytes = Array(text.utf8)
            #expect(answers.map { String(decoding: bytes[$0], as: UTF8.self) } == expected, "\(name)")
        }
        // Phi-3 ends whatever is no prompt, so that an earlier turn looks otherwise than a last one.
        let changed = message { _ = try template("phi3").renderMarkingAnswers(messages) }
        #expect(changed.contains("without changing those before it, found that message 2 of 4"))
    }

    @Test(
        "what is not built in is named with its line",
        arguments: [
            ("{{ x | shuffle }}", "line 1 of the template: the filter \"shuffle\" is not built in"),
            (
                "\n{% macro f() %}{% endmacro %}",
                "line 2 of the template: the statement \"macro\" is not built in"
            ),
            ("{{ x is callable }}", "the test \"callable\""), ("{{ f(1) }}", "the function \"f\""),
            ("{{ x.pop() }}", "the method \"pop\""),
            ("{% if x %}a", "expected {% elif %} or {% else %} or {% endif %}"),
            ("{{ 'a }}", "the end of what begins with \"{{\""),
            ("{{ 1 + }}", "expected an expression, found the end"),
            ("{{ a b }}", "expected the end, found \"b\""),
        ])
    func whatIsNotBuiltInIsNamedWithItsLine(source: String, expected: String) {
        let found = message { _ = try ChatTemplate(source, file: "t.jinja") }
        #expect(found.contains("t.jinja") && found.contains(expected), "\(found)")
    }

    @Test(
        "what cannot be computed is named with its line",
        arguments: [
            ("\n{{ a.b }}", "line 2 of the template: \"a\" is undefined and has no \"b\""),
            ("{{ strftime_now('%d') }}", "strftime_now"), ("{{ messages }}", "a list cannot be printed"),
            ("{{ 'a' + 1 }}", "expected a number, found a text"), ("{{ 1 % 0 }}", "division by zero"),
            ("{{ messages | tojson(indent=4) }}", "the filter \"tojson\" with \"indent\""),
            ("{% set a.b = 1 %}", "expected a namespace as \"a\""),
        ])
    func whatCannotBeComputedIsNamedWithItsLine(source: String, expected: String) throws {
        let template = try ChatTemplate(source, file: "t.jinja")
        let found = message {
            _ = try template.render([ChatMessage(role: "user", content: "a")], addGenerationPrompt: true)
        }
        #expect(found.contains("t.jinja") && found.contains(expected), "\(found)")
    }

    @Test("the template of a model's directory") func theTemplateOfAModelsDirectory() throws {
        let folder = NSTemporaryDirectory() + "pac-mpi-template-" + UUID().uuidString
        try makeDirectory(folder)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let user = [ChatMessage(role: "user", content: "x")]
        func text(_ path: String? = nil) throws -> String {
            try ChatTemplate(contentsOf: folder, override: path).render(user, addGenerationPrompt: false)
        }
        let missing = message { _ = try text() }
        #expect(missing.contains("found none") && missing.contains("\"chatml\", \"llama3\", \"zephyr\""))
        #expect(try text("chatml") == "<|im_start|>user\nx<|im_end|>\n")
        let configuration = folder + "/tokenizer_config.json"
        try writeFileAtomically(
            #"{"bos_token": {"content": "<b>"}, "chat_template": "{{ bos_token }}{{ messages[0].content }}"}"#,
            to: configuration)
        #expect(try text() == "<b>x")
        #expect(try text("llama3") == "<b><|start_header_id|>user<|end_header_id|>\n\nx<|eot_id|>")
        try writeFileAtomically(
            #"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#,
            to: configuration)
        #expect(try text() == "d")
        try writeFileAtomically("own {{ messages[0].role }}", to: folder + "/chat_template.jinja")
        #expect(try text() == "own user")
    }
}
