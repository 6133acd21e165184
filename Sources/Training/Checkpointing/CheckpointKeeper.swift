import MPI
import Models
import Plans
import Support
import TensorCore

/// Saves where a run stands, on the first rank of every host: whichever host is lost, another has the newest checkpoint.
///
/// A file is written beside its place, synced and renamed: the one before stays until then.
final class CheckpointKeeper {
    private let session: Session
    private let directory: RunDirectory
    private let plan: Plan
    private let owners: [Int]
    private let hosts: [String]
    private let started: Double
    private let reporter: RunReporter
    /// The lowest rank of each host.
    private let keepers: [Int]
    /// The step of the last checkpoint.
    private var lastStep: Int
    private var lastSeconds = MonotonicClock.seconds

    /// - Parameters: `hosts` are those of every rank; `started` is when the run began, in seconds since 1970, on rank 0;
    ///   `lastStep` is that of the checkpoint that it goes on from. Collective over the world.
    init(
        _ session: Session, _ directory: RunDirectory, plan: Plan, owners: [Int], hosts: [String],
        started: Double, lastStep: Int, reporter: RunReporter
    ) throws {
        self.lastStep = lastStep
        self.started = started
        self.session = session
        self.directory = directory
        self.plan = plan
        self.owners = owners
        self.hosts = hosts
        self.reporter = reporter
        keepers = hosts.indices.filter { hosts.firstIndex(of: hosts[$0]) == $0 }
        let isKeeper = keepers.contains(session.world.rank)
        try session.world.agree { if isKeeper { try makeDirectory(directory.checkpointPath) } }
    }

    private var isKeeper: Bool { keepers.contains(session.world.rank) }

    /// Whether it is time for a checkpoint within an epoch. Rank 0 alone decides, as clocks differ.
    func isDue(step: Int) -> Bool {
        guard session.world.rank == 0 else { return false }
        let output = session.experiment.output
        return output.checkpointSteps.map { step - lastStep >= $0 } ?? false
            || output.checkpointSeconds.map { MonotonicClock.seconds - lastSeconds >= $0 } ?? false
    }

    /// Saves what the stages hold in parts. Collective over the world.
    ///
    /// - Parameters: `declarations` are those of all stages; `own` and `state` are this rank's bucket and its optimizer.
    func save(
        _ declarations: [ParameterBucket.Declaration], from own: ParameterBucket?, _ state: TrainingState,
        epochIsClosed: Bool
    ) throws {
        let states = state.optimizer.state
        let writer = try session.world.agree {
            try makeWriter(declarations, state, epochIsClosed: epochIsClosed)
        }
        for buffer in 0...states.count {
            let tensor = own.map { buffer == 0 ? $0.values : states[buffer - 1] }
            try ParameterGathering.stream(
                declarations, from: own, tensor, plan: plan, session: session, to: keepers
            ) { try writer!.append($0) }
        }
        try session.world.agree { try writer?.finish() }
        note(state)
    }

    /// Saves a complete model, which every rank has. Not collective.
    func save(_ complete: ParameterBucket, _ state: TrainingState, epochIsClosed: Bool) throws {
        defer { note(state) }
        guard let writer = try makeWriter(complete.declarations, state, epochIsClosed: epochIsClosed) else {
            return
        }
        for tensor in [complete.values] + state.optimizer.state {
            try writer.append(UnsafeBufferPointer(start: tensor.pointer, count: tensor.count))
        }
        try writer.finish()
    }

    /// Saves a complete model when this rank ends alone, unless the last checkpoint is as new. Not collective.
    func saveAlone(_ complete: ParameterBucket, _ state: TrainingState) throws {
        if state.completedSteps > lastStep { try save(complete, state, epochIsClosed: false) }
    }

    /// Begins this rank's file; nil on a rank that keeps none.
    private func makeWriter(
        _ declarations: [ParameterBucket.Declaration], _ state: TrainingState, epochIsClosed: Bool
    ) throws -> SafetensorsWriter? {
        guard isKeeper else { return nil }
        return try TrainingCheckpoint(
            started: started, step: state.completedSteps, epochIsClosed: epochIsClosed,
            epochLoss: epochIsClosed ? (0, 0) : reporter.epochLoss, session: session, plan: plan,
            owners: owners, hosts: hosts,
            trainableCount: declarations.reduce(0) { $0 + $1.count },
            optimizerStateCount: state.optimizer.state.count
        ).makeWriter(directory.checkpoint(rank: session.world.rank), declarations)
    }

    private func note(_ state: TrainingState) {
        lastStep = state.completedSteps
        lastSeconds = MonotonicClock.seconds
    }
}
