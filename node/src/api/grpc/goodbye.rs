//! Streams without an end of their own, on a connection that must end: they end first, so that the caller asks again on a new
//! one and misses nothing.

use futures::StreamExt as _;
use tonic::Request;

use super::caller::Answers;
use crate::tls::Goodbye;

/// The goodbye of the connection that a request came over.
pub(super) fn goodbye_of<T>(request: &Request<T>) -> Goodbye {
    let goodbye = request.extensions().get::<Goodbye>();
    goodbye.cloned().unwrap_or_default()
}

/// Ends a stream, without an error, when its connection must end.
pub(super) fn until_goodbye<T: Send + 'static>(goodbye: Goodbye, stream: Answers<T>) -> Answers<T> {
    let said = async move { goodbye.said().await };
    Box::pin(stream.take_until(Box::pin(said)))
}
