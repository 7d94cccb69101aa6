//! A TCP proxy that does what networks do: refuses, resets amid a batch, swallows, drops, delays.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{SockFilter, SockRef};

/// What the way does to what goes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: all passes.
    None,
    /// Connections end before a byte has passed.
    Refused,
    /// Connections end once so many bytes went to the destination.
    ResetAfter(usize),
    /// Connections stay open, and nothing passes either way; what is sent is acknowledged by the
    /// kernel, as by a peer that hangs.
    BlackHole,
    /// Every packet is dropped, as by a broken way: no kernel acknowledges anything, open
    /// connections hang, and none can be made. Nothing shows that this fault was met.
    Dropped,
    /// The first bytes each way wait so long.
    Slow(Duration),
}

/// See the module's documentation. Connections last until the fault changes.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    way: Arc<Way>,
}

struct Way {
    to: SocketAddr,
    listener: TcpListener,
    fault: Mutex<Fault>,
    /// The two ends of each connection, the client's first.
    open: Mutex<Vec<[TcpStream; 2]>>,
    /// Connections that met the present fault.
    met: AtomicUsize,
    closed: AtomicBool,
}

impl FaultProxy {
    /// Passes connections on to this address.
    pub(crate) fn before(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let way = Arc::new(Way {
            to,
            listener: listener.try_clone().expect("a handle"),
            fault: Mutex::new(Fault::None),
            open: Mutex::default(),
            met: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        });
        let shared = Arc::clone(&way);
        start(move || {
            for client in listener.incoming() {
                if shared.closed.load(Ordering::Acquire) {
                    return;
                }
                let (shared, client) = (Arc::clone(&shared), client.expect("a connection"));
                start(move || shared.serve(client));
            }
        });
        Self { address, way }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on; connections that are open end, so that all meet it, but for
    /// [`Fault::Dropped`].
    pub(crate) fn set(&self, fault: Fault) {
        *self.way.fault.lock().expect("not poisoned") = fault;
        self.way.met.store(0, Ordering::Release);
        let mut open = self.way.open.lock().expect("not poisoned");
        if fault == Fault::Dropped {
            drop_packets(&SockRef::from(&self.way.listener));
            for [client, _] in &*open {
                drop_packets(&SockRef::from(client));
            }
            return;
        }
        // There may be no filter.
        SockRef::from(&self.way.listener).detach_filter().ok();
        for end in open.drain(..).flatten() {
            end.shutdown(Shutdown::Both).ok();
        }
    }

    /// Connections that met the present fault.
    pub(crate) fn met(&self) -> usize {
        self.way.met.load(Ordering::Acquire)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.way.closed.store(true, Ordering::Release);
        self.set(Fault::None);
        drop(TcpStream::connect(self.address));
    }
}

impl Way {
    fn serve(&self, client: TcpStream) {
        let fault = *self.fault.lock().expect("not poisoned");
        self.met.fetch_add(1, Ordering::AcqRel);
        if fault == Fault::Refused {
            return;
        }
        // The destination may be away: then there is nothing to pass on to.
        let Ok(server) = TcpStream::connect(self.to) else {
            return;
        };
        // The delays are to be those that a test asks for.
        for end in [&client, &server] {
            end.set_nodelay(true).ok();
        }
        let handles = [&client, &server].map(|end| end.try_clone().expect("a handle"));
        self.open.lock().expect("not poisoned").push(handles);
        let ends = (client.try_clone(), server.try_clone());
        let (answers_to, answers_from) = (ends.0.expect("a handle"), ends.1.expect("a handle"));
        start(move || pass(&answers_from, &answers_to, fault, usize::MAX));
        let bytes_max = match fault {
            Fault::ResetAfter(bytes) => bytes,
            _ => usize::MAX,
        };
        pass(&client, &server, fault, bytes_max);
    }
}

/// Copies until one side ends, or so many bytes have passed: then both end.
fn pass(mut from: &TcpStream, mut to: &TcpStream, fault: Fault, bytes_max: usize) {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = bytes_max;
    let mut is_first = true;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        match fault {
            Fault::BlackHole => continue,
            Fault::Slow(delay) if std::mem::take(&mut is_first) => std::thread::sleep(delay),
            _ => {}
        }
        let passing = length.min(left);
        left -= passing;
        if to.write_all(&buffer[..passing]).is_err() || left == 0 {
            from.shutdown(Shutdown::Both).ok();
            break;
        }
    }
    to.shutdown(if left == 0 {
        Shutdown::Both
    } else {
        Shutdown::Write
    })
    .ok();
}

/// From now on the kernel drops what comes to this socket before it looks at it.
fn drop_packets(socket: &SockRef<'_>) {
    // BPF_RET | BPF_K of a length of 0, linux/bpf_common.h: nothing of the packet is kept.
    let drop_all = [SockFilter::new(0x06, 0, 0, 0)];
    socket.attach_filter(&drop_all).expect("a filter");
}

fn start(body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("fault-proxy".to_owned());
    thread.spawn(body).expect("a thread");
}
