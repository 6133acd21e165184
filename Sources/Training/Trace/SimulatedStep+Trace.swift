import Plans
import Reporting
import Simulation

extension SimulatedStep {
    /// The simulated mini-batch as a trace shows it beside a measured one.
    package var trace: TraceGroup {
        TraceGroup(
            origin: .predicted, labels: [:],
            spans: spans.map { span in
                // Every span is an action of the schedule; a message is its sender's.
                let action = PipelineAction(span.name)!
                return TraceSpan(
                    rank: span.rank, lane: span.lane == .compute ? .compute : .network, name: span.name,
                    category: action.traceCategory, start: span.start, seconds: span.seconds)
            })
    }
}
