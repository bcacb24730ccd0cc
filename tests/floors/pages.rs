//! Pages: every path of this repository that a page names is there.

use std::path::{Path, PathBuf};

use crate::crates::{crates, workspace};

/// Pages of the repository, but for the changelog, which speaks of the past.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![workspace()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry of a folder").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or("");
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "hessra-dev" {
                folders.push(path);
            } else if name.ends_with(".md") && name != "CHANGELOG.md" {
                found.push(path);
            }
        }
    }
    found
}

/// Texts between backticks, outside of blocks.
fn quoted(page: &str) -> Vec<&str> {
    let mut fenced = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    });
    lines
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

/// True for a path that begins at the root: its first part is a folder there.
fn is_path(text: &str, root: &Path) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    let first = text.split('/').next().unwrap_or_default();
    text.contains('/') && text.chars().all(plain) && !first.is_empty() && root.join(first).is_dir()
}

/// True when a path exists: as it stands, as a module of a crate (`node/api/grpc`), or with its ending left out.
fn exists(text: &str, root: &Path, folders: &[PathBuf]) -> bool {
    let stands = |path: PathBuf| path.exists() || path.with_extension("rs").exists();
    let path = root.join(text.trim_end_matches('/'));
    let inside = folders.iter().filter_map(|folder| {
        let rest = path.strip_prefix(folder).ok()?;
        Some(folder.join("src").join(rest))
    });
    let mut candidates: Vec<PathBuf> = inside.collect();
    candidates.push(path.clone());
    candidates.into_iter().any(stands)
}

#[test]
fn every_path_that_a_page_names_is_there() {
    let root = workspace();
    let folders: Vec<PathBuf> = crates().into_iter().map(|found| found.folder).collect();
    let mut missing = Vec::new();
    let mut looked_at = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("a page is text");
        for path in quoted(&text)
            .into_iter()
            .filter(|text| is_path(text, &root))
        {
            looked_at += 1;
            if !exists(path, &root, &folders) {
                missing.push(format!("{}: `{path}`", page.display()));
            }
        }
    }
    assert!(
        looked_at > 50,
        "only {looked_at} paths were found on the pages"
    );
    assert!(missing.is_empty(), "{missing:#?}");
}
