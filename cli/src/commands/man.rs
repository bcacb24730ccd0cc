//! `hessra man DIR`

use std::path::Path;

use clap::CommandFactory;
use serde_json::json;

use crate::args::Arguments;
use crate::exit;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Writes one page per command into the folder, for `man` and for packages.
pub(super) fn run(console: Console, folder: &Path) -> Outcome {
    let root = Arguments::command().after_long_help(format!("Exit codes:\n\n{}", exit::table()));
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(root, folder));
    written.map_err(|error| CommandError::file("write manual pages to", folder, &error))?;
    let page = folder.join("hessra.1");
    console.answer(&json!({"folder": folder}), || {
        format!("Written. Read them with `man {}`\n", page.display())
    })
}
