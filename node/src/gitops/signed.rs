//! A signed commit, taken apart: what was signed, the signature, and when its committer says that it was.
//!
//! ```text
//! tree 4b825d…            ┐
//! parent 91ab…            │
//! author …                │ the payload is the commit without its header `gpgsig`
//! committer … 1767225600 +0000
//! gpgsig -----BEGIN SSH SIGNATURE-----    ◀ the signature; further lines begin with a space
//!  …                      │
//!                         │
//! message                 ┘
//! ```
//! Git verifies the same (`git verify-commit`), but as of the committer's own date, so that a key that has ended signs on
//! with a date before its end. Taken apart here, `ssh-keygen` verifies it as of now. Deliberately strict: a commit with two
//! signatures, or with a header that this does not know how to read, has none.
//! Format: gitformat-signature(5).

/// Header of a signature in a repository of SHA-1.
const SIGNATURE: &str = "gpgsig ";
/// Beginning of any header with a signature: there must be one, not several.
const ANY_SIGNATURE: &str = "gpgsig";

/// The parts of a signed commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) payload: String,
    pub(super) signature: String,
    /// Unix seconds, by the committer's clock; signed.
    pub(super) committed_at: u64,
}

/// Takes a commit apart; `None`: it has no signature, or not exactly one.
pub(super) fn take_apart(commit: &str) -> Option<Signed> {
    let (head, message) = commit.split_once("\n\n")?;
    let (mut payload, mut signature) = (String::new(), String::new());
    let mut committed_at = None;
    let (mut within, mut signatures) = (false, 0);
    for line in head.split('\n') {
        match (line.strip_prefix(' '), line.strip_prefix(SIGNATURE)) {
            (Some(more), _) if within => push_line(&mut signature, more),
            (_, Some(first)) => {
                within = true;
                signatures += 1;
                push_line(&mut signature, first);
            }
            _ if line.starts_with(ANY_SIGNATURE) => return None,
            _ => {
                within = false;
                push_line(&mut payload, line);
                if let Some(committer) = line.strip_prefix("committer ") {
                    // Two would be two times.
                    if committed_at.replace(seconds(committer)?).is_some() {
                        return None;
                    }
                }
            }
        }
    }
    payload.push('\n');
    payload.push_str(message);
    (signatures == 1).then_some(Signed {
        payload,
        signature,
        committed_at: committed_at?,
    })
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Unix seconds of `NAME <ADDRESS> SECONDS ZONE`.
fn seconds(person: &str) -> Option<u64> {
    let (_, time) = person.rsplit_once("> ")?;
    time.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "tree aa\nparent bb\nauthor Ann <a@b> 1700000000 +0100\n\
        committer Ann <a@b> 1767225600 +0100\ngpgsig -----BEGIN SSH SIGNATURE-----\n line\n \n -----END SSH SIGNATURE-----\n\
        \nsubject\n\nbody\ngpgsig of no header\n";

    #[test]
    fn the_signature_is_taken_out_and_the_rest_is_what_was_signed() {
        let signed = take_apart(COMMIT).unwrap();
        assert_eq!(
            signed.payload,
            "tree aa\nparent bb\nauthor Ann <a@b> 1700000000 +0100\ncommitter Ann <a@b> 1767225600 +0100\n\
             \nsubject\n\nbody\ngpgsig of no header\n"
        );
        assert_eq!(
            signed.signature,
            "-----BEGIN SSH SIGNATURE-----\nline\n\n-----END SSH SIGNATURE-----\n"
        );
        assert_eq!(signed.committed_at, 1_767_225_600);
    }

    #[test]
    fn a_commit_without_one_signature_and_one_time_has_none() {
        let unsigned = "tree aa\ncommitter Ann <a@b> 1767225600 +0100\n\nsubject\n";
        assert_eq!(take_apart(unsigned), None);
        let twice = COMMIT.replacen("\ngpgsig ", "\ngpgsig other\ngpgsig ", 1);
        assert_eq!(take_apart(&twice), None);
        let other = COMMIT.replacen("\ngpgsig ", "\ngpgsig-sha256 x\ngpgsig ", 1);
        assert_eq!(take_apart(&other), None);
        let times = COMMIT.replacen("\ncommitter", "\ncommitter Bob <b@b> 1 +0000\ncommitter", 1);
        assert_eq!(take_apart(&times), None);
        assert_eq!(take_apart("tree aa"), None);
    }
}
