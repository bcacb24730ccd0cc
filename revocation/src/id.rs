//! Identities as canonical segment paths.
//!
//! `urn:hessra:alice:agent` has four segments; its ancestors are `urn`, `urn:hessra` and `urn:hessra:alice`. A rule
//! about an ancestor covers everything below it *by whole segments*: `urn:h:a` covers `urn:h:a:b`, never `urn:h:ab`.
//!
//! There is one canonical form, and any other is refused, never repaired: a holder can invent names offline, and two
//! spellings of one name would be a way around a rule. Nothing is folded: `URN:h` is not `urn:h`. The one exception is
//! a leading `uri:`, which published clients write or omit; [`Identity::path`] is without it.
//!
//! DNS compares names without case (RFC 4343), so a first segment that is a DNS name has one spelling too: lower case, no
//! dot at its end. Doors that read names from people or certificates take the others with [`Identity::parse_spelled`];
//! behind them no other spelling exists.

use std::fmt;

/// Most segments of a path. Origin: the design's limit; real names have three to eight.
pub const SEGMENTS_MAX: usize = 16;
/// Most bytes of an identity as spelled, with a leading `uri:`.
pub const IDENTITY_BYTES_MAX: usize = 512;

/// Identity in canonical form: 1 to 16 non-empty segments of `[A-Za-z0-9._~@/-]` joined by `:`, at most 512 bytes.
///
/// Compared byte-wise; a leading segment `uri` (any case) is a spelling of the same path, see [`Identity::path`].
///
/// ```
/// use hessra_revocation::Identity;
/// let agent = Identity::parse("uri:urn:h:alice:agent")?;
/// assert_eq!(agent.path(), "urn:h:alice:agent");
/// assert!(agent.is_at_or_below(&Identity::parse("urn:h:alice")?));
/// assert!(!agent.is_at_or_below(&Identity::parse("urn:h:ali")?));
/// # Ok::<(), hessra_revocation::IdentityError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Box<str>);

impl Identity {
    /// Reads the canonical form. Any other is refused, never repaired.
    ///
    /// # Errors
    /// [`IdentityError`]: the first rule of the form that is broken.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        check_ends(text)?;
        let path = without_uri(text);
        let count = path.split(':').count();
        if count > SEGMENTS_MAX {
            return Err(IdentityError::TooManySegments { count });
        }
        for (index, segment) in path.split(':').enumerate() {
            check_segment(segment, index + 1)?;
        }
        match canonical_spelling(text) {
            canonical if canonical == text => Ok(Self(text.into())),
            canonical => Err(IdentityError::DnsSpelling { canonical }),
        }
    }

    /// Reads a name as people and certificates spell it: [`Self::parse`], after [`canonical_spelling`].
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_spelled(text: &str) -> Result<Self, IdentityError> {
        Self::parse(&canonical_spelling(text))
    }

    /// Text as it was spelled.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Path that rules are about: the spelling without a leading `uri:` (any case).
    #[must_use]
    pub fn path(&self) -> &str {
        without_uri(&self.0)
    }

    /// Number of segments of the path, 1 to 16.
    #[must_use]
    pub fn depth(&self) -> u8 {
        u8::try_from(self.path().split(':').count()).expect("parse allows at most 16 segments")
    }

    /// Last segment.
    #[must_use]
    pub fn last_segment(&self) -> &str {
        self.path().rsplit(':').next().unwrap_or_default()
    }

    /// Paths of this identity and of all its ancestors, root first: (depth, path prefix).
    pub fn ancestors_and_self(&self) -> impl Iterator<Item = (u8, &str)> {
        let path = self.path();
        let ends = path
            .match_indices(':')
            .map(|(at, _)| at)
            .chain([path.len()]);
        (1u8..).zip(ends.map(move |end| &path[..end]))
    }

    /// True when `self` is `ancestor` or below it, by whole segments.
    #[must_use]
    pub fn is_at_or_below(&self, ancestor: &Identity) -> bool {
        match self.path().strip_prefix(ancestor.path()) {
            Some(rest) => rest.is_empty() || rest.starts_with(':'),
            None => false,
        }
    }

    /// The same identity, with or without `uri:` as `ancestor` is spelled, when it is at or below it; else unchanged.
    ///
    /// Biscuit compares spellings, so a name below another in a token must begin as that one does.
    #[must_use]
    pub fn spelled_below(&self, ancestor: &Identity) -> Identity {
        if !self.is_at_or_below(ancestor) {
            return self.clone();
        }
        let below = &self.path()[ancestor.path().len()..];
        let spelled = format!("{ancestor}{below}");
        match spelled.len() <= IDENTITY_BYTES_MAX {
            true => Self(spelled.into()),
            false => self.clone(),
        }
    }

    /// Identity one segment up, in the same spelling; `None` at the root.
    #[must_use]
    pub fn parent(&self) -> Option<Identity> {
        if self.depth() == 1 {
            return None;
        }
        self.0
            .rsplit_once(':')
            .map(|(parent, _)| Self(parent.into()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        Self::parse(text)
    }
}

/// Error of a text that is not an identity: one variant per rule of the canonical form.
///
/// Input above the size limit is not repeated; a segment is, because it then has at most 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Empty text.
    #[error(
        "an identity cannot be empty: write segments joined by `:`, such as `urn:hessra:alice`"
    )]
    Empty,
    /// Text above [`IDENTITY_BYTES_MAX`].
    #[error(
        "an identity has at most {IDENTITY_BYTES_MAX} bytes, this one has {length}: shorten its segments"
    )]
    TooLong {
        /// Bytes of the text.
        length: usize,
    },
    /// Path above [`SEGMENTS_MAX`].
    #[error(
        "an identity has at most {SEGMENTS_MAX} segments, this one has {count}: use fewer levels"
    )]
    TooManySegments {
        /// Segments of the path.
        count: usize,
    },
    /// The text starts with `:`.
    #[error("an identity cannot start with `:`: remove it")]
    LeadingColon,
    /// The text ends with `:`.
    #[error("an identity cannot end with `:`: remove it")]
    TrailingColon,
    /// Two `:` in a row.
    #[error("segment {index} of the identity is empty: write a single `:` between segments")]
    EmptySegment {
        /// Counted from 1, without a leading `uri`.
        index: usize,
    },
    /// DNS name in another spelling than the canonical one.
    #[error(
        "a DNS name is written in lower case and without a dot at its end: write `{canonical}`"
    )]
    DnsSpelling {
        /// The identity in its canonical spelling.
        canonical: String,
    },
    /// A byte outside the alphabet.
    #[error(
        "`{character}` is not allowed in segment `{segment}`: use letters, digits and any of `.` `_` `~` `@` `/` `-`; \
         nothing is escaped"
    )]
    Character {
        /// Character found, escaped when it cannot be printed.
        character: String,
        /// Segment that has it, escaped likewise.
        segment: String,
    },
}

