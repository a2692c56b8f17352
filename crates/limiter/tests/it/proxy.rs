//! A TCP proxy that delays or swallows what goes through it.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

#[derive(Debug, Default)]
struct Weather {
    delay_ms: AtomicU64,
    swallow: AtomicBool,
    accepted: AtomicU64,
}

pub(crate) struct Proxy {
    port: u16,
    weather: Arc<Weather>,
}

impl Proxy {
    /// Before the server on `port`; every direction of a connection is delayed by half.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, weather) = (listener.local_addr().unwrap().port(), Arc::<Weather>::default());
        let shared = Arc::clone(&weather);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(carry(from_client, to_server, Arc::clone(&shared)));
                tokio::spawn(carry(from_server, to_client, Arc::clone(&shared)));
            }
        });
        Self { port, weather }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.weather.delay_ms.store(u64::try_from(delay.as_millis()).unwrap() / 2, Ordering::Relaxed);
    }

    pub(crate) fn swallow(&self, swallow: bool) {
        self.weather.swallow.store(swallow, Ordering::Relaxed);
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.weather.accepted.load(Ordering::Relaxed)
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, weather: Arc<Weather>) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let writer = tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !weather.swallow.load(Ordering::Relaxed) {
            let delay = Duration::from_millis(weather.delay_ms.load(Ordering::Relaxed));
            if sender.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() {
                break;
            }
        }
    }
    drop(sender);
    let _ = writer.await;
}
