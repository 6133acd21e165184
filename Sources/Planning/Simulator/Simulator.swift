/// Plays a plan's mini-batch: every rank interprets the action list that the runtime would, with durations
/// from a profile.
///
/// - Computing: a rank's layers over its share, one action at a time.
/// - Transfers: each rank sends every rank of the neighbouring stage the rows that both hold, without
///   blocking: sending
///   overlaps with computing. A rank sends one message at a time and receives one at a time, in the order
/// in which they were
///   sent; both directions at once.
/// - The all-reduce begins when its group's last rank arrives, and takes what `StageCosts` says.
///
/// Deterministic: actions are taken in the order of their time, ties in the order of ranks.
public struct Simulator: Sendable {
    private let profile: Profile
    private let costs: any StepCosts
    private let stageCosts: StageCosts

    /// - Parameter costs: `StageCosts` for a measured profile, `AnalyticCosts` for one by formula.
    public init(profile: Profile, costs: any StepCosts) {
        self.profile = profile
        self.costs = costs
        stageCosts = StageCosts(profile: profile)
    }

    /// Simulates one mini-batch of a plan that is valid for the profile.
    public func run(_ plan: Plan) -> Simulation {
        var state = State(profile, stageCosts, costs, plan)
        while let next = state.earliest() { state.perform(next) }
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
        /// Whether it has told its group that it stands before the all-reduce.
        var waitsForGroup = false
    }

