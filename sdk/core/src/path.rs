//! Paths and prefixes, compared segment by segment; only paths that have one reading are accepted.
//!
//! `a/b` covers `a/b` and `a/b/c`, never `a/bc`. A path that someone else could resolve to another place, as
//! `a/b/../c`, is not a path.

/// Most bytes of a path or prefix. Origin: longest key of common object stores.
pub(crate) const PATH_BYTES_MAX: usize = 1024;

/// True when the path is the prefix or below it.
pub(crate) fn covers(prefix: &str, path: &str) -> bool {
    if !is_canonical(prefix) || !is_canonical(path) {
        return false;
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// True when a path has one reading: no empty, `.` or `..` segment in the middle, nothing percent-encoded, no other
/// separator.
pub(crate) fn is_canonical(path: &str) -> bool {
    let plain = |character: char| !character.is_control() && !"\"\\%".contains(character);
    if path.is_empty() || path == "/" || path.len() > PATH_BYTES_MAX || !path.chars().all(plain) {
        return false;
    }
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let mut segments = inner.split('/');
    segments.all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_whole_segments_only() {
        for (prefix, path, covered) in [
            ("users/alice", "users/alice", true),
            ("users/alice", "users/alice/photo.jpg", true),
            ("users/alice/", "users/alice/photo.jpg", true),
            ("users/alice", "users/alice/", true),
            ("users/alice", "users/alice2", false),
            ("users/alice/", "users/alice2/photo.jpg", false),
            ("users/alice", "users", false),
            ("users/alice", "Users/alice", false),
            ("/users", "/users/alice", true),
            ("/users", "users/alice", false),
            ("users", "/users/alice", false),
        ] {
            assert_eq!(covers(prefix, path), covered, "{prefix} {path}");
        }
    }

    #[test]
    fn a_path_with_two_readings_is_covered_by_nothing() {
        for path in [
            "users/alice/../bob",
            "users/alice/./x",
            "users/alice//x",
            "users/alice/%2e%2e/bob",
            "users/alice\\..\\bob",
            "users/alice/x\0",
            "users/alice/..",
            "",
            "/",
        ] {
            assert!(!covers("users/alice", path), "{path}");
            assert!(!covers(path, path), "{path}");
        }
    }
}
