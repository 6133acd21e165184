import MPI
import Models
import Reporting
import Simulation
import Stages
import Support
import TensorCore
import TextData

/// Saves a run: the adapter, where the run stands, and the trace of what its ranks did.
final class RunSaver {
    private let session: Session
    private let context: RankContext
    private let directory: RunDirectory
    private let layout: TrainedLayout
    let checkpoints: CheckpointKeeper
    let traceLog: TraceLog

    /// Collective over the world.
    init(
        _ session: Session, _ directory: RunDirectory, _ choice: PlanChooser.Choice, _ layout: TrainedLayout,
        _ subject: TrainingCheckpoint.Subject, hosts: [String], resumed: TrainingCheckpoint?
    ) throws {
        let (context, experiment) = (session.context, session.experiment)
        self.session = session
        self.context = context
        self.directory = directory
        self.layout = layout
        traceLog = try TraceLog(
            path: directory.tracePath,
            label: choice.plan.label(ofRank: context.rank) + " on \(hosts[context.rank])",
            predicted: choice.profile.map {
                Simulator(
                    profile: $0, costs: experiment.stageCosts($0), schedule: experiment.pipelineSchedule
                ).run(choice.plan).trace
            }, begun: session.start, on: context)
        checkpoints = try CheckpointKeeper(
            directory, experiment.output, subject, choice, layout, hosts: hosts, resumed: resumed, on: context
        )
    }

    /// Saves what the stages hold at the end of an epoch, each handing on its own: the adapter, a checkpoint and the trace.
    /// Collective over the world.
    ///
    /// - Parameter own: this rank's bucket; nil for a rank that the plan leaves out.
    func save(stages own: ParameterBucket?, _ state: TrainingState) throws {
        try context.trace.measureAlways("save", .save) {
            let writer = try makeAdapterWriter()
            try ParameterGathering.stream(from: own, own?.values, layout, on: context, to: [0]) {
                try writer!.append($0)
            }
            try context.world.onRoot { try writer!.finish() }
            try checkpoints.save(from: own, state, epochIsClosed: true)
        }
        try traceLog.write()
    }

    /// Saves a complete model at the end of an epoch, which every rank has: the adapter, a checkpoint and the trace.
    /// Collective over the world.
    func save(complete: ParameterBucket, _ state: TrainingState) throws {
        try context.trace.measureAlways("save", .save) {
            let writer = try makeAdapterWriter()
            try context.world.onRoot {
                let values = complete.values
                try writer!.append(UnsafeBufferPointer(start: values.pointer, count: values.count))
                try writer!.finish()
            }
            try context.world.agree { try checkpoints.save(complete, state, epochIsClosed: true) }
        }
        try traceLog.write()
    }

    /// Begins the adapter's files; nil but on rank 0. Collective over the world.
    private func makeAdapterWriter() throws -> AdapterWriter? {
        try context.world.agree {
            guard let task = session.data.task else { return nil }
            return try AdapterWriter(
                directory.adapterPath, layout.complete, session.experiment, session.model, task: task,
                maximumGenerationLength: session.generationLength)
        }
    }
}

extension Session {
    /// How a validation writes its texts.
    var generation: Generator.Request { Generator.Request(maximumLength: generationLength) }

    /// Room for a text somewhat longer than any that was trained on.
    var generationLength: Int { data.generationLength(limit: experiment.task.maximumSequenceLength) }
}
