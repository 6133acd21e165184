import ChatTemplates
import Foundation
import ReferenceFiles
import Support
import Testing
import TextData
import Tokenizers

/// Tasks in which a model learns a text's own tokens: which of them, and in which samples.
@Suite struct LanguageModelingTests {
    private func task(
        _ kind: TaskKind, _ tokenizer: String, train: String, length: Int, template: String? = nil
    ) throws -> (TextTask, Tokenizer) {
        let tokenizer = try Tokenizer(contentsOf: Reference.tokenizer(tokenizer))
        let specification = TaskSpecification(
            kind: kind, train: train, maximumSequenceLength: length, chatTemplate: template)
        let task = try TextTask(
            specification, style: .continuation, tokenizer: tokenizer,
            chatTemplate: try template.map { try ChatTemplate(contentsOf: "/nowhere", override: $0) })
        return (task, tokenizer)
    }

    private func file(_ text: String, _ name: String) throws -> String {
        let path = NSTemporaryDirectory() + "pac-mpi-\(UUID().uuidString)-\(name)"
        try writeFileAtomically(text, to: path)
        return path
    }

    private func learned(_ data: TokenizedDataset, _ row: Int) -> [Int32] {
        zip(data.input(row), data.lossMarks(row)).filter(\.1).map(\.0)
    }

    @Test("passages hold every token but a document's first once", arguments: [2, 5, 16, 1000])
    func passagesHoldEveryTokenButADocumentsFirstOnce(length: Int) throws {
        let documents = ["The company lost the weather.\n\nOur guest described it.", "Größe: 5 €", "x"]
        let text = documents.joined(separator: "\n<|endoftext|>\n") + "\n<|endoftext|>\n\n<|endoftext|>\n"
        for tokenizerName in ["bpe_stories260k", "bbpe_qwen2"] {
            let (task, tokenizer) = try task(.text, tokenizerName, train: file(text, "a.txt"), length: length)
            let data = try task.load(.train)
            let expected = documents.map { tokenizer.encode(single: $0, maximumLength: 10_000).ids }
            #expect((0..<data.count).flatMap { learned(data, $0) } == expected.flatMap { $0.dropFirst() })
            for row in 0..<data.count {
                #expect(data.input(row).count <= length && data.lossMarks(row).first == false)
            }
            // A passage goes on with the last token of the one before it.
            var starts = expected.filter { $0.count > 1 }.map { $0[0] }
            for row in 0..<data.count where !starts.isEmpty && data.input(row).first == starts[0] {
                starts.removeFirst()
            }
            #expect(starts.isEmpty)
            #expect(task.problem == .languageModeling && data.labels == .none && !data.hasTargets)
        }
    }

    @Test("rows of JSONL are documents, and a limit counts passages")
    func rowsOfJSONLAreDocumentsAndALimitCountsPassages() throws {
        let rows = #"{"text": "one two three four five"}"# + "\n" + #"{"text": "six"}"# + "\n"
        let path = try file(rows, "a.jsonl")
        let (task, tokenizer) = try task(.text, "bpe_stories260k", train: path, length: 4)
        let ids = tokenizer.encode(single: "six", maximumLength: 100).ids
        let data = try task.load(.train)
        #expect(Array(data.input(data.count - 1)) == Array(ids.suffix(data.input(data.count - 1).count)))
        var specification = task.specification
        specification.trainLimit = 2
        let limited = try TextTask(specification, style: .continuation, tokenizer: tokenizer).load(
            .train)
        #expect(limited.count == 2 && Array(limited.input(1)) == Array(data.input(1)))
    }

