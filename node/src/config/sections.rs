//! The settings of a node: every one stands here once, with its comment, its default after `=` and its range after `in`.

use std::path::PathBuf;

use hessra_settings::{ByteSize, Every, Faults, Lasting, Section};
use toml::{Table, Value};

use super::setting::{FeedAdmits, InitialMember, LogFormat, OtlpProtocol, Ranged, Setting};
use super::table::{Documented, Row, SectionTable};
use crate::seal::KekSource;

/// Longest election timeout: no member waits longer before it stands for election.
pub(super) const ELECTION_MAX: Lasting = Lasting::seconds(60);

config! {
    cluster: Cluster;
    listen: Listen;
    storage: Storage;
    public_tls: PublicTls;
    peer_tls: PeerTlsFiles;
    keys: Keys;
    policy: PolicyFiles, "policy.git": PolicyGit;
    issuing: Issuing;
    limits: Limits;
    audit: AuditFiles;
    raft: RaftTiming;
    feed: FeedTiming;
    log: Log;
    telemetry: Telemetry;
}

section! {
    /// Which cluster this node belongs to.
    Cluster {
        /// Name of the cluster, as in the certificates of its nodes (`urn:hessra:node:NAME:ID`). Required.
        /// 1 to 64 of `A-Z a-z 0-9 . _ -`.
        name: String = String::new();
        /// This node's number, for ever. Required, at least 1, never used again for another node.
        node_id: u64 = 0;
        /// The members that a new cluster starts with, the same list in every one of them:
        /// `[{ id = 1, peer = "host:port", public = "host:port" }, …]`. Looked at only until the cluster has
        /// been started. Empty: this node waits to be added (`hessra cluster add`).
        initial_members: Vec<InitialMember> = Vec::new();
        /// File with the secret by which a node that waits to be added knows its cluster: 32 to 1024 bytes, the same on
        /// every member, mode 0600 (`hessra-node keygen FILE` makes one). Such a node does not start without it.
        join_secret: PathBuf = PathBuf::new();
    }
}

section! {
    /// Where this node listens.
    Listen {
        /// Clients, verifiers and operators: HTTPS and gRPC.
        public: std::net::SocketAddr = ([127, 0, 0, 1], 7401).into();
        /// Other members: mutual TLS with the cluster's own CA.
        peer: std::net::SocketAddr = ([127, 0, 0, 1], 7411).into();
        /// `/livez`, `/readyz`, `/metrics`, without TLS. A loopback address, nothing else.
        operations: std::net::SocketAddr = ([127, 0, 0, 1], 7421).into();
    }
}

section! {
    /// The data directory.
    Storage {
        /// Directory of this node alone. Required; made with mode 0700 when absent.
        path: PathBuf = PathBuf::new();
        /// Memory for cached pages.
        cache: ByteSize = ByteSize::mebibytes(64), in ByteSize::mebibytes(8)..=ByteSize::mebibytes(16 << 10);
        /// Writes are refused while less than this is free on the file system; reads and denials go on.
        free_min: ByteSize = ByteSize::mebibytes(256), in ByteSize::mebibytes(16)..=ByteSize::MAX;
        /// The node stops when the disk needs longer for one flush: another node leads meanwhile.
        flush_max: Lasting = Lasting::seconds(10), in Lasting::milliseconds(100)..=Lasting::seconds(600);
    }
}

section! {
    /// TLS on the public port. Files are read again on SIGHUP and when they change; a bad file keeps what runs.
    PublicTls {
        /// PEM chain that this node shows. Required.
        certificate: PathBuf = PathBuf::new();
        /// PEM private key of it, readable by the owner alone. Required.
        key: PathBuf = PathBuf::new();
        /// PEM bundle of the CAs whose certificates identify clients and operators. Required.
        client_ca: PathBuf = PathBuf::new();
        /// PEM bundle that clients need to trust this node, served at `/ca_cert`. Empty: not served.
        server_ca: PathBuf = PathBuf::new();
    }
}

section! {
    /// TLS between members. The CA signs nodes of this cluster and nothing else: whoever it signs for can write.
    PeerTlsFiles {
        /// PEM chain with the SAN URI `urn:hessra:node:CLUSTER:ID`, for server and client use. Required.
        certificate: PathBuf = PathBuf::new();
        /// PEM private key of it, readable by the owner alone. Required.
        key: PathBuf = PathBuf::new();
        /// PEM bundle of the cluster's own CA. Required.
        ca: PathBuf = PathBuf::new();
    }
}

