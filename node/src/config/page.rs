//! The part of docs/limits.md that is made from the tables of the settings.

use toml::{Table, Value};

use super::sections::{Config, sections};
use super::show::at;
use super::table::{Row, SectionTable};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/limits.md");
const BEGIN: &str = "<!-- Made from the tables in `node/src/config/sections.rs`; a test keeps it so, with HESSRA_UPDATE=1 it writes. -->\n";
const END: &str = "<!-- Until here. -->\n";

/// Every setting that has a range or a rule, as a table.
fn table() -> String {
    let head = "| setting | default | range | what it is |\n|---|---|---|---|\n";
    let defaults = Config::default().table();
    let lines: String = sections()
        .iter()
        .map(|section| of_section(section, &defaults))
        .collect();
    format!("{head}{lines}")
}

fn of_section(section: &SectionTable, defaults: &Table) -> String {
    let line = |row: &Row| {
        let range = row.range.as_ref()?;
        let default = match at(defaults, section.name)?.get(row.key)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let about = row.comment.concat();
        let name = format!("{}.{}", section.name, row.key);
        Some(format!("| `{name}` | {default} | {range} |{about} |\n"))
    };
    section.rows.iter().filter_map(line).collect()
}

#[test]
fn the_page_of_limits_says_what_the_tables_of_the_settings_say() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the first mark");
    let (_, after) = rest.split_once(END).expect("the page has the second mark");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("HESSRA_UPDATE").is_some() {
        std::fs::write(PAGE, expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "docs/limits.md is old: run the test with HESSRA_UPDATE=1"
    );
}