    @Test("of a conversation what assistants say is learned") func ofAConversationWhatAssistantsSayIsLearned()
        throws
    {
        let rows = """
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Größe 5"}]}
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Hi"}, \
            {"role": "assistant", "content": "a b"}, {"role": "user", "content": "?"}, \
            {"role": "assistant", "content": "c"}]}
            """
        let path = try file(rows, "chat.jsonl")
        let (task, tokenizer) = try task(.chat, "bbpe_qwen2", train: path, length: 512, template: "chatml")
        let data = try task.load(.train)
        #expect(tokenizer.decode(learned(data, 0), skippingSpecialTokens: false) == "Größe 5<|im_end|>\n")
        #expect(
            tokenizer.decode(learned(data, 1), skippingSpecialTokens: false)
                == "a b<|im_end|>\nc<|im_end|>\n")
        #expect(
            tokenizer.decode(Array(data.input(0)), skippingSpecialTokens: false)
                == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nGröße 5<|im_end|>\n")
        // Cut behind the first answer, the second is lost and the rest stays.
        let whole = data.input(1).count
        let (shorter, _) = try self.task(
            .chat, "bbpe_qwen2", train: path, length: whole - 2, template: "chatml")
        let cut = try shorter.load(.train)
        #expect(cut.truncatedCount == 1 && cut.input(1).count == whole - 2)

        let prompt = try task.prompts([try task.row(text: "Hi", pair: nil)])
        #expect(
            tokenizer.decode(Array(prompt.input(0)), skippingSpecialTokens: false)
                == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    }

    @Test(
        "what is wrong with a conversation is named",
        arguments: [
            (#"{"messages": []}"#, "at least one message"),
            (#"{"messages": [{"role": "user", "content": "a"}]}"#, "a message of the role \"assistant\""),
            (#"{"messages": [{"role": "robot", "content": "a"}]}"#, "robot"),
            (#"{"messages": [{"role": "assistant"}]}"#, "content"), (#"{"text": "a"}"#, "messages"),
            (
                #"{"messages": [{"role": "user", "content": "a b c d e f g h i j k l m n o p q r s t u v"},"#
                    + #"{"role": "assistant", "content": "a"}]}"#,
                "expected an answer within task.max_sequence_length 12"
            ),
        ])
    func whatIsWrongWithAConversationIsNamed(row: String, expected: String) throws {
        let path = try file("\(row)\n", "chat.jsonl")
        let (task, _) = try task(.chat, "bbpe_qwen2", train: path, length: 12, template: "chatml")
        let failure = #expect(throws: Failure.self) { try task.load(.train) }
        #expect(failure?.message.contains(expected) == true && failure?.message.contains("\(path):1") == true)
    }

    @Test("texts that continue their input: the prompt stays open, the answer ends")
    func textsThatContinueTheirInput() throws {
        let path = try file(#"{"source": "Once upon", "target": " a time"}"# + "\n", "a.jsonl")
        let tokenizer = try Tokenizer(contentsOf: Reference.tokenizer("bpe_stories260k"))
        let task = try TextTask(
            TaskSpecification(kind: .textToText, train: path, maximumSequenceLength: 6), style: .continuation,
            tokenizer: tokenizer, endToken: 2)
        let data = try task.load(.train)
        #expect(Array(data.input(0)) == tokenizer.encode(single: "Once upon", maximumLength: 6).ids)
        #expect(data.input(0).first == 1 && data.input(0).last != 2)
        #expect(data.target(0).last == 2 && !data.target(0).contains(1) && data.target(0).count <= 6)
        #expect(task.text(data.target(0).dropLast()).contains("time") || data.truncatedCount == 1)
    }

    @Test("perplexity is that of the mean loss of all tokens") func perplexityIsThatOfTheMeanLossOfAllTokens()
        throws
    {
        let path = try file("a b\n", "a.txt")
        let (task, _) = try task(.text, "bpe_stories260k", train: path, length: 8)
        let metrics = task.metrics(losses: [(sum: 3, tokens: 2), (sum: 0.5, tokens: 1), (sum: 0, tokens: 4)])
        #expect(abs(try #require(metrics["perplexity"]) - exp(0.5)) < 1e-12)
        #expect(metrics.headline == metrics["perplexity"])
    }
}