section! {
    /// Signing keys are part of the replicated state, sealed.
    Keys {
        /// Where the key-encryption key is, the same key on every member. Required. One of `file:PATH` (mode 0600,
        /// `hessra-node keygen FILE` makes one), `env:NAME`, `credential:NAME` (of systemd),
        /// `passphrase:prompt`, `passphrase:fd=N`, `pkcs11:token=T;object=O?module-path=PATH&pin-source=file:PATH`.
        kek: KekSource = KekSource::None;
        /// The key-encryption key before it, while the cluster goes from one to the other: opens, and seals nothing.
        /// Empty: none. When every member has both, run `hessra keys rewrap`.
        kek_previous: KekSource = KekSource::None;
        /// A signing key is replaced when it has signed for so long.
        rotate_every: Every = Every::OFF, in Every::seconds(60)..=Every::seconds(3650 * 86_400);
    }
}

section! {
    /// The policy that a new cluster starts with. Afterwards it is replicated state, and these files are not read:
    /// `hessra policy apply`, or the repository of `[policy.git]`, changes it.
    PolicyFiles {
        /// `clients.toml`. Required with `cluster.initial_members`.
        clients: PathBuf = PathBuf::new();
        /// `resources.toml`. Empty: every resource is a singleton.
        resources: PathBuf = PathBuf::new();
        /// Has a section of its own.
        git: PolicyGit = PolicyGit::default();
    }
}

section! {
    /// A git repository whose newest commit is the policy. The leader applies it; give it to every node. The program
    /// `git` (2.38 or newer) must be installed; nothing is checked out, and no hook or configuration is used.
    PolicyGit {
        /// `https://host/path`, `ssh://user@host/path`, or an absolute path on this machine. Without credentials.
        /// Empty: none is followed.
        url: String = String::new();
        /// The branch that is followed. Letters, digits and `. _ - /`.
        branch: String = "main".to_owned();
        /// Folder of the repository with `clients.toml` and perhaps `resources.toml`. Empty: its root.
        directory: String = String::new();
        /// Time between two looks.
        interval: Lasting = Lasting::seconds(60), in Lasting::seconds(1)..=Lasting::seconds(86_400);
        /// A call of git that takes longer is ended.
        timeout: Lasting = Lasting::seconds(60), in Lasting::seconds(1)..=Lasting::seconds(600);
        /// Memory of a process of git, as address space; one that needs more is ended.
        memory_max: ByteSize = ByteSize::mebibytes(512), in ByteSize::mebibytes(128)..=ByteSize::mebibytes(8 << 10);
        /// Bytes that the branch with its history may take here.
        size_max: ByteSize = ByteSize::mebibytes(64), in ByteSize::kibibytes(64)..=ByteSize::mebibytes(1 << 10);
        /// File of allowed signers, as `ssh-keygen(1)` describes it. A commit is applied when the key of one of them, valid
        /// now, has signed it with the line `Hessra-Policy: CLUSTER/BRANCH` among the trailers of its message. Required,
        /// unless `accept_unsigned` is set.
        allowed_signers: PathBuf = PathBuf::new();
        /// A commit is applied within so long of its signature: one that was signed and then given up must not come back.
        signed_within: Lasting = Lasting::seconds(7 * 86_400), in Lasting::seconds(60)..=Lasting::seconds(3650 * 86_400);
        /// Apply commits that nobody has signed: whoever can push decides what the policy is.
        accept_unsigned: bool = false;
        /// Private key for ssh, readable by the owner alone. Required with an ssh address.
        ssh_key: PathBuf = PathBuf::new();
        /// `known_hosts` for ssh; an unknown host is refused. Required with an ssh address.
        ssh_known_hosts: PathBuf = PathBuf::new();
        /// PEM bundle of the CAs of an https server. Empty: those of the system.
        https_ca: PathBuf = PathBuf::new();
        /// Credentials for https as `git-credential-store(1)` keeps them, readable by the owner alone. Empty: none.
        https_credentials: PathBuf = PathBuf::new();
        /// Apply a commit that does not descend from the one applied last: a rewritten or rewound branch.
        allow_rewind: bool = false;
        /// Replace a policy that an operator applied over the newest commit. Without it, it stands until the next
        /// commit, and is reported.
        correct_drift: bool = false;
    }
}

