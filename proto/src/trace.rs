//! Ids of traces: a change is one trace, whose id is the id of its request.
//!
//! Whoever holds an entry, a record or a frame of the change knows the trace, so that nothing carries a context through the
//! replicated log. The ids of the spans that others are children of are derived from the request too. Formats:
//! [W3C Trace Context](https://www.w3.org/TR/trace-context/).

use sha2::{Digest as _, Sha256};

/// Id of a trace: that of a request.
pub type TraceId = [u8; 16];
/// Id of a span.
pub type SpanId = [u8; 8];

/// Changes that one frame names; a frame of more leaves the others out.
pub const NAMED_MAX: usize = 64;

/// Span of a change that other spans are children of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root<'a> {
    /// What the operator's client does.
    Client,
    /// What the cluster does, from taking the change to its answer.
    Change,
    /// From a node's frame to the acknowledgement of one verifier.
    Delivery {
        /// Id of the verifier.
        verifier: &'a str,
    },
}

/// Id of a span of a change.
#[must_use]
pub fn span_id(trace: &TraceId, root: Root<'_>) -> SpanId {
    let digest = Sha256::new().chain_update(b"hessra span v1\n");
    let digest = match root {
        Root::Client => digest.chain_update(b"client\n"),
        Root::Change => digest.chain_update(b"change\n"),
        Root::Delivery { verifier } => digest
            .chain_update(b"delivery\n")
            .chain_update(verifier.as_bytes())
            .chain_update(b"\n"),
    };
    let digest = digest.chain_update(trace).finalize();
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    // All zeros are no id.
    id[7] |= u8::from(id == [0; 8]);
    id
}

/// Header `traceparent` of a client's request for a change: sampled, because changes are few and each of them matters.
#[must_use]
pub fn traceparent(trace: &TraceId) -> String {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let parent = span_id(trace, Root::Client);
    format!("00-{}-{}-01", hex(trace), hex(&parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_one_change_differ_and_are_the_same_wherever_they_are_derived() {
        let trace = [7; 16];
        let of = |verifier| span_id(&trace, Root::Delivery { verifier });
        let all = [
            span_id(&trace, Root::Client),
            span_id(&trace, Root::Change),
            of("a"),
            of("b"),
        ];
        for (place, id) in all.iter().enumerate() {
            assert!(!all[..place].contains(id), "{id:?}");
        }
        assert_eq!(of("a"), of("a"));
        assert_ne!(span_id(&[8; 16], Root::Change), all[1]);
    }

    #[test]
    fn the_header_names_trace_and_parent() {
        let header = traceparent(&[0xab; 16]);
        let parts: Vec<&str> = header.split('-').collect();
        assert_eq!(parts[..2], ["00", "abababababababababababababababab"]);
        assert_eq!((parts[2].len(), parts[3]), (16, "01"));
    }
}
