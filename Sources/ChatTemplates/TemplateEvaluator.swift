import Support

/// Runs a template's nodes.
struct TemplateEvaluator {
    private var scopes: [[String: TemplateValue]]
    private var output = ""

    private enum Leave: Error { case loop(isBreak: Bool) }

    static func render(_ nodes: [TemplateNode], with names: [String: TemplateValue]) throws -> String {
        var evaluator = TemplateEvaluator(scopes: [names])
        try evaluator.run(nodes)
        return evaluator.output
    }

    private init(scopes: [[String: TemplateValue]]) { self.scopes = scopes }

    // MARK: Nodes

    private mutating func run(_ nodes: [TemplateNode]) throws {
        for node in nodes { try run(node) }
    }

    private mutating func run(_ node: TemplateNode) throws {
        switch node {
        case .text(let text): output += text
        case .output(let expression, let place):
            let value = try value(expression, place)
            guard let text = value.printed else { throw place.failure("\(value.kind) cannot be printed") }
            output += text
        case .set(let name, let attribute, let expression, let place):
            let value = try value(expression, place)
            guard let attribute else {
                scopes[scopes.count - 1][name] = value
                return
            }
            guard case .namespace(let space) = lookUp(name) else {
                throw place.failure("expected a namespace as \"\(name)\", whose \"\(attribute)\" is set")
            }
            space.values[attribute] = value
        case .condition(let branches, let place):
            for (condition, body) in branches {
                guard try condition.map({ try value($0, place).isTrue }) ?? true else { continue }
                return try run(body)
            }
        case .loop(let names, let items, let condition, let body, let otherwise, let place):
            try loop(names, items, condition, body, otherwise, place)
        case .leave(let isBreak): throw Leave.loop(isBreak: isBreak)
        }
    }

    private mutating func loop(
        _ names: [String], _ items: TemplateExpression, _ condition: TemplateExpression?,
        _ body: [TemplateNode], _ otherwise: [TemplateNode], _ place: TemplatePlace
    ) throws {
        var kept: [[String: TemplateValue]] = []
        for item in try elements(try value(items, place), place) {
            let bound = try bind(names, to: item, place)
            scopes.append(bound)
            defer { scopes.removeLast() }
            if try condition.map({ try value($0, place).isTrue }) ?? true { kept.append(bound) }
        }
        if kept.isEmpty { return try run(otherwise) }
        for (index, bound) in kept.enumerated() {
            let loop: [(String, TemplateValue)] = [
                ("first", .bool(index == 0)), ("last", .bool(index == kept.count - 1)),
                ("index", .integer(index + 1)), ("index0", .integer(index)), ("length", .integer(kept.count)),
                ("revindex", .integer(kept.count - index)), ("revindex0", .integer(kept.count - index - 1)),
            ]
            scopes.append(bound.merging(["loop": .dictionary(loop.map { (key: $0, value: $1) })]) { $1 })
            defer { scopes.removeLast() }
            do { try run(body) } catch Leave.loop(let isBreak) {
                if isBreak { return }
            }
        }
    }

    private func bind(_ names: [String], to item: TemplateValue, _ place: TemplatePlace) throws -> [String:
        TemplateValue]
    {
        if names.count == 1 { return [names[0]: item] }
        guard case .list(let parts) = item, parts.count == names.count else {
            throw place.failure("expected \(names.count) values for \(names.joined(separator: ", "))")
        }
        return Dictionary(uniqueKeysWithValues: zip(names, parts))
    }

    private func lookUp(_ name: String) -> TemplateValue {
        for scope in scopes.reversed() {
            if let value = scope[name] { return value }
        }
        return .undefined(name)
    }

    // MARK: Expressions

    private func value(_ expression: TemplateExpression, _ place: TemplatePlace) throws -> TemplateValue {
        switch expression {
        case .literal(let value): return value
        case .name(let name): return lookUp(name)
        case .list(let items): return .list(try items.map { try value($0, place) })
        case .dictionary(let members):
            return .dictionary(
                try members.map { (key: try place.text(value($0.0, place)), value: try value($0.1, place)) })
        case .attribute(let object, let name):
            return try member(value(object, place), name, place)
        case .subscripted(let object, let index):
            return try element(value(object, place), at: value(index, place), place)
        case .slice(let object, let from, let to, let step):
            let bounds = try [from, to, step].map { try $0.map { try place.integer(value($0, place)) } }
            return try slice(value(object, place), bounds, place)
        case .call(let function, let arguments, let named):
            return try call(
                function, arguments.map { try value($0, place) },
                named.map { ($0.0, try value($0.1, place)) }, place)
        case .filter(let object, let name, let arguments, let named):
            if let key = named.first {
                throw place.failure("the filter \"\(name)\" with \"\(key)\" is not built in")
            }
            return try TemplateFunctions.filter(
                name, value(object, place), arguments.map { try value($0, place) }, place)
        case .test(let object, let name, let arguments, let isNegated):
            let holds = try TemplateFunctions.test(
                name, value(object, place), arguments.map { try value($0, place) }, place)
            return .bool(holds != isNegated)
        case .not(let operand): return .bool(!(try value(operand, place).isTrue))
        case .negative(let operand): return .integer(-(try place.integer(value(operand, place))))
        case .binary(let symbol, let left, let right): return try binary(symbol, left, right, place)
        case .conditional(let condition, let then, let otherwise):
            if try value(condition, place).isTrue { return try value(then, place) }
            return try otherwise.map { try value($0, place) } ?? .undefined("else")
        }
    }

