import Foundation
import Reporting
import Testing

@Suite final class ProgressLineTests {
    private var ends: [Int32] = [-1, -1]
    private var time = 0.0

    init() throws { try #require(pipe(&ends) == 0) }

    deinit {
        close(ends[0])
        close(ends[1])
    }

    private func line(isTerminal: Bool) -> ProgressLine {
        ProgressLine(descriptor: ends[1], isTerminal: isTerminal, interval: 10) { [unowned self] in time }
    }

    private func written() -> String {
        var buffer = [UInt8](repeating: 0, count: 4096)
        var status = pollfd(fd: ends[0], events: Int16(POLLIN), revents: 0)
        guard poll(&status, 1, 0) == 1 else { return "" }
        let count = read(ends[0], &buffer, buffer.count)
        return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
    }

    @Test("without a terminal there is a plain line every few seconds")
    func withoutATerminalThereIsAPlainLineEveryFewSeconds() {
        let progress = line(isTerminal: false)
        progress.update("step 1")
        time = 5
        progress.update("step 2")
        #expect(written() == "step 1\n")
        time = 10
        progress.update("step 3")
        time = 11
        progress.update("step 4")
        progress.note("epoch 1 done")
        progress.finish()
        #expect(written() == "step 3\nepoch 1 done\nstep 4\n")
    }

    @Test("on a terminal one line is rewritten") func onATerminalOneLineIsRewritten() {
        let progress = line(isTerminal: true)
        progress.update("step 1")
        time = 0.05
        progress.update("step 2")
        time = 0.2
        progress.update("step 3")
        #expect(written() == "\r\u{1B}[Kstep 1\r\u{1B}[Kstep 3")
        progress.note("saved")
        progress.update("step 4")
        progress.update("step 5")
        progress.finish()
        #expect(written() == "\r\u{1B}[Ksaved\n\r\u{1B}[Kstep 4\r\u{1B}[Kstep 5\n")
    }

    @Test("a line never wraps") func aLineNeverWraps() {
        line(isTerminal: true).update(String(repeating: "x", count: 200))
        #expect(written() == "\r\u{1B}[K" + String(repeating: "x", count: 79))
    }

    @Test("a pipe is no terminal") func aPipeIsNoTerminal() {
        let progress = ProgressLine(descriptor: ends[1])
        progress.update("step 1")
        #expect(written() == "step 1\n")
    }
}
