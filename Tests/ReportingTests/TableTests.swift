import Reporting
import Testing

@Suite struct TableTests {
    @Test("columns are as wide as their widest cell") func columnsAreAsWideAsTheirWidestCell() {
        var table = Table([("rank", .right), ("host", .left), ("layers", .left)])
        table.add(["0", "nano-0", "0..<4"])
        table.add(["12", "küche", ""])
        #expect(
            table.text == """
                rank  host    layers
                ────  ──────  ──────
                   0  nano-0  0..<4
                  12  küche
                """)
    }

    @Test("without rows the headers stand alone") func withoutRowsTheHeadersStandAlone() {
        #expect(Table([("a", .left), ("bb", .right)]).text == "a  bb\n─  ──")
    }
}
