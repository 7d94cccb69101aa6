//! What the journals say of relayed batches when the node starts.
//!
//! The identity of a batch stands in the labels of its events. So that a batch whose answer was lost in a crash
//! is not stored a second time, the newest events of each journal are looked at before the node listens.

use std::io;
use std::sync::Arc;

use crate::block::codec::Inflater;
use crate::block::metadata::Metadata;
use crate::config::plan::{InputPlan, Plan};
use crate::ingest::http::RelayLedger;
use crate::journal::reader::{ReadNext, Reader};
use crate::node::open::OpenJournal;
use crate::os::disk::Disk;

/// Events of each journal that are looked at, from its end: about 200 MB on disk, read in half a second.
const EVENTS_BACK: u64 = 1_000_000;

/// The batches that are stored; none when no input takes relayed events.
pub(super) fn known(
    plan: &Plan,
    journals: &[OpenJournal],
    (disk, direct): (&Arc<dyn Disk>, bool),
) -> io::Result<Arc<RelayLedger>> {
    let ledger = Arc::<RelayLedger>::default();
    let takes_relayed = plan.inputs.iter().any(|input| match input {
        InputPlan::Tcp(_) => false,
        InputPlan::Http(http) => !http.relay.is_empty(),
    });
    if takes_relayed {
        let mut inflater = Inflater::new();
        for journal in journals {
            let (catalog, tail) = (Arc::clone(&journal.catalog), Arc::clone(&journal.tail));
            let disk = Arc::clone(disk);
            let mut reader = Reader::new(journal.files.journal, disk, direct, catalog, tail);
            read(&mut reader, &mut inflater, &ledger)?;
        }
    }
    Ok(ledger)
}

fn read(reader: &mut Reader, inflater: &mut Inflater, ledger: &RelayLedger) -> io::Result<()> {
    let end = reader.tail().durable_end();
    let mut at = reader.start();
    if end.events_since(at) > EVENTS_BACK {
        at.0 = end.0 - EVENTS_BACK;
    }
    loop {
        match reader.next(at)? {
            ReadNext::Block(block) => {
                let metadata = Metadata::decode(&block.image[block.metadata.clone()], inflater)
                    .map_err(io::Error::other)?;
                for run in metadata.runs {
                    ledger.add_stored(&run.labels, u64::from(run.events));
                }
                at = block.range().end;
            }
            ReadNext::Gap { range, .. } => at = range.end,
            ReadNext::End => return Ok(()),
        }
    }
}
