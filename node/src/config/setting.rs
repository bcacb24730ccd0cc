//! Types of settings: how a value is read from a document, shown in one, and compared with its range.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use hessra_consensus::feed::Admits;
use hessra_settings::{ByteSize, Every, Faults, Lasting, Section};
use toml::{Table, Value};

use crate::seal::KekSource;

/// A value of a setting.
pub(super) trait Setting: Sized {
    /// The value of a key. `None`: it is absent, or not what it should be, which `faults` then says.
    fn read(
        section: &mut Section<'_, '_>,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Self>;

    /// The value as a document has it.
    fn show(&self) -> Value;

    /// Calls `found` with the dotted path of every setting that is out of its range and the sentence about it. Only a
    /// section has any.
    fn each_outside(&self, _path: &str, _found: &mut dyn FnMut(&str, String)) {}
}

/// A setting whose values have a range.
pub(super) trait Ranged: Sized {
    /// The sentence about a value outside of the range; `None` inside.
    fn outside(&self, range: &RangeInclusive<Self>) -> Option<String>;

    /// The range, for people: `8MiB to 16GiB`, `At least 16MiB`.
    fn range(range: &RangeInclusive<Self>) -> String;
}

macro_rules! ranged {
    ($($type:ty),+) => {$(
        impl Ranged for $type {
            fn outside(&self, range: &RangeInclusive<Self>) -> Option<String> {
                let (from, to) = (range.start(), range.end());
                (!range.contains(self)).then(|| format!("is {self}: from {from} to {to}"))
            }

            fn range(range: &RangeInclusive<Self>) -> String {
                let (from, to) = (range.start(), range.end());
                if *to == <$type>::MAX {
                    format!("At least {from}")
                } else {
                    format!("{from} to {to}")
                }
            }
        }
    )+};
}
ranged!(u32, u64, Lasting, ByteSize);

/// Ranges of an interval: `off` is in every one.
impl Ranged for Every {
    fn outside(&self, range: &RangeInclusive<Self>) -> Option<String> {
        let lasting = |every: &Self| every.0.map(Lasting);
        let (from, to) = (lasting(range.start())?, lasting(range.end())?);
        lasting(self)?.outside(&(from..=to))
    }

    fn range(range: &RangeInclusive<Self>) -> String {
        format!("`off`, or {} to {}", range.start(), range.end())
    }
}

macro_rules! as_text {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            fn read(
                section: &mut Section<'_, '_>,
                key: &'static str,
                faults: &mut Faults<'_>,
            ) -> Option<Self> {
                section.parsed(key, faults)
            }

            fn show(&self) -> Value {
                Value::String(self.to_string())
            }
        }
    )+};
}
as_text!(String, SocketAddr, Lasting, Every, ByteSize, KekSource);

macro_rules! as_number {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            fn read(
                section: &mut Section<'_, '_>,
                key: &'static str,
                faults: &mut Faults<'_>,
            ) -> Option<Self> {
                let most = NUMBER_MAX.min(<$type>::MAX.into());
                let number = section.number(key, 0..=most, "expected a whole number from", faults)?;
                <$type>::try_from(number).ok()
            }

            fn show(&self) -> Value {
                number(u64::from(*self))
            }
        }
    )+};
}
as_number!(u32, u64);

/// Largest number of a document, where numbers are signed.
const NUMBER_MAX: u64 = i64::MAX as u64;

fn number(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

impl Setting for bool {
    fn read(
        section: &mut Section<'_, '_>,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        section.flag(key, faults)
    }

    fn show(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for PathBuf {
    fn read(
        section: &mut Section<'_, '_>,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        section.text(key, faults).map(|path| path.value.into())
    }

    fn show(&self) -> Value {
        Value::String(self.display().to_string())
    }
}

/// Setting that is one of a few words.
trait Words: Copy + PartialEq + 'static {
    /// Every value, with its word.
    const WORDS: &'static [(&'static str, Self)];
}

impl Words for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("text", Self::Text),
        ("json", Self::Json),
    ];
}

impl Words for OtlpProtocol {
    const WORDS: &'static [(&'static str, Self)] = &[("grpc", Self::Grpc), ("http", Self::Http)];
}

impl Words for FeedAdmits {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("proved", Self(Admits::Proved)),
        ("verifiers", Self(Admits::Verifiers)),
        ("anyone", Self(Admits::Anyone)),
    ];
}

impl<T: Words> Setting for T {
    fn read(
        section: &mut Section<'_, '_>,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        section.word(key, Self::WORDS, faults)
    }

    fn show(&self) -> Value {
        let word = Self::WORDS.iter().find(|(_, value)| value == self);
        let (word, _) = word.expect("every value has a word");
        Value::String((*word).to_owned())
    }
}

impl Setting for Vec<InitialMember> {
    fn read(
        section: &mut Section<'_, '_>,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        let parts = section.sections(key, faults);
        let members = parts.into_iter().filter_map(|part| member(part, faults));
        Some(members.collect()).filter(|_| section.has(key))
    }

    fn show(&self) -> Value {
        let member = |member: &InitialMember| {
            Value::Table(Table::from_iter([
                ("id".to_owned(), member.id.show()),
                ("peer".to_owned(), member.peer.show()),
                ("public".to_owned(), member.public.show()),
            ]))
        };
        Value::Array(self.iter().map(member).collect())
    }
}

fn member(mut part: Section<'_, '_>, faults: &mut Faults<'_>) -> Option<InitialMember> {
    if !part.has("id") {
        faults.add(part.span.clone(), "missing key `id`", "");
    }
    let id = u64::read(&mut part, "id", faults);
    let peer = part.required_text("peer", faults);
    let public = part.required_text("public", faults);
    part.close(faults);
    Some(InitialMember {
        id: id?,
        peer: peer?.value,
        public: public?.value,
    })
}

/// One member of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct InitialMember {
    pub id: u64,
    /// Address of its peer port, `host:port`.
    pub peer: String,
    /// Address of its public port, `host:port`.
    pub public: String,
}

/// Callers that the feed serves beside the verifiers of the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedAdmits(pub Admits);

/// Protocol of a collector (OTLP 1.x): gRPC, or protobuf over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OtlpProtocol {
    Grpc,
    Http,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_both_its_ends() {
        let range = ByteSize::mebibytes(8)..=ByteSize::mebibytes(64);
        for (size, expected) in [
            ("8MiB", None),
            ("64MiB", None),
            ("8191KiB", Some("is 8191KiB: from 8MiB to 64MiB")),
            ("65537KiB", Some("is 65537KiB: from 8MiB to 64MiB")),
        ] {
            let size: ByteSize = size.parse().unwrap();
            assert_eq!(size.outside(&range).as_deref(), expected);
        }
        assert_eq!(Ranged::range(&range), "8MiB to 64MiB");
        assert_eq!(Ranged::range(&(16..=u32::MAX)), "At least 16");
    }

    #[test]
    fn what_is_off_is_never_out_of_range() {
        let range = Every::seconds(60)..=Every::seconds(86_400);
        assert_eq!(Every::OFF.outside(&range), None);
        let short = Every::seconds(59).outside(&range);
        assert_eq!(short.as_deref(), Some("is 59s: from 1m to 24h"));
        assert_eq!(Ranged::range(&range), "`off`, or 1m to 1d");
    }
}
