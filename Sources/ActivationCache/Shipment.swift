import MPI
import Stages
import TensorCore
import TextData

/// The units in which a redistribution moves samples.
extension Redistribution {
    /// Samples that move at a time.
    struct Chunk {
        let split: Split
        let contents: SplitSamples
        var samples: [Owned] = []

        var builder: BatchBuilder { contents.builder }
    }

    /// A sample of a chunk, with the files that hold its layers and the rank that reads each.
    struct Parcel {
        let sample: Int
        let owner: Int
        let pieces: [(file: Int, reader: Int)]
    }

    /// A chunk that is moving, and how far it has come.
    final class Shipment {
        enum Progress {
            case read(IOThread.Ticket)
            case exchanged(Request)
            case written(IOThread.Ticket)
        }

        let chunk: Chunk
        let parcels: [Parcel]
        /// Messages by rank, and in each the samples in order.
        let outgoing: [Int]
        let incoming: [Int]
        var sent: FloatMessage?
        var got: FloatMessage?
        /// Bytes on the ledger while it is written.
        var writtenBytes = 0
        var progress: Progress!

        init(
            _ chunk: Chunk, _ parcels: [Parcel], outgoing: [Int], incoming: [Int], ledger: Ledger
        ) {
            self.chunk = chunk
            self.parcels = parcels
            self.outgoing = outgoing
            self.incoming = incoming
            sent = FloatMessage(byteCount: outgoing.reduce(0, +), ledger: ledger)
            got = FloatMessage(byteCount: incoming.reduce(0, +), ledger: ledger)
        }
    }
}
