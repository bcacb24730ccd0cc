//! Binaries under test: beside the test executable, in the same profile.

use std::path::PathBuf;

/// Path of a binary of the workspace (`hessra-node`, `hessra`) or of an example (`examples/verifier_probe`).
///
/// # Panics
/// When it was not built.
pub fn binary(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("a test knows its own path");
    let folder = here
        .ancestors()
        .find(|folder| folder.join(".fingerprint").is_dir());
    let profile =
        folder.unwrap_or_else(|| panic!("{} is not in a target directory", here.display()));
    let path = profile.join(name);
    assert!(
        path.is_file(),
        "{} is missing. Build it first: cargo build --bins --examples",
        path.display()
    );
    path
}
