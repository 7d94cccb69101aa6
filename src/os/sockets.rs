//! Listening sockets and the options of connections.
//!
//! A listener is made non-blocking, so that any runtime can take it. Sizes of socket
//! buffers are left to the kernel, which grows them as a connection needs.

use std::ffi::c_int;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, ioctl};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// Connections the kernel keeps ready while the listener is busy. The kernel caps it at
/// `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// Silence after which the kernel asks the peer whether it is still there. Dead peers behind
/// a firewall are found within about 3 minutes with the two values below.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Listens on an address. Port 0 lets the system choose; `local_addr` of the result tells.
/// An IPv6 address takes IPv6 alone, so that `0.0.0.0` and `::` can be listened on together.
///
/// # Errors
/// With a text that names the address and, where it is known, the way out.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address).map_err(|errno| refusal(address, errno))?;
    Ok(TcpListener::from(socket))
}

/// Sets the options of an accepted or made connection: no delay for small answers, and
/// keep-alive, so that a peer that vanished is noticed.
///
/// # Errors
/// When the system refuses, as it does when the peer has closed already.
pub fn tune_connection(connection: &impl AsFd) -> io::Result<()> {
    let connection = connection.as_fd();
    sockopt::set_tcp_nodelay(connection, true)?;
    sockopt::set_socket_keepalive(connection, true)?;
    sockopt::set_tcp_keepidle(connection, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(connection, KEEPALIVE_INTERVAL)?;
    Ok(sockopt::set_tcp_keepcnt(connection, KEEPALIVE_PROBES)?)
}

/// Bytes written to a TCP connection that its peer's kernel has not acknowledged yet: those on
/// their way, and those that were not sent. 0 says that the peer's kernel has all of them.
///
/// # Errors
/// When the descriptor is no socket.
#[expect(
    unsafe_code,
    reason = "rustix leaves it to the caller to say what an ioctl writes, and has no door of its own for this one"
)]
pub fn unacknowledged_bytes(connection: &impl AsFd) -> io::Result<u64> {
    // SAFETY: SIOCOUTQ writes one C int to the address it is given (tcp(7)), which is what the getter holds.
    let unacknowledged = unsafe { Getter::<SIOCOUTQ, c_int>::new() };
    // SAFETY: the getter's pointer is valid for the call, and the opcode is that of the type it holds.
    let bytes = unsafe { ioctl(connection, unacknowledged) }?;
    // The kernel keeps it within the send buffer, whose size is an int too.
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// `SIOCOUTQ` of linux/sockios.h, which is `TIOCOUTQ` of asm-generic/ioctls.h: its number on x86, Arm
/// and RISC-V.
const SIOCOUTQ: Opcode = 0x5411;

fn bound(address: SocketAddr) -> Result<rustix::fd::OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = Some(ipproto::TCP);
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, protocol)?;
    // A restart must not wait for connections of the process before to time out.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn refusal(address: SocketAddr, errno: Errno) -> io::Error {
    let port = address.port();
    let why = match errno {
        Errno::ADDRINUSE => format!(
            "in use by another process; choose another port, or stop the process that \
             `ss -ltnp 'sport = :{port}'` shows"
        ),
        Errno::ADDRNOTAVAIL => {
            "no such address on this machine; `ip address` lists those it has".to_owned()
        }
        Errno::ACCESS => format!(
            "not allowed; ports below 1024 take the capability CAP_NET_BIND_SERVICE: use a \
             port above, or grant it (port {port})"
        ),
        Errno::AFNOSUPPORT => "this machine has no such network protocol (IPv6?)".to_owned(),
        other => io::Error::from(other).to_string(),
    };
    let kind = io::Error::from(errno).kind();
    io::Error::new(kind, format!("cannot listen on {address}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_listener_takes_connections_without_blocking() {
        let listener = listen(loopback(0)).unwrap();
        let nobody = listener.accept().unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        tune_connection(&server).unwrap();
        assert!(server.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&server).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&server).unwrap(), KEEPALIVE_IDLE);
    }

    #[test]
    fn a_port_in_use_is_named_with_the_way_out() {
        let first = listen(loopback(0)).unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.contains("in use by another process; "), "{text}");
        assert!(
            text.contains(&format!("sport = :{}", address.port())),
            "{text}"
        );
    }

    #[test]
    fn a_port_is_free_again_while_old_connections_linger() {
        let listener = listen(loopback(0)).unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        // The side that closes first keeps the address for a minute.
        drop((server, listener));
        drop(client);
        listen(address).unwrap();
    }

    #[test]
    fn bytes_are_unacknowledged_until_the_peers_kernel_has_them() {
        use std::io::{Read as _, Write as _};

        let listener = TcpListener::bind(loopback(0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged_bytes(&client).unwrap(), 0);
        // The peer reads nothing, so its window closes before all of it is there.
        client.set_nonblocking(true).unwrap();
        let chunk = [b'x'; 64 << 10];
        let mut written = 0;
        while let Ok(bytes) = client.write(&chunk) {
            written += bytes;
        }
        assert!(unacknowledged_bytes(&client).unwrap() > 0);
        let mut left = vec![0; written];
        server.read_exact(&mut left).unwrap();
        while unacknowledged_bytes(&client).unwrap() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused_by_name() {
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
        let error = listen(elsewhere).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    }
}