    private func binary(
        _ symbol: String, _ left: TemplateExpression, _ right: TemplateExpression, _ place: TemplatePlace
    ) throws -> TemplateValue {
        let a = try value(left, place)
        switch symbol {
        case "and": return a.isTrue ? try value(right, place) : a
        case "or": return a.isTrue ? a : try value(right, place)
        default: break
        }
        let b = try value(right, place)
        switch symbol {
        case "==": return .bool(a.equals(b))
        case "!=": return .bool(!a.equals(b))
        case "~": return .string(try place.text(a) + place.text(b))
        case "in": return .bool(try contains(b, a, place))
        case "+":
            if case .string(let x) = a, case .string(let y) = b { return .string(x + y) }
            if case .list(let x) = a, case .list(let y) = b { return .list(x + y) }
            return .integer(try place.integer(a) + place.integer(b))
        case "-": return .integer(try place.integer(a) - place.integer(b))
        case "*": return .integer(try place.integer(a) * place.integer(b))
        case "//", "%":
            let (x, y) = (try place.integer(a), try place.integer(b))
            guard y != 0 else { throw place.failure("a division by zero") }
            // Python rounds down.
            let remainder = ((x % y) + y) % y
            return .integer(symbol == "%" ? remainder : (x - remainder) / y)
        default:
            let (x, y) = (try place.integer(a), try place.integer(b))
            return .bool(symbol == "<" ? x < y : symbol == ">" ? x > y : symbol == "<=" ? x <= y : x >= y)
        }
    }

    private func contains(_ container: TemplateValue, _ item: TemplateValue, _ place: TemplatePlace) throws
        -> Bool
    {
        switch container {
        case .string(let text):
            return try TemplateFunctions.range(of: place.text(item), in: text) != nil
        case .list(let items): return items.contains { $0.equals(item) }
        case .dictionary: return container.member(try place.text(item)) != nil
        default:
            throw place.failure("expected a text, a list or an object to look into, found \(container.kind)")
        }
    }

    private func member(_ object: TemplateValue, _ name: String, _ place: TemplatePlace) throws
        -> TemplateValue
    {
        if let value = object.member(name) { return value }
        if case .undefined(let base) = object {
            throw place.failure("\"\(base)\" is undefined and has no \"\(name)\"")
        }
        return .undefined(name)
    }

    private func element(_ object: TemplateValue, at index: TemplateValue, _ place: TemplatePlace) throws
        -> TemplateValue
    {
        switch (object, index) {
        case (.list(let items), .integer(let i)):
            let index = i < 0 ? items.count + i : i
            return items.indices.contains(index) ? items[index] : .undefined("[\(i)]")
        case (.string(let text), .integer(let i)):
            let scalars = Array(text.unicodeScalars)
            let index = i < 0 ? scalars.count + i : i
            return scalars.indices.contains(index) ? .string(String(scalars[index])) : .undefined("[\(i)]")
        case (_, .string(let name)): return try member(object, name, place)
        default: throw place.failure("\(object.kind) has no element \(index.printed ?? index.kind)")
        }
    }

    private func slice(_ object: TemplateValue, _ bounds: [Int?], _ place: TemplatePlace) throws
        -> TemplateValue
    {
        func indices(_ count: Int) throws -> [Int] {
            let step = bounds[2] ?? 1
            guard step != 0 else { throw place.failure("a slice with step 0") }
            func resolved(_ bound: Int?, _ fallback: Int) -> Int {
                guard let bound else { return fallback }
                let wrapped = bound < 0 ? bound + count : bound
                return step > 0 ? min(max(wrapped, 0), count) : min(max(wrapped, -1), count - 1)
            }
            return Array(
                stride(
                    from: resolved(bounds[0], step > 0 ? 0 : count - 1),
                    to: resolved(bounds[1], step > 0 ? count : -1),
                    by: step))
        }
        switch object {
        case .list(let items): return .list(try indices(items.count).map { items[$0] })
        case .string(let text):
            let scalars = Array(text.unicodeScalars)
            return .string(String(String.UnicodeScalarView(try indices(scalars.count).map { scalars[$0] })))
        default: throw place.failure("expected a list or a text to cut, found \(object.kind)")
        }
    }

    private func call(
        _ function: TemplateExpression, _ arguments: [TemplateValue], _ named: [(String, TemplateValue)],
        _ place: TemplatePlace
    ) throws -> TemplateValue {
        if case .attribute(let object, let name) = function {
            return try TemplateFunctions.method(name, value(object, place), arguments, place)
        }
        guard case .name(let name) = function else {
            preconditionFailure("the parser lets no other be called")
        }
        switch name {
        case "raise_exception":
            throw place.failure(try arguments.first.map { try place.text($0) } ?? "the template refuses")
        case "namespace":
            return .namespace(TemplateNamespace(Dictionary(named) { $1 }))
        case "range":
            let bounds = try arguments.map { try place.integer($0) }
            guard (1...2).contains(bounds.count) else {
                throw place.failure("range: expected one number or two")
            }
            let (low, high) = bounds.count == 1 ? (0, bounds[0]) : (bounds[0], bounds[1])
            return .list((low..<max(low, high)).map { .integer($0) })
        default:
            throw place.failure("\"\(name)\" would make the text depend on the day: it is not built in")
        }
    }

    private func elements(_ value: TemplateValue, _ place: TemplatePlace) throws -> [TemplateValue] {
        switch value {
        case .list(let items): return items
        case .dictionary(let members): return members.map { .string($0.key) }
        case .undefined: return []
        default: throw place.failure("expected a list to go through, found \(value.kind)")
        }
    }
}
