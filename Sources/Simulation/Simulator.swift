import Plans

/// Plays a plan's mini-batch: every rank interprets the action list that the runtime would, with durations
/// from a profile.
///
/// - Computing: a rank's layers over its share, one action at a time; ranks of a host with fewer cores than ranks share
///   them (`SharedProcessor`).
/// - Transfers: each rank sends every rank of the neighbouring stage the rows that both hold, without
///   blocking: sending overlaps with computing. A rank sends one message at a time and receives one at a
///   time, in the order in which they were sent; both directions at once.
/// - The all-reduce begins when its group's last rank has arrived and the last message of any has passed, and
///   takes what `StageCosts` says.
///
/// Deterministic: actions are taken in the order of their time, ties in the order of ranks.
package struct Simulator: Sendable {
    private let profile: Profile
    private let costs: any StepCosts
    private let stageCosts: StageCosts
    private let schedule: PipelineSchedule

    /// - Parameters:
    ///   - costs: `StageCosts` for a measured profile, `AnalyticCosts` for one by formula.
    ///   - schedule: what every rank plays.
    package init(profile: Profile, costs: any StepCosts, schedule: PipelineSchedule) {
        self.schedule = schedule
        self.profile = profile
        self.costs = costs
        stageCosts = StageCosts(profile: profile, schedule: schedule)
    }

    /// Simulates one mini-batch of a plan that is valid for the profile.
    package func run(_ plan: Plan) -> SimulatedStep {
        var state = State(profile, stageCosts, costs, schedule, plan)
        while state.advance() {}
        precondition(state.isDone, "the schedule of the plan never ends: a rank waits for what nobody sends")
        return state.result
    }

    /// One message of a rank for each micro-batch.
    fileprivate struct Peer {
        let index: Int
        let seconds: Double
    }

    /// A rank at work.
    fileprivate struct Worker {
        let rank: Int
        let stage: Int
        let member: Int
        let actions: [PipelineAction]
        let forwardSeconds: Double
        let backwardSeconds: Double
        var toNext: [Peer] = []
        var toPrevious: [Peer] = []
        /// Messages that a micro-batch still lacks, forward and backward, and when its last one arrived.
        var missingForward: [Int] = []
        var missingBackward: [Int] = []
        var forwardArrival: [Double]
        var backwardArrival: [Double]
        var position = 0
        var clock = 0.0
        var busySeconds = 0.0
        var sendsUntil = 0.0
        var receivesUntil = 0.0
        var inFlight = 0
        var peakInFlight = 0
        /// The shared processor that it computes on; nil with a core of its own.
        var processor: Int?
        /// Whether it has told its group that it stands before the all-reduce.
        var waitsForGroup = false
        var isReady = false
        /// Whether it is at an action on a shared processor.
        var computes = false
    }

    fileprivate struct State {
        private let profile: Profile
        private let stageCosts: StageCosts
        private let costs: any StepCosts
        private let plan: Plan
        private var workers: [Worker] = []
        private var spans: [SimulatedStep.Span] = []
        private var groupArrivals: [Int]
        private var processors: [SharedProcessor] = []
        private var ready = TimeQueue()

        init(
            _ profile: Profile, _ stageCosts: StageCosts, _ costs: any StepCosts,
            _ schedule: PipelineSchedule,
            _ plan: Plan
        ) {
            (self.profile, self.stageCosts, self.costs, self.plan) = (profile, stageCosts, costs, plan)
            groupArrivals = Array(repeating: 0, count: plan.stages.count)
            let count = plan.microBatchCount
            for (index, stage) in plan.stages.enumerated() {
                let actions = schedule.actions(
                    stage: index, stageCount: plan.stages.count, microBatchCount: count)
                for (member, rank) in stage.ranks.enumerated() {
                    let samples = Double(stage.share[member])
                    var (forward, backward) = stage.layers.reduce((0.0, 0.0)) { sum, layer in
                        (
                            sum.0 + profile.forwardSeconds(device: rank, layer: layer, samples: samples),
                            sum.1 + profile.backwardSeconds(device: rank, layer: layer, samples: samples)
                        )
                    }
                    if stage.recompute { backward += forward }
                    workers.append(
                        Worker(
                            rank: rank, stage: index, member: member, actions: actions,
                            forwardSeconds: forward,
                            backwardSeconds: backward, forwardArrival: Array(repeating: 0, count: count),
                            backwardArrival: Array(repeating: 0, count: count)))
                }
            }
            connect()
            shareProcessors()
            for index in workers.indices { enqueue(index) }
        }

        /// Finds who exchanges rows with whom.
        private mutating func connect() {
            var start = 0
            for (index, stage) in plan.stages.enumerated().dropLast() {
                let next = plan.stages[index + 1]
                let boundary = stage.layers.upperBound - 1
                let forward = profile.forwardBytesPerSample(after: boundary)
                let backward = profile.backwardBytesPerSample(after: boundary)
                let nextStart = start + stage.ranks.count
                var row = 0
                for (a, aCount) in stage.share.enumerated() {
                    var nextRow = 0
                    for (b, bCount) in next.share.enumerated() {
                        let rows = min(row + aCount, nextRow + bCount) - max(row, nextRow)
                        nextRow += bCount
                        guard rows > 0 else { continue }
                        let link = profile.link(stage.ranks[a], next.ranks[b])
                        func peer(_ index: Int, _ bytes: Double) -> Peer {
                            Peer(index: index, seconds: link.seconds(bytes: Double(rows) * bytes))
                        }
                        workers[start + a].toNext.append(peer(nextStart + b, forward))
                        // Where nothing before the boundary is trained, no gradient comes back.
                        if backward > 0 {
                            workers[nextStart + b].toPrevious.append(peer(start + a, backward))
                        }
                    }
                    row += aCount
                }
                start = nextStart
            }
            for index in workers.indices {
                let (sources, gradients) = workers.reduce((0, 0)) { sum, other in
                    (
                        sum.0 + other.toNext.count { $0.index == index },
                        sum.1 + other.toPrevious.count { $0.index == index }
                    )
                }
                workers[index].missingForward = Array(repeating: sources, count: plan.microBatchCount)
                workers[index].missingBackward = Array(repeating: gradients, count: plan.microBatchCount)
            }
        }

        private mutating func shareProcessors() {
            for (host, ranks) in Dictionary(grouping: profile.devices, by: \.host) {
                let coreCount = ranks.map(\.coreCount).max()!
                guard coreCount < ranks.count else { continue }
                for index in workers.indices where profile.devices[workers[index].rank].host == host {
                    workers[index].processor = processors.count
                }
                processors.append(SharedProcessor(coreCount: coreCount, rankCount: ranks.count))
            }
        }

        var isDone: Bool { workers.allSatisfy { $0.position == $0.actions.count } }

        /// Does what comes next: somebody ends computing on a shared processor, or begins an action.
        ///
        /// - Returns: false when no rank can continue.
        mutating func advance() -> Bool {
            var end: (processor: Int, worker: Int, time: Double)?
            for (index, processor) in processors.enumerated() {
                if let first = processor.firstEnd, first.time < end?.time ?? .infinity {
                    end = (index, first.worker, first.time)
                }
            }
            if let end, end.time <= ready.firstTime ?? .infinity {
                processors[end.processor].end()
                finish(end.worker, at: end.time)
                enqueue(end.worker)
                return true
            }
            guard let index = ready.popFirst() else { return false }
            workers[index].isReady = false
            perform(index)
            return true
        }

        /// Queues a worker whose next action can begin. What it waits for has then arrived, so its time
        /// stays.
        private mutating func enqueue(_ index: Int) {
            guard !workers[index].isReady, !workers[index].computes, let time = startOfNext(index) else {
                return
            }
            workers[index].isReady = true
            ready.insert(index, at: time)
        }

        private func startOfNext(_ index: Int) -> Double? {
            guard workers[index].position < workers[index].actions.count else { return nil }
            let clock = workers[index].clock
            switch workers[index].actions[workers[index].position] {
            case .receiveForward(let m):
                return workers[index].missingForward[m] == 0
                    ? max(clock, workers[index].forwardArrival[m]) : nil
            case .receiveBackward(let m):
                return workers[index].missingBackward[m] == 0
                    ? max(clock, workers[index].backwardArrival[m]) : nil
            case .allReduceGradients: return workers[index].waitsForGroup ? nil : clock
            default: return clock
            }
        }

        private mutating func perform(_ index: Int) {
            let action = workers[index].actions[workers[index].position]
            let start = startOfNext(index)!
            switch action {
            case .receiveForward, .receiveBackward:
                workers[index].clock = start
                workers[index].position += 1
            case .forward:
                workers[index].inFlight += 1
                workers[index].peakInFlight = max(workers[index].peakInFlight, workers[index].inFlight)
                compute(index, workers[index].forwardSeconds)
            case .backward:
                workers[index].inFlight -= 1
                compute(index, workers[index].backwardSeconds)
            case .sendForward(let m):
                for peer in workers[index].toNext {
                    let end = send(from: index, peer, action)
                    workers[peer.index].missingForward[m] -= 1
                    workers[peer.index].forwardArrival[m] = max(workers[peer.index].forwardArrival[m], end)
                    enqueue(peer.index)
                }
                workers[index].position += 1
            case .sendBackward(let m):
                for peer in workers[index].toPrevious {
                    let end = send(from: index, peer, action)
                    workers[peer.index].missingBackward[m] -= 1
                    workers[peer.index].backwardArrival[m] = max(
                        workers[peer.index].backwardArrival[m], end)
                    enqueue(peer.index)
                }
                workers[index].position += 1
            case .allReduceGradients: arrive(index)
            case .optimizerStep:
                compute(
                    index,
                    costs.optimizerSeconds(plan.stages[workers[index].stage], member: workers[index].member))
            }
            enqueue(index)
        }

        private mutating func compute(_ index: Int, _ seconds: Double) {
            guard let processor = workers[index].processor, seconds > 0 else {
                return finish(index, at: workers[index].clock + seconds)
            }
            workers[index].computes = true
            processors[processor].begin(index, seconds: seconds, at: workers[index].clock)
        }

        /// Ends the action that a worker computes.
        private mutating func finish(_ index: Int, at end: Double) {
            let start = workers[index].clock
            if end > start {
                record(
                    workers[index].rank, .compute, workers[index].actions[workers[index].position], start,
                    end - start)
            }
            workers[index].clock = end
            workers[index].busySeconds += end - start
            workers[index].position += 1
            workers[index].computes = false
        }

        /// Queues one message; returns when it has arrived.
        private mutating func send(from index: Int, _ peer: Peer, _ action: PipelineAction) -> Double {
            let start = max(
                workers[index].clock, workers[index].sendsUntil, workers[peer.index].receivesUntil)
            let end = start + peer.seconds
            workers[index].sendsUntil = end
            workers[peer.index].receivesUntil = end
            record(workers[index].rank, .network, action, start, peer.seconds)
            return end
        }

        private mutating func arrive(_ index: Int) {
            let stage = workers[index].stage
            workers[index].waitsForGroup = true
            groupArrivals[stage] += 1
            let plan = plan.stages[stage]
            guard groupArrivals[stage] == plan.ranks.count else { return }
            let members = workers.indices.filter { workers[$0].stage == stage }
            let start = members.reduce(0.0) {
                max($0, workers[$1].clock, workers[$1].sendsUntil, workers[$1].receivesUntil)
            }
            let seconds = stageCosts.allReduceSeconds(layers: plan.layers, ranks: plan.ranks)
            for member in members {
                if seconds > 0 { record(workers[member].rank, .network, .allReduceGradients, start, seconds) }
                workers[member].clock = start + seconds
                workers[member].position += 1
                enqueue(member)
            }
        }

        private mutating func record(
            _ rank: Int, _ lane: SimulatedStep.Lane, _ action: PipelineAction, _ start: Double,
            _ seconds: Double
        ) {
            spans.append(
                SimulatedStep.Span(
                    rank: rank, lane: lane, name: action.description, start: start, seconds: seconds))
        }

        var result: SimulatedStep {
            SimulatedStep(
                stepSeconds: workers.reduce(0) { max($0, $1.clock) },
                ranks: workers.map {
                    SimulatedStep.Rank(
                        rank: $0.rank, stage: $0.stage, busySeconds: $0.busySeconds,
                        peakInFlightCount: $0.peakInFlight,
                        peakBytes: costs.peakBytes(
                            plan.stages[$0.stage], member: $0.member, inFlightCount: $0.peakInFlight,
                            microBatchCount: plan.microBatchCount))
                }, spans: spans)
        }
    }
}

/// When each rank can continue: a binary heap, the earliest time first, ties in the order of indices.
private struct TimeQueue {
    private var entries: [(time: Double, index: Int)] = []

    private func precedes(_ a: Int, _ b: Int) -> Bool { entries[a] < entries[b] }

    mutating func insert(_ index: Int, at time: Double) {
        entries.append((time, index))
        var child = entries.count - 1
        while child > 0, precedes(child, (child - 1) / 2) {
            entries.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    var firstTime: Double? { entries.first?.time }

    mutating func popFirst() -> Int? {
        guard let first = entries.first else { return nil }
        entries.swapAt(0, entries.count - 1)
        entries.removeLast()
        var parent = 0
        while true {
            let children = [2 * parent + 1, 2 * parent + 2].filter { $0 < entries.count }
            guard let least = children.min(by: precedes), precedes(least, parent) else { break }
            entries.swapAt(parent, least)
            parent = least
        }
        return first.index
    }
}