section! {
    /// What this node mints.
    Issuing {
        /// A node that has not heard of its quorum for longer mints nothing.
        stale_max: Lasting = Lasting::seconds(5), in Lasting::seconds(1)..=Lasting::seconds(60);
    }
}

section! {
    /// What a caller may cost.
    Limits {
        /// Open connections on the public port. Half of them are for callers without a certificate that the policy knows, a
        /// sixteenth is kept for operators, and one certificate has a third at most.
        connections_max: u32 = 12_000, in 16..=1_000_000;
        /// Open connections from one address (IPv6: one /64) without a certificate that the policy knows. With one, an
        /// address may have half of `connections_max`.
        connections_per_address_max: u32 = 512, in 1..=1_000_000;
        /// TLS handshakes that one address may begin in a second.
        handshakes_per_second: u32 = 500, in 10..=100_000;
        /// Time for a TLS handshake.
        handshake_timeout: Lasting = Lasting::seconds(5), in Lasting::seconds(1)..=Lasting::seconds(60);
        /// Time for the head of a request.
        header_timeout: Lasting = Lasting::seconds(10), in Lasting::seconds(1)..=Lasting::seconds(60);
        /// A connection that carries no request for longer is closed. Pings are no requests.
        idle_timeout: Lasting = Lasting::seconds(75), in Lasting::seconds(1)..=Lasting::seconds(3_600);
        /// A caller that takes nothing of an answer for longer loses its connection.
        stall_timeout: Lasting = Lasting::seconds(30), in Lasting::seconds(1)..=Lasting::seconds(600);
        /// A connection that is older is told goodbye: its callers go on over a new one. Each lives between three quarters
        /// of it and all.
        connection_age_max: Lasting = Lasting::seconds(3_600), in Lasting::seconds(1)..=Lasting::seconds(7 * 86_400);
        /// Streams of one HTTP/2 connection; of one without a certificate that the policy knows, at most 100.
        streams_max: u32 = 256, in 1..=10_000;
        /// Requests that run at once from one address (IPv6: one /64) without a certificate that the policy knows, streams
        /// of the feed among them. All such callers together have eight times as many.
        requests_per_address_max: u32 = 1_024, in 1..=1_000_000;
        /// Bytes of request bodies in memory: a quarter for callers without a certificate that the policy knows, a quarter
        /// for those with one, half for operators.
        bodies_bytes_max: ByteSize = ByteSize::mebibytes(64), in ByteSize::mebibytes(32)..=ByteSize::mebibytes(16 << 10);
        /// Bytes of an HTTPS request's head, and of an HTTP/2 header list.
        header_bytes_max: ByteSize = ByteSize::kibibytes(32), in ByteSize::kibibytes(16)..=ByteSize::mebibytes(1);
        /// Bytes of an HTTPS request's body.
        body_bytes_max: ByteSize = ByteSize::kibibytes(64), in ByteSize::kibibytes(1)..=ByteSize::mebibytes(1);
        /// Token requests of one identity per second, and as many at once.
        requests_per_second: u32 = 1_000, in 1..=100_000;
        /// Targets that one operator may revoke per second, and as many at once: an incident fits, a flood does not.
        revocations_per_second: u32 = 20_000, in 10_000..=10_000_000;
        /// Token requests, and tokens shown to the feed, of one address without a client certificate per second, and as many at once; an IPv6 /64 is one.
        requests_per_second_per_address: u32 = 2_000, in 1..=1_000_000;
        /// Token requests worked on at once, of each kind of caller (certificate, token, question about a token); more are answered 429.
        requests_at_once_max: u32 = 512, in 1..=100_000;
    }
}

