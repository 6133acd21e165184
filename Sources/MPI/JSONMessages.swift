import Support

/// JSON values as messages, for what is small and has a JSON form anyway.
extension Communicator {
    /// Runs `body` on the root and returns its value on every rank, or throws its failure on every rank. Collective.
    ///
    /// - Parameters: `name` is what failures call the value; `line` is 0 where lines mean nothing.
    package borrowing func jsonFromRoot(
        _ name: String, line: Int = 1, _ body: () throws -> JSONValue
    ) throws -> JSONReader {
        try JSONReader(parsing: fromRoot { Array(try body().text().utf8) }, file: name, line: line)
    }

    /// Every rank's value, by rank, on every rank. Collective.
    ///
    /// - Parameter name: what failures call the values, as in "description of rank 1".
    package borrowing func allGatherJSON(_ value: JSONValue, _ name: String) throws -> [JSONReader] {
        try allGather(Array(value.text().utf8)).enumerated().map { rank, bytes in
            try JSONReader(parsing: bytes, file: "\(name) of rank \(rank)")
        }
    }
}