fn check_ends(text: &str) -> Result<(), IdentityError> {
    if text.is_empty() {
        return Err(IdentityError::Empty);
    }
    if text.len() > IDENTITY_BYTES_MAX {
        return Err(IdentityError::TooLong { length: text.len() });
    }
    if text.starts_with(':') {
        return Err(IdentityError::LeadingColon);
    }
    if text.ends_with(':') {
        return Err(IdentityError::TrailingColon);
    }
    Ok(())
}

fn check_segment(segment: &str, index: usize) -> Result<(), IdentityError> {
    if segment.is_empty() {
        return Err(IdentityError::EmptySegment { index });
    }
    match segment.chars().find(|character| !is_allowed(*character)) {
        None => Ok(()),
        Some(character) => Err(IdentityError::Character {
            character: character.escape_default().to_string(),
            segment: segment.escape_default().to_string(),
        }),
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '~' | '@' | '/' | '-')
}

/// The one spelling of a DNS name: lower case, without a dot at its end.
#[must_use]
pub fn canonical_dns_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The text of a name with its first segment in canonical spelling, when that is a DNS name of several labels; any other
/// text as it is.
#[must_use]
pub fn canonical_spelling(text: &str) -> String {
    let path = without_uri(text);
    let scheme = &text[..text.len() - path.len()];
    let (first, rest) = path.split_at(path.find(':').unwrap_or(path.len()));
    match is_dns_name(first) {
        true => format!("{scheme}{}{rest}", canonical_dns_name(first)),
        false => text.to_owned(),
    }
}

/// True for labels with a dot between two of them. A name of one label cannot be told from any other word.
fn is_dns_name(segment: &str) -> bool {
    let is_of_a_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let labels = segment.trim_end_matches('.').split('.');
    let (mut count, mut are_labels) = (0, true);
    for label in labels {
        count += 1;
        are_labels &= !label.is_empty() && label.bytes().all(is_of_a_label);
    }
    count >= 2 && are_labels
}

/// Strips one leading `uri:`. A lone `uri` is a path of its own: there would be nothing left of it.
fn without_uri(text: &str) -> &str {
    match text.split_once(':') {
        Some((scheme, path)) if scheme.eq_ignore_ascii_case("uri") => path,
        _ => text,
    }
}
