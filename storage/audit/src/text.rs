//! Texts from outside: bounded, one line, and never a token.
//!
//! A caller chooses many of the words in a record: a resource, a ticket, a name in a certificate. JSON escapes line
//! feeds, so a record is always one line; here the rest is taken away that would harm who reads it (control characters
//! that JSON leaves alone) and what a caller put in the wrong field (a token where a resource should be).

/// Longest text of a record in bytes. Origin: the longest message of a revocation.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Longest text that a caller chose who proved nothing: enough for a name or a path to be recognized, too little to fill
/// a disk with.
pub const UNPROVED_BYTES_MAX: usize = 64;
/// A run of so many characters of base64 without a separator is taken for a token or a key. Origin: the shortest Biscuit
/// has about 200, the longest word that people write in a name about 40; ids of tokens have a field of their own.
const SECRET_RUN: usize = 96;
/// Mark at the end of a text that was cut.
const CUT: char = '…';

/// A text as a record may hold it.
///
/// ```
/// use hessra_audit::text::safe;
/// assert_eq!(safe("urn:hessra:alice"), "urn:hessra:alice");
/// assert_eq!(safe("two\nlines"), "two\u{fffd}lines");
/// assert_eq!(safe(&format!("my token {}", "E".repeat(300))), "my token [300 characters left out]");
/// ```
#[must_use]
pub fn safe(text: &str) -> String {
    let mut out = String::new();
    let mut rest = bounded(text);
    while !rest.is_empty() {
        let run = rest.len() - rest.trim_start_matches(is_base64).len();
        if run >= SECRET_RUN {
            out.push_str(&format!("[{run} characters left out]"));
            rest = &rest[run..];
            continue;
        }
        let (taken, left) = rest.split_at(run);
        out.push_str(taken);
        let mut characters = left.chars();
        if let Some(character) = characters.next() {
            out.push(if harmful(character) {
                char::REPLACEMENT_CHARACTER
            } else {
                character
            });
        }
        rest = characters.as_str();
    }
    if bounded(text).len() < text.len() {
        out.push(CUT);
    }
    out
}

/// The same, in place; most texts need nothing.
pub(crate) fn make_safe(text: &mut String) {
    if !is_safe(text) {
        *text = safe(text);
    }
}

/// A text that a stranger chose, in place: as [`safe`], and cut to [`UNPROVED_BYTES_MAX`].
pub(crate) fn cut_unproved(text: &mut String) {
    make_safe(text);
    if text.len() > UNPROVED_BYTES_MAX {
        let room = UNPROVED_BYTES_MAX - CUT.len_utf8();
        text.truncate(text.floor_char_boundary(room));
        text.push(CUT);
    }
}

/// True only for texts that [`safe`] leaves as they are: short enough, of characters that do no harm anywhere, and
/// without a run that could be a secret.
fn is_safe(text: &str) -> bool {
    let plain = |byte: u8| (b' '..0x7f).contains(&byte);
    let mut run = 0;
    text.len() <= TEXT_BYTES_MAX
        && text.bytes().all(|byte| {
            run = if is_base64(char::from(byte)) {
                run + 1
            } else {
                0
            };
            plain(byte) && run < SECRET_RUN
        })
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

fn is_base64(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '+' | '_' | '-' | '=')
}

/// Control characters, and those that reorder or break lines on a terminal (Unicode TR 9 and TR 14).
fn harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