    fileprivate struct State {
        private let profile: Profile
        private let stageCosts: StageCosts
        private let costs: any StepCosts
        private let plan: Plan
        private var workers: [Worker] = []
        private var spans: [Simulation.Span] = []
        private var groupArrivals: [Int]

        init(_ profile: Profile, _ stageCosts: StageCosts, _ costs: any StepCosts, _ plan: Plan) {
            (self.profile, self.stageCosts, self.costs, self.plan) = (profile, stageCosts, costs, plan)
            groupArrivals = Array(repeating: 0, count: plan.stages.count)
            let count = plan.microBatchCount
            for (index, stage) in plan.stages.enumerated() {
                let actions = Schedule.oneForwardOneBackward(
                    stage: index, stageCount: plan.stages.count, microBatchCount: count)
                for (member, rank) in stage.ranks.enumerated() {
                    let samples = Double(stage.share[member])
                    let (forward, backward) = stage.layers.reduce((0.0, 0.0)) { sum, layer in
                        (
                            sum.0 + profile.forwardSeconds(device: rank, layer: layer, samples: samples),
                            sum.1 + profile.backwardSeconds(device: rank, layer: layer, samples: samples)
                        )
                    }
                    workers.append(
                        Worker(
                            rank: rank, stage: index, member: member, actions: actions,
                            forwardSeconds: forward,
                            backwardSeconds: backward, forwardArrival: Array(repeating: 0, count: count),
                            backwardArrival: Array(repeating: 0, count: count)))
                }
            }
            connect()
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

        var isDone: Bool { workers.allSatisfy { $0.position == $0.actions.count } }

        /// The worker whose next action can begin first; nil when none can.
        func earliest() -> Int? {
            var best: (index: Int, time: Double)?
            for index in workers.indices {
                guard let time = startOfNext(index) else { continue }
                if best == nil || time < best!.time { best = (index, time) }
            }
            return best?.index
        }

        private func startOfNext(_ index: Int) -> Double? {
            let worker = workers[index]
            guard worker.position < worker.actions.count else { return nil }
            switch worker.actions[worker.position] {
            case .receiveForward(let m):
                return worker.missingForward[m] == 0 ? max(worker.clock, worker.forwardArrival[m]) : nil
            case .receiveBackward(let m):
                return worker.missingBackward[m] == 0 ? max(worker.clock, worker.backwardArrival[m]) : nil
            case .allReduceGradients: return worker.waitsForGroup ? nil : worker.clock
            default: return worker.clock
            }
        }

        mutating func perform(_ index: Int) {
            let action = workers[index].actions[workers[index].position]
            let start = startOfNext(index)!
            switch action {
            case .receiveForward, .receiveBackward:
                workers[index].clock = start
                workers[index].position += 1
            case .forward:
                workers[index].inFlight += 1
                workers[index].peakInFlight = max(workers[index].peakInFlight, workers[index].inFlight)
                compute(index, action, workers[index].forwardSeconds)
            case .backward:
                workers[index].inFlight -= 1
                compute(index, action, workers[index].backwardSeconds)
            case .sendForward(let m):
                for peer in workers[index].toNext {
                    let end = send(from: index, peer, action)
                    workers[peer.index].missingForward[m] -= 1
                    workers[peer.index].forwardArrival[m] = max(workers[peer.index].forwardArrival[m], end)
                }
                workers[index].position += 1
            case .sendBackward(let m):
                for peer in workers[index].toPrevious {
                    let end = send(from: index, peer, action)
                    workers[peer.index].missingBackward[m] -= 1
                    workers[peer.index].backwardArrival[m] = max(workers[peer.index].backwardArrival[m], end)
                }
                workers[index].position += 1
            case .allReduceGradients: arrive(index)
            case .optimizerStep:
                compute(
                    index, action,
                    costs.optimizerSeconds(plan.stages[workers[index].stage], member: workers[index].member))
            }
        }

        private mutating func compute(_ index: Int, _ action: PipelineAction, _ seconds: Double) {
            if seconds > 0 { record(workers[index].rank, .compute, action, workers[index].clock, seconds) }
            workers[index].clock += seconds
            workers[index].busySeconds += seconds
            workers[index].position += 1
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
            let start = members.reduce(0.0) { max($0, workers[$1].clock) }
            let seconds = stageCosts.allReduceSeconds(layers: plan.layers, ranks: plan.ranks)
            for member in members {
                if seconds > 0 { record(workers[member].rank, .network, .allReduceGradients, start, seconds) }
                workers[member].clock = start + seconds
                workers[member].position += 1
            }
        }

        private mutating func record(
            _ rank: Int, _ lane: Simulation.Lane, _ action: PipelineAction, _ start: Double, _ seconds: Double
        ) {
            spans.append(
                Simulation.Span(
                    rank: rank, lane: lane, name: action.description, start: start, seconds: seconds))
        }

        var result: Simulation {
            Simulation(
                stepSeconds: workers.reduce(0) { max($0, $1.clock) },
                ranks: workers.map {
                    Simulation.Rank(
                        rank: $0.rank, stage: $0.stage, busySeconds: $0.busySeconds,
                        peakInFlightCount: $0.peakInFlight,
                        peakBytes: costs.peakBytes(
                            plan.stages[$0.stage], member: $0.member, inFlightCount: $0.peakInFlight))
                }, spans: spans)
        }
    }
}

/// One mini-batch as it was simulated.
public struct Simulation: Sendable, Equatable {
    public enum Lane: String, Sendable { case compute, network }

    /// Something that took time on one rank.
    public struct Span: Sendable, Equatable {
        public var rank: Int
        public var lane: Lane
        /// The action as `PipelineAction` writes it. A message is its sender's.
        public var name: String
        /// Seconds since the mini-batch began.
        public var start: Double
        public var seconds: Double
    }

    public struct Rank: Sendable, Equatable {
        public var rank: Int
        public var stage: Int
        /// Computing, the optimizer's step included.
        public var busySeconds: Double
        /// The most micro-batches between forward and backward.
        public var peakInFlightCount: Int
        public var peakBytes: Int
    }

    /// Until the last rank has stepped its optimizer.
    public var stepSeconds: Double
    /// The ranks of the plan, by stage.
    public var ranks: [Rank]
    public var spans: [Span]

    /// The share of the step in which a rank does not compute.
    public func bubbleFraction(_ rank: Rank) -> Double {
        stepSeconds > 0 ? 1 - rank.busySeconds / stepSeconds : 0
    }

    /// The mean over the ranks.
    public var bubbleFraction: Double {
        ranks.reduce(0) { $0 + bubbleFraction($1) } / Double(max(1, ranks.count))
    }
}
