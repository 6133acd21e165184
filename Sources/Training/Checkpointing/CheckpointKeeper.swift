import Configuration
import MPI
import Models
import Plans
import Stages
import Support
import TensorCore
import WeightFiles

/// Saves where a run stands, on the first rank of every host: whichever host is lost, another has the newest checkpoint.
///
/// A file is written beside its place, synced and renamed: the one before stays until then.
final class CheckpointKeeper {
    private let context: RankContext
    private let output: Experiment.Output
    private let subject: TrainingCheckpoint.Subject
    private let directory: RunDirectory
    private let choice: PlanChooser.Choice
    private let layout: TrainedLayout
    private let hosts: [String]
    private let started: Double
    /// The lowest rank of each host.
    private let keepers: [Int]
    /// The step of the last checkpoint.
    private var lastStep: Int
    private var lastSeconds = MonotonicClock.seconds

    /// - Parameters: `output` says how often; `layout` is that of the chosen plan; `hosts` are those of every rank; `resumed`
    ///   is the checkpoint that the run goes on from. Collective over the world.
    init(
        _ directory: RunDirectory, _ output: Experiment.Output, _ subject: TrainingCheckpoint.Subject,
        _ choice: PlanChooser.Choice, _ layout: TrainedLayout, hosts: [String],
        resumed: TrainingCheckpoint?, on context: RankContext
    ) throws {
        self.context = context
        self.output = output
        self.subject = subject
        self.directory = directory
        self.choice = choice
        self.layout = layout
        self.hosts = hosts
        lastStep = resumed?.step ?? 0
        // Seconds since 1970, on rank 0's clock.
        let started = try context.world.fromRoot { Array("\(resumed?.started ?? WallClock.seconds)".utf8) }
        self.started = Double(String(decoding: started, as: UTF8.self))!
        keepers = hosts.indices.filter { hosts.firstIndex(of: hosts[$0]) == $0 }
        let isKeeper = keepers.contains(context.rank)
        try context.world.agree { if isKeeper { try makeDirectory(directory.checkpointPath) } }
    }

    private var isKeeper: Bool { keepers.contains(context.rank) }

    /// Whether it is time for a checkpoint within an epoch. Rank 0 alone decides, as clocks differ.
    func isDue(step: Int) -> Bool {
        guard context.rank == 0 else { return false }
        return output.checkpointSteps.map { step - lastStep >= $0 } ?? false
            || output.checkpointSeconds.map { MonotonicClock.seconds - lastSeconds >= $0 } ?? false
    }

    /// Saves what the stages hold in parts. Collective over the world.
    ///
    /// - Parameters: `own` and `state` are this rank's bucket and its optimizer.
    func save(from own: ParameterBucket?, _ state: TrainingState, epochIsClosed: Bool) throws {
        let states = state.optimizer.state
        let writer = try context.world.agree {
            try makeWriter(layout.complete, state, epochIsClosed: epochIsClosed)
        }
        for buffer in 0...states.count {
            let tensor = own.map { buffer == 0 ? $0.values : states[buffer - 1] }
            try ParameterGathering.stream(from: own, tensor, layout, on: context, to: keepers) {
                try writer!.append($0)
            }
        }
        try context.world.agree { try writer?.finish() }
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
            started: started, state, epochIsClosed: epochIsClosed, subject, plan: choice.plan,
            owners: choice.owners, hosts: hosts, trainableCount: declarations.reduce(0) { $0 + $1.count }
        ).makeWriter(directory.checkpoint(rank: context.rank), declarations)
    }

    private func note(_ state: TrainingState) {
        lastStep = state.completedSteps
        lastSeconds = MonotonicClock.seconds
    }
}