section! {
    /// The audit of this node, in the folder `audit` of its data directory: a chain of changes and issued tokens, and one
    /// of refusals.
    AuditFiles {
        /// A file of records is turned over at this size, or after a day.
        segment_size: ByteSize = ByteSize::mebibytes(64), in ByteSize::kibibytes(64)..=ByteSize::mebibytes(1 << 10);
        /// Files whose last record is older are deleted; a record says so.
        keep_age: Lasting = Lasting::seconds(365 * 24 * 3_600), in Lasting::seconds(3_600)..=Lasting::seconds(100_000 * 3_600);
        /// The oldest files of changes and issued tokens are deleted while all take more.
        keep_size: ByteSize = ByteSize::mebibytes(16 * 1_024), rule "At least four times `segment_size`".to_owned();
        /// The same for refusals, of which strangers decide how many there are.
        refusals_keep_size: ByteSize = ByteSize::mebibytes(4 * 1_024), rule "At least four times `segment_size`".to_owned();
    }
}

section! {
    /// Consensus. The defaults suit one site; members far apart want longer times.
    RaftTiming {
        /// Time between the leader's heartbeats.
        heartbeat: Lasting = Lasting::milliseconds(150), in Lasting::milliseconds(20)..=Lasting::seconds(5);
        /// A follower that heard nothing for a random time between `election_min` and `election_max` stands for
        /// election.
        election_min: Lasting = Lasting::milliseconds(450), rule "At least twice the heartbeat".to_owned();
        election_max: Lasting = Lasting::milliseconds(750), rule format!("Above `election_min`, at most {ELECTION_MAX}");
        /// A snapshot is built after so many log entries.
        snapshot_entries: u64 = 20_000, in 100..=10_000_000;
        /// So many entries below the snapshot are kept for members that were away for a short time.
        log_keep: u64 = 10_000, in 0..=10_000_000;
    }
}

section! {
    /// The feed of revocations.
    FeedTiming {
        /// Time between heartbeats to verifiers.
        heartbeat: Lasting = Lasting::seconds(1), in Lasting::milliseconds(250)..=Lasting::seconds(10);
        /// A verifier's knowledge is fresh for so long after the instant that a heartbeat confirms.
        fresh_for: Lasting = Lasting::seconds(5), in Lasting::seconds(2)..=Lasting::seconds(300);
        /// Callers that are served beside the verifiers of the policy's `[[verifiers]]`, and never counted: `proved`, whoever
        /// shows a certificate or an identity token that the policy names; `verifiers`, operators that may read alone;
        /// `anyone`.
        admits: FeedAdmits = FeedAdmits::default();
        /// Streams on this node.
        subscribers_max: u32 = 10_000, in 1..=1_000_000;
        /// Streams on this node that callers outside of `[[verifiers]]` may have.
        guests_max: u32 = 2_500, in 0..=1_000_000;
        /// Streams on this node that the verifiers of one identity may have.
        subscribers_per_identity_max: u32 = 5_000, in 1..=1_000_000;
        /// Streams on this node that one caller outside of `[[verifiers]]` may have, by its identity or its address.
        guests_per_caller_max: u32 = 256, in 1..=1_000_000;
        /// Bytes that the readers of all streams may leave unread; a quarter of it is for callers outside of
        /// `[[verifiers]]`.
        unread_max: ByteSize = ByteSize::mebibytes(256), in ByteSize::mebibytes(16)..=ByteSize::mebibytes(64 << 10);
        /// A verifier that is gone for longer is not listed any more: it has been failing closed for long.
        forget_after: Lasting = Lasting::seconds(600), in Lasting::seconds(10)..=Lasting::seconds(86_400);
    }
}

section! {
    /// Log lines on stderr.
    Log {
        /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,hessra_consensus=debug`. The
        /// environment variable HESSRA_LOG wins.
        level: String = "info".to_owned();
        /// `text`, `json`, or `auto`: text on a terminal, JSON elsewhere.
        format: LogFormat = LogFormat::Auto;
    }
}

section! {
    /// Traces for an OpenTelemetry collector.
    Telemetry {
        /// A collector beside this node: `http://127.0.0.1:4317`. It is sent spans without TLS, which name requests, log
        /// indexes and verifiers, and speaks TLS to the rest. Empty: nothing is traced.
        otlp_endpoint: String = String::new();
        /// `grpc` (usual port 4317), or `http` (protobuf, usual port 4318).
        otlp_protocol: OtlpProtocol = OtlpProtocol::Grpc;
        /// Of 1,000 requests that no caller wants traced, so many are. A revoke, and a refusal, always is. The same on
        /// every member.
        traces_per_mille: u32 = 100, in 0..=1_000;
    }
}
