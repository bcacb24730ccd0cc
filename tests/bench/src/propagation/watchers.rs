//! etcd's watchers of the prefix that all writes lie below.

use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::Channel;

use super::seen::Seen;
use crate::cluster::Cluster;
use crate::etcd::watch_client::WatchClient;
use crate::etcd::watch_request::RequestUnion;
use crate::etcd::{WatchCreateRequest, WatchRequest, WatchResponse};
use crate::failure::BenchError;
use crate::load::Numbers;

/// Opens `count` watches, each over a connection of its own, one after the other to every member.
///
/// # Errors
/// etcd refuses one.
pub(super) async fn connect(
    cluster: &Cluster,
    count: usize,
    numbers: &Numbers,
    seen: &mpsc::UnboundedSender<Seen>,
    tasks: &mut JoinSet<()>,
) -> Result<(), BenchError> {
    let everyone: Vec<usize> = (0..cluster.members.len()).collect();
    for channel in cluster.channels(count, &everyone).await? {
        let (requests, stream) = open(channel, numbers).await?;
        let (seen, numbers) = (seen.clone(), numbers.clone());
        tasks.spawn(async move {
            follow(stream, &numbers, &seen).await;
            drop(requests);
        });
    }
    Ok(())
}

type Requests = mpsc::Sender<WatchRequest>;

async fn open(
    channel: Channel,
    numbers: &Numbers,
) -> Result<(Requests, Streaming<WatchResponse>), BenchError> {
    let refused = |status: tonic::Status| BenchError::Service {
        side: "etcd",
        reason: status.message().to_owned(),
    };
    let prefix = numbers.names().prefix();
    // The end of a prefix is the prefix with its last byte one higher.
    let mut range_end = prefix.clone().into_bytes();
    if let Some(last) = range_end.last_mut() {
        *last += 1;
    }
    let create = WatchCreateRequest {
        key: prefix.into_bytes(),
        range_end,
    };
    let (requests, outgoing) = mpsc::channel(1);
    let request = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    // The channel is empty and its receiver is here.
    let _ = requests.try_send(request);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut stream = WatchClient::new(channel)
        .watch(outgoing)
        .await
        .map_err(refused)?
        .into_inner();
    let created = stream
        .message()
        .await
        .map_err(refused)?
        .is_some_and(|answer| answer.created && !answer.canceled);
    match created {
        true => Ok((requests, stream)),
        false => Err(BenchError::Service {
            side: "etcd",
            reason: "it does not create the watch".to_owned(),
        }),
    }
}

async fn follow(
    mut stream: Streaming<WatchResponse>,
    numbers: &Numbers,
    seen: &mpsc::UnboundedSender<Seen>,
) {
    while let Ok(Some(answer)) = stream.message().await {
        let at = Instant::now();
        for event in answer.events {
            let key = event.kv.map(|kv| kv.key).unwrap_or_default();
            let number = std::str::from_utf8(&key)
                .ok()
                .and_then(|key| numbers.names().number(key));
            // The receiver is gone when the turn is over.
            let _ = number.map(|number| {
                seen.send(Seen {
                    number,
                    at,
                    denied: None,
                })
            });
        }
    }
}
