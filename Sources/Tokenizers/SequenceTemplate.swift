import Support

/// Where special tokens and the one or two sequences stand in what the model reads.
struct SequenceTemplate: Sendable {
    enum Part: Sendable {
        case special([Int32], typeID: Int32)
        case first(typeID: Int32)
        case second(typeID: Int32)
    }

    private(set) var single: [Part] = [.first(typeID: 0)]
    private(set) var pair: [Part] = [.first(typeID: 0), .second(typeID: 1)]

    /// No special tokens (`"post_processor": null`).
    init() {}

    /// BERT's fixed template in the older layout: `{"sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}`.
    init(bert object: JSONObjectReader) throws {
        let (cls, sep) = (try Self.id("cls", object), try Self.id("sep", object))
        single = [.special([cls], typeID: 0), .first(typeID: 0), .special([sep], typeID: 0)]
        pair = single + [.second(typeID: 1), .special([sep], typeID: 1)]
    }

    /// BART's and RoBERTa's fixed template, `{"sep": ["</s>", 2], "cls": ["<s>", 0]}`.
    init(roberta object: JSONObjectReader) throws {
        self.init(cls: try Self.id("cls", object), sep: try Self.id("sep", object))
    }

    /// `<s> A </s>` and `<s> A </s></s> B </s>`, all of type 0.
    init(cls: Int32, sep: Int32) {
        single = [.special([cls], typeID: 0), .first(typeID: 0), .special([sep], typeID: 0)]
        pair = single + [.special([sep], typeID: 0), .second(typeID: 0), .special([sep], typeID: 0)]
    }

    /// T5's: `A </s>` and `A </s> B </s>`, all of type 0.
    init(end: Int32) {
        single = [.first(typeID: 0), .special([end], typeID: 0)]
        pair = single + [.second(typeID: 0), .special([end], typeID: 0)]
    }

    private static func id(_ key: String, _ object: JSONObjectReader) throws -> Int32 {
        let field = try object.required(key)
        let items = try field.array()
        guard items.count == 2 else { throw field.failure(expected: "a token and its id") }
        return Int32(try items[1].integer(in: 0...Int(Int32.max)))
    }

    /// `TemplateProcessing`.
    init(template object: JSONObjectReader) throws {
        var special: [String: [Int32]] = [:]
        for (name, token) in try object.required("special_tokens").object().all {
            special[name] = try token.object().required("ids").array().map {
                Int32(try $0.integer(in: 0...Int(Int32.max)))
            }
        }
        single = try Self.parts(try object.required("single"), special)
        pair = try Self.parts(try object.required("pair"), special)
    }

    private static func parts(_ field: JSONReader, _ special: [String: [Int32]]) throws -> [Part] {
        try field.array().map { item in
            let kinds = try item.object()
            if let sequence = kinds.optional("Sequence") {
                let object = try sequence.object()
                let type = Int32(try object.required("type_id").integer(in: 0...255))
                let name = try object.required("id").choice(["A", "B"])
                return name == "A" ? .first(typeID: type) : .second(typeID: type)
            }
            let object = try kinds.required("SpecialToken").object()
            let name = try object.required("id")
            guard let ids = special[try name.string()] else {
                throw name.failure(expected: "a key of special_tokens")
            }
            return .special(ids, typeID: Int32(try object.required("type_id").integer(in: 0...255)))
        }
    }

    /// The number of special tokens around one sequence or two.
    func specialTokenCount(isPair: Bool) -> Int {
        (isPair ? pair : single).reduce(0) {
            if case .special(let ids, _) = $1 { $0 + ids.count } else { $0 }
        }
    }

    /// Puts the sequences into the template, cut so that the whole is at most `maximumLength` long.
    ///
    /// Two sequences are cut longest first; special tokens are never cut. Source: tokenizers' `truncate_encodings`.
    func assemble(_ first: [Int32], _ second: [Int32]?, maximumLength: Int) -> Encoding {
        let room = max(0, maximumLength - specialTokenCount(isPair: second != nil))
        let kept = Self.keptCounts(first.count, second?.count, room: room)
        var ids: [Int32] = []
        var typeIDs: [Int32] = []
        func add(_ more: some Collection<Int32>, _ typeID: Int32) {
            ids += more
            typeIDs += repeatElement(typeID, count: more.count)
        }
        for part in second == nil ? single : pair {
            switch part {
            case .special(let tokens, let typeID): add(tokens, typeID)
            case .first(let typeID): add(first.prefix(kept.first), typeID)
            case .second(let typeID): add((second ?? []).prefix(kept.second), typeID)
            }
        }
        let wasTruncated = kept.first < first.count || kept.second < (second?.count ?? 0)
        return Encoding(ids: ids, typeIDs: typeIDs, wasTruncated: wasTruncated)
    }

    private static func keptCounts(_ first: Int, _ second: Int?, room: Int) -> (first: Int, second: Int) {
        guard let second else { return (min(first, room), 0) }
        guard first + second > room else { return (first, second) }
        var short = min(first, second)
        var long = short > room ? short : max(short, room - short)
        if short + long > room {
            short = room / 2
            long = short + room % 2
        }
        return first <= second ? (short, min(long, second)) : (min(long, first), short)
    }
}

/// The ids a model reads for one input, special tokens included.
public struct Encoding: Sendable, Equatable {
    public let ids: [Int32]
    /// Which of the two sequences each token belongs to, as the tokenizer's template says; as long as `ids`.
    public let typeIDs: [Int32]
    /// Whether tokens of the text were left out.
    public let wasTruncated: Bool

    public init(ids: [Int32], typeIDs: [Int32], wasTruncated: Bool) {
        self.ids = ids
        self.typeIDs = typeIDs
        self.wasTruncated = wasTruncated
    }

    /// The same without this token at its end: a text that is continued must not have ended.
    package func without(end token: Int32?) -> Encoding {
        guard ids.count > 1, ids.last == token else { return self }
        return Encoding(ids: ids.dropLast(), typeIDs: typeIDs.dropLast(), wasTruncated: wasTruncated)
    }
}
