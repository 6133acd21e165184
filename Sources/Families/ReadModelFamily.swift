import Models
import Support
import WeightFiles

/// Reads the family of a model directory: its `config.json` and, where there is one, its `generation_config.json`.
///
/// - Throws: when the files ask for a model that this build does not run, naming file and key.
package func readModelFamily(directory: String) throws -> any ModelFamily {
    let generation = directory + "/generation_config.json"
    return try readModelFamily(
        Checkpoint.readConfiguration(directory),
        generation: fileExists(generation)
            ? JSONReader(contentsOf: generation) : nil)
}

/// Reads a family from the contents of the files.
package func readModelFamily(_ configuration: JSONReader, generation: JSONReader? = nil) throws
    -> any ModelFamily
{
    let files = try ModelConfiguration(configuration, generation: generation)
    let type = try files.model.required("model_type")
    switch try type.string() {
    case "bert": return try BertFamily(files)
    case "t5": return try T5Family(files)
    case "bart": return try BartFamily(files)
    case "llama", "qwen2": return try LlamaFamily(files)
    default: throw type.failure(expected: "one of \"bert\", \"t5\", \"bart\", \"llama\", \"qwen2\"")
    }
}
