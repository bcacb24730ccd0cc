//! Connections that break when one of their ends is cut off.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::peers::PeerDialer;

/// Nodes that are cut off: no byte passes to or from them.
#[derive(Clone, Default)]
pub(super) struct Cuts(Arc<Mutex<BTreeMap<u64, Arc<AtomicBool>>>>);

impl Cuts {
    pub(super) fn of(&self, id: u64) -> Arc<AtomicBool> {
        Arc::clone(self.0.lock().unwrap().entry(id).or_default())
    }

    pub(super) fn set(&self, id: u64, cut: bool) {
        self.of(id).store(cut, Ordering::SeqCst);
    }
}

pub(super) struct PlainDialer {
    pub(super) from: u64,
    pub(super) cuts: Cuts,
}

impl PeerDialer for PlainDialer {
    fn channel(&self, id: u64, address: &str) -> Channel {
        let ends = [self.cuts.of(self.from), self.cuts.of(id)];
        let address = address.to_owned();
        let connector = tower::service_fn(move |_: http::Uri| {
            let (ends, address) = (ends.clone(), address.clone());
            async move {
                if ends.iter().any(|end| end.load(Ordering::SeqCst)) {
                    return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
                }
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                Ok(TokioIo::new(Cuttable { stream, ends }))
            }
        });
        Endpoint::from_static("http://peer")
            .user_agent(name(self.from))
            .expect("digits and letters are a header")
            .connect_with_connector_lazy(connector)
    }
}

fn name(id: u64) -> String {
    format!("node-{id}")
}

/// The node that sent a request of a [`PlainDialer`]: there is no certificate that could name it.
pub(super) fn node_of<B>(request: &http::Request<B>) -> Option<u64> {
    let agent = request.headers().get(http::header::USER_AGENT)?;
    let agent = agent.to_str().ok()?.split(' ').next()?;
    agent.strip_prefix("node-")?.parse().ok()
}

/// A connection that breaks when either end is cut off.
pub(super) struct Cuttable {
    pub(super) stream: TcpStream,
    pub(super) ends: [Arc<AtomicBool>; 2],
}

impl Cuttable {
    fn check(&self) -> io::Result<()> {
        match self.ends.iter().any(|end| end.load(Ordering::SeqCst)) {
            true => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            false => Ok(()),
        }
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Err(error) = self.check() {
            buf.clear();
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The listening end of a connection between members.
pub(super) struct PeerIo(pub(super) Cuttable);

impl tonic::transport::server::Connected for PeerIo {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for PeerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
