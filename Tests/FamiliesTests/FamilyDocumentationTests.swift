import Families
import MarkdownPages
import Support
import Testing

struct FamilyDocumentationTests {
    @Test("docs/models.md has every family") func families() throws {
        let configuration = JSONReader(.dictionary([("model_type", "none")]), file: "config.json")
        let failure = #expect(throws: Failure.self) { try readModelFamily(configuration) }
        let rows = try MarkdownPage("docs/models.md").table(under: "Families")
        let list = rows.map { "\"\($0.key)\"" }.joined(separator: ", ")
        #expect(failure?.message.contains("one of \(list), found") == true, "\(failure?.message ?? "")")
    }
}
