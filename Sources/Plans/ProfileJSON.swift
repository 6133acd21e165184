import Support

extension Profile {
    /// Reads a `profile.json`, strictly.
    ///
    /// - Throws: a configuration failure that names file, line, key path, what was expected and what was found.
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "devices", "layers", "links", "mean_tokens", "sample_count", "peak_tokens",
        ])
        let devices = try object.required("devices").array().map { try DeviceProfile($0) }
        let layers = try object.required("layers").array().map { try LayerProfile($0) }
        let links = try object.required("links").array().map { try LinkProfile($0) }
        let tokens = try TokenCounts(try object.required("mean_tokens"))
        let peaks = try object.optional("peak_tokens")?.array().map { try TokenCounts($0) } ?? []
        let samples = try object.optional("sample_count")?.integer(in: 1...1_000_000_000)
        do {
            try self.init(
                devices: devices, layers: layers, links: links, meanTokens: tokens, sampleCount: samples,
                peakTokens: peaks)
        } catch let failure as Failure {
            throw Failure.configuration("\(reader.place): \(failure.message)")
        }
    }

    package var json: JSONValue {
        .dictionary([
            ("mean_tokens", meanTokens.json), ("sample_count", sampleCount.map { JSONValue($0) } ?? .null),
            ("peak_tokens", .array(peakTokens.map(\.json))),
            ("layers", .array(layers.map(\.json))),
            ("devices", .array(devices.map(\.json))), ("links", .array(links.map(\.json))),
        ])
    }
}

extension TokenCounts {
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["source", "target"])
        self.init(
            source: try object.required("source").amount(), target: try object.required("target").amount())
    }

    package var json: JSONValue {
        .dictionary([("source", JSONValue(source)), ("target", JSONValue(target))])
    }
}

extension LayerProfile {
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "name", "kind", "parameter_bytes", "trainable_bytes", "forward_bytes_per_token",
            "backward_bytes_per_token", "saved_bytes_per_sample", "transient_bytes_per_sample",
            "held_input_bytes_per_sample", "shared_parameters", "cache_bytes_per_sample",
        ])
        let kind = try object.required("kind").choice(Kind.allCases.map(\.rawValue))
        let parameterBytes = try object.required("parameter_bytes").bytes()
        let trainableReader = try object.required("trainable_bytes")
        let trainableBytes = try trainableReader.bytes()
        guard trainableBytes <= parameterBytes else {
            throw trainableReader.failure(expected: "at most the layer's parameter_bytes, \(parameterBytes)")
        }
        self.init(
            name: try object.required("name").string(),
            kind: Kind(rawValue: kind)!,  // `choice` let only these words through
            parameterBytes: parameterBytes, trainableBytes: trainableBytes,
            forwardBytesPerToken: try TokenCounts(try object.required("forward_bytes_per_token")),
            backwardBytesPerToken: try TokenCounts(try object.required("backward_bytes_per_token")),
            savedBytesPerSample: try object.required("saved_bytes_per_sample").amount(),
            transientBytesPerSample: try object.required("transient_bytes_per_sample").amount(),
            heldInputBytesPerSample: try object.optional("held_input_bytes_per_sample")?.amount() ?? 0,
            sharedParameters: try object.optional("shared_parameters")?.array().map {
                try SharedParameter($0)
            } ?? [],
            cacheBytesPerSample: try object.optional("cache_bytes_per_sample")?.amount() ?? 0)
    }

    package var json: JSONValue {
        .dictionary([
            ("name", JSONValue(name)), ("kind", JSONValue(kind.rawValue)),
            ("parameter_bytes", JSONValue(parameterBytes)), ("trainable_bytes", JSONValue(trainableBytes)),
            ("forward_bytes_per_token", forwardBytesPerToken.json),
            ("backward_bytes_per_token", backwardBytesPerToken.json),
            ("saved_bytes_per_sample", JSONValue(savedBytesPerSample)),
            ("transient_bytes_per_sample", JSONValue(transientBytesPerSample)),
            ("held_input_bytes_per_sample", JSONValue(heldInputBytesPerSample)),
            ("shared_parameters", .array(sharedParameters.map(\.json))),
            ("cache_bytes_per_sample", JSONValue(cacheBytesPerSample)),
        ])
    }
}

