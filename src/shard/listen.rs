//! Accepting connections: one listening socket per address, accepted sockets handed to the
//! shard with the fewest.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::shard::mailbox::{ConnectionCounts, ConnectionPermit, Message, ShardHandle};
use crate::shard::placement::place;

/// How long accepting pauses when the process has no descriptor left.
const OUT_OF_FILES_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket of one input.
#[derive(Debug)]
pub struct Listening {
    /// Index of the input in the plan.
    pub input: usize,
    /// The socket, non-blocking.
    pub listener: TcpListener,
    /// Open connections at most.
    pub connections_max: usize,
    /// What the input's connections count.
    pub counts: Arc<ConnectionCounts>,
}

/// Starts the thread that accepts for all inputs until `stop` says true.
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn(
    listening: Vec<Listening>,
    shards: Vec<ShardHandle>,
    stop: watch::Receiver<bool>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new()
        .name("weir-listen".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let accepting = listening.into_iter().map(|one| {
                    tokio::task::spawn_local(accept_until_stopped(
                        one,
                        shards.clone(),
                        stop.clone(),
                    ))
                });
                for task in accepting.collect::<Vec<_>>() {
                    task.await.map_err(io::Error::other)??;
                }
                Ok(())
            })
        })
}

async fn accept_until_stopped(
    listening: Listening,
    shards: Vec<ShardHandle>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let Listening {
        input,
        listener,
        connections_max,
        counts,
    } = listening;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut last = shards.len() - 1;
    loop {
        let accepted = tokio::select! {
            biased;
            // The sender is gone when the node is: that is a stop too.
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream.into_std()?, peer),
            Err(error) => {
                // A connection that failed before it was taken, or no descriptor left: both
                // pass, and neither ends the input.
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(OUT_OF_FILES_PAUSE).await;
                continue;
            }
        };
        let Some(permit) = ConnectionPermit::take(&counts, connections_max) else {
            tracing::warn!(%peer, connections_max, "connection refused: too many are open");
            continue;
        };
        last = hand_over(
            &shards,
            last,
            Message::Connection {
                input,
                stream,
                peer,
                permit,
            },
        );
    }
}

/// Gives the connection to the shard with the fewest; a shard that has ended takes none.
fn hand_over(shards: &[ShardHandle], last: usize, connection: Message) -> usize {
    let open: Vec<u64> = shards
        .iter()
        .map(|shard| shard.state().connections.load(Ordering::Relaxed))
        .collect();
    let shard = place(&open, last);
    // Counted here, so that a burst of connections is spread before the shards look.
    shards[shard]
        .state()
        .connections
        .fetch_add(1, Ordering::Relaxed);
    if shards[shard].send(connection).is_err() {
        shards[shard]
            .state()
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }
    shard
}
