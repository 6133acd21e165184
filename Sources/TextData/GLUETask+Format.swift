/// The official columns and T5's text format of each GLUE task.
extension GLUETask {
    /// The names of the texts, in T5's format and in rows.
    var fieldNames: [String] {
        switch self {
        case .mrpc, .stsb: ["sentence1", "sentence2"]
        case .sst2: ["sentence"]
        case .qnli: ["question", "sentence"]
        }
    }

    /// The header's names of the columns that hold the texts.
    var columns: [String] { self == .mrpc ? ["#1 String", "#2 String"] : fieldNames }

    /// The header's name of the label's column.
    var labelColumn: String {
        switch self {
        case .mrpc: "Quality"
        case .stsb: "score"
        case .sst2, .qnli: "label"
        }
    }

    /// The classes, which are also the words that T5 was trained to answer; nil for a regression.
    var labels: [String]? {
        switch self {
        case .mrpc: ["not_equivalent", "equivalent"]
        case .sst2: ["negative", "positive"]
        case .qnli: ["entailment", "not_entailment"]
        case .stsb: nil
        }
    }

    /// How the official file writes the classes.
    var fileLabels: [String]? {
        switch self {
        case .mrpc, .sst2: ["0", "1"]
        case .qnli: labels
        case .stsb: nil
        }
    }
}
