//! Binds listening sockets.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Binds the first address that the system accepts. The kernel queues up to `backlog` connections before they are
/// accepted, or `net.core.somaxconn` if that is less. Call it within a runtime.
///
/// # Errors
/// The operating system's error for the last address, or that there is no address.
pub fn bind(addresses: impl IntoIterator<Item = SocketAddr>, backlog: u32) -> io::Result<TcpListener> {
    let mut outcome = Err(io::Error::other("the name has no address"));
    for address in addresses {
        outcome = bind_address(address, backlog);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn bind_address(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_address_that_is_free_is_taken() {
        let free = "127.0.0.1:0".parse().unwrap();
        let first = bind([free], 8).unwrap();
        let taken = first.local_addr().unwrap();
        assert_eq!(bind([taken], 8).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_ne!(bind([taken, free], 8).unwrap().local_addr().unwrap(), taken);
        assert_eq!(bind([], 8).unwrap_err().to_string(), "the name has no address");
    }
}
