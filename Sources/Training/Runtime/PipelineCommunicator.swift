import MPI

/// The communicator of the pipeline's messages: all ranks, apart from every other traffic.
final class PipelineCommunicator {
    let world: Communicator

    init(_ world: consuming Communicator) { self.world = world }
}
