import CMPI
import Support

/// Messages between two ranks. None of these calls waits, so neighbours may send towards each other in any order.
extension Communicator {
    /// Starts sending a range of a buffer (all of it by default). The contents must not change until it is complete.
    ///
    /// Not collective: one receive with the same tag must match it. A message has at most 2^31 - 1 bytes; a larger one
    /// throws.
    public borrowing func immediateSend(
        _ buffer: any MessageBuffer, range: Range<Int>? = nil, to peer: Int, tag: Int
    ) throws -> Request {
        let region = Self.region(of: buffer, range)
        let operation = Operation(
            kind: .send, communicator: label, byteCount: region.count, peer: peer, tag: tag)
        return try Request(operation, limit: waitLimit, memory: [buffer]) { request in
            MPI_Isend(
                region.baseAddress, try count32(region.count, operation.description), cmpi_byte(),
                try narrow(peer, operation), try narrow(tag, operation), handle, request)
        }
    }

    /// Starts receiving into a range of a buffer (all of it by default). The contents are undefined until complete.
    ///
    /// A message longer than the range is an error when the request is tested; a shorter one is told by the request's
    /// `receivedByteCount`. Messages from one peer with one tag arrive in the order they were sent.
    public borrowing func immediateReceive(
        into buffer: any MessageBuffer, range: Range<Int>? = nil, from peer: Int, tag: Int
    ) throws -> Request {
        let region = Self.region(of: buffer, range)
        let operation = Operation(
            kind: .receive, communicator: label, byteCount: region.count, peer: peer, tag: tag)
        return try Request(operation, limit: waitLimit, memory: [buffer]) { request in
            MPI_Irecv(
                region.baseAddress, try count32(region.count, operation.description), cmpi_byte(),
                try narrow(peer, operation), try narrow(tag, operation), handle, request)
        }
    }

    private static func region(
        of buffer: any MessageBuffer, _ range: Range<Int>?
    ) -> UnsafeMutableRawBufferPointer {
        let bytes = buffer.bytes
        guard let range else { return bytes }
        precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "range outside the buffer")
        return UnsafeMutableRawBufferPointer(rebasing: bytes[range])
    }

    /// A peer or a tag as the library's int. Negative ones are refused: they are the library's wildcards.
    private borrowing func narrow(_ number: Int, _ operation: Operation) throws -> Int32 {
        guard let value = Int32(exactly: number), value >= 0 else {
            throw Failure.run("MPI: \(operation.description): expected a peer and a tag of at least 0")
        }
        return value
    }
}