extension LayerProfile.SharedParameter {
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["name", "bytes", "trainable"])
        self.init(
            name: try object.required("name").string(), bytes: try object.required("bytes").bytes(),
            isTrainable: try object.required("trainable").bool())
    }

    package var json: JSONValue {
        .dictionary([
            ("name", JSONValue(name)), ("bytes", JSONValue(bytes)), ("trainable", .bool(isTrainable)),
        ])
    }
}

extension DeviceProfile {
    /// Reads one device of a `profile.json`, strictly; every rank sends its own to rank 0 in this form.
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "rank", "host", "cores", "threads", "memory_bytes", "memory_budget_bytes", "blas_core",
            "micro_batch_sizes",
            "layers",
        ])
        self.init(
            rank: try object.required("rank").integer(in: 0...1_000_000),
            host: try object.required("host").string(),
            coreCount: try object.required("cores").integer(in: 1...1_000_000),
            threadCount: try object.optional("threads")?.integer(in: 1...1_000_000) ?? 1,
            memoryBytes: try object.required("memory_bytes").bytes(),
            memoryBudgetBytes: try object.optional("memory_budget_bytes")?.bytes(),
            blasCore: try object.required("blas_core").string(),
            microBatchSizes: try object.required("micro_batch_sizes").array().map {
                try $0.integer(in: 1...1_000_000)
            },
            layers: try object.required("layers").array().map { try LayerTimes($0) })
    }

    package var json: JSONValue {
        .dictionary([
            ("rank", JSONValue(rank)), ("host", JSONValue(host)), ("cores", JSONValue(coreCount)),
            ("threads", JSONValue(threadCount)), ("memory_bytes", JSONValue(memoryBytes)),
            ("memory_budget_bytes", memoryBudgetBytes.map { JSONValue($0) } ?? .null),
            ("blas_core", JSONValue(blasCore)),
            ("micro_batch_sizes", .array(microBatchSizes.map { JSONValue($0) })),
            ("layers", .array(layers.map(\.json))),
        ])
    }
}

extension LayerTimes {
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["forward_seconds", "backward_seconds"])
        func list(_ key: String) throws -> [Double] {
            try object.required(key).array().map { try $0.seconds() }
        }
        self.init(forwardSeconds: try list("forward_seconds"), backwardSeconds: try list("backward_seconds"))
    }

    package var json: JSONValue {
        func list(_ seconds: [Double]) -> JSONValue { .array(seconds.map { JSONValue($0) }) }
        return .dictionary([
            ("forward_seconds", list(forwardSeconds)), ("backward_seconds", list(backwardSeconds)),
        ])
    }
}

extension LinkProfile {
    /// Reads what `json` writes, strictly.
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["ranks", "bandwidth", "latency_seconds"])
        let ranksReader = try object.required("ranks")
        let ranks = try ranksReader.array().map { try $0.integer(in: 0...1_000_000) }
        guard ranks.count == 2 else { throw ranksReader.failure(expected: "two ranks") }
        let bandwidthReader = try object.required("bandwidth")
        guard let bandwidth = bandwidthReader.value.number, bandwidth > 0 else {
            throw bandwidthReader.failure(expected: "bytes per second above 0")
        }
        self.init(
            ranks: (ranks[0], ranks[1]), bandwidth: bandwidth,
            latencySeconds: try object.required("latency_seconds").seconds())
    }

    package var json: JSONValue {
        .dictionary([
            ("ranks", [JSONValue(ranks.0), JSONValue(ranks.1)]), ("bandwidth", JSONValue(bandwidth)),
            ("latency_seconds", JSONValue(latencySeconds)),
        ])
    }
}

extension JSONReader {
    /// A whole number of bytes, up to a pebibyte, so that sums and small multiples cannot overflow.
    package func bytes() throws -> Int { try integer(in: 0...(1 << 50)) }

    /// A number of at least 0.
    func amount() throws -> Double {
        guard let number = value.number, number >= 0 else {
            throw failure(expected: "a number of at least 0")
        }
        return number
    }
}
