//! A TCP proxy that a story can turn into a bad network: refuse, black-hole, delay, cut.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What the network does, to connections that are open and to those to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Bytes pass.
    Pass,
    /// The port refuses and open connections are reset.
    Refuse,
    /// Connections open, or stay open, and no byte passes.
    BlackHole,
    /// Each piece that passes is late by this much, in both directions.
    Latency(Duration),
    /// Every connection ends after this many bytes from the server.
    Cut(u64),
}

/// Listens on a port of its own and passes bytes to one server. Ends on drop.
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    accepting: Arc<Mutex<Option<JoinHandle<()>>>>,
    target: SocketAddr,
}

impl Proxy {
    /// A proxy before `port` of this machine.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (network, _) = watch::channel(Network::Pass);
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let proxy = Self { address, network, accepting: Arc::default(), target };
        proxy.accept(listener);
        proxy
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes the network, at once.
    pub async fn set(&self, network: Network) {
        let before = self.network.send_replace(network);
        if network == Network::Refuse {
            self.stop_accepting();
        } else if before == Network::Refuse {
            let listener = TcpListener::bind(self.address).await.expect("the proxy's own port is free again");
            self.accept(listener);
        }
    }

    fn accept(&self, listener: TcpListener) {
        let (network, target) = (self.network.subscribe(), self.target);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, network.clone()));
            }
        });
        *self.accepting.lock().expect("no panic while locked") = Some(task);
    }

    fn stop_accepting(&self) {
        if let Some(task) = self.accepting.lock().expect("no panic while locked").take() {
            task.abort();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop_accepting();
        self.network.send_replace(Network::Refuse);
    }
}

/// One connection, until either side or the network ends it. Errors end it as they end a cable.
async fn pass(client: TcpStream, target: SocketAddr, network: watch::Receiver<Network>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _lost = client.set_nodelay(true).and(server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut changes = network.clone();
    tokio::select! {
        _ = pump(from_client, to_server, network.clone(), Direction::ToServer) => {}
        _ = pump(from_server, to_client, network.clone(), Direction::ToClient) => {}
        _ = changes.wait_for(|now| *now == Network::Refuse) => {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    direction: Direction,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut passed = 0;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        // A black hole keeps what it was given until the network is well again, as retransmission would.
        let now = *network.wait_for(|now| *now != Network::BlackHole).await.map_err(io::Error::other)?;
        match now {
            Network::Latency(late) => tokio::time::sleep(late).await,
            Network::Cut(after) if direction == Direction::ToClient && passed + read as u64 > after => {
                return to.write_all(&buffer[..(after - passed) as usize]).await;
            }
            _ => {}
        }
        to.write_all(&buffer[..read]).await?;
        passed += read as u64;
    }
}
