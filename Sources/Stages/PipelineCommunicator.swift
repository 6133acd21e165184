import MPI

/// The communicator of the pipeline's messages: all ranks, apart from every other traffic.
package final class PipelineCommunicator {
    package let world: Communicator

    package init(_ world: consuming Communicator) { self.world = world }
}
