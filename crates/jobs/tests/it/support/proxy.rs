//! A TCP proxy that can go silent: connections stay open and answer nothing.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub(crate) struct Proxy {
    port: u16,
    /// Connections accepted before this count are silent.
    silent_below: watch::Sender<usize>,
    accepted: watch::Receiver<usize>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (silent_below, silence) = watch::channel(0);
        let (count, accepted) = watch::channel(0);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let number = *count.borrow();
                count.send_modify(|count| *count += 1);
                let mut silence = silence.clone();
                open.spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let silenced = async { drop(silence.wait_for(|below| number < *below).await) };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        () = silenced => std::future::pending().await,
                    }
                });
            }
        });
        Self { port: own, silent_below, accepted, _accepting: accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Silences every connection there is now; later ones work.
    pub(crate) fn silence(&self) {
        self.silent_below.send_replace(*self.accepted.borrow());
    }
}
