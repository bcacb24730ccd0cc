//! The settings in force as a commented file.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::sections::{Config, sections};
use super::table::Row;

/// Longest array on one line; longer ones are written one item a line.
const INLINE_MAX: usize = 80;
/// Longest line of a comment.
const COMMENT_MAX: usize = 109;

pub(super) fn commented(config: &Config) -> String {
    let root = config.table();
    let mut text = String::from(
        "# Settings of one hessra node. Check: hessra-node config check --config THIS-FILE\n",
    );
    let sections = sections();
    for section in &sections {
        text.push('\n');
        write_comment(&mut text, section.comment.iter().copied());
        let _ = writeln!(text, "[{}]", section.name);
        for row in &section.rows {
            // A section of its own says it better.
            let own = format!("{}.{}", section.name, row.key);
            if sections.iter().any(|section| section.name == own) {
                continue;
            }
            write_comment(&mut text, explained(row).iter().map(String::as_str));
            let value = at(&root, section.name).and_then(|table| table.get(row.key));
            let _ = writeln!(
                text,
                "{} = {}",
                row.key,
                value.map_or_else(String::new, shown)
            );
        }
    }
    text
}

/// The comment of a setting, and its range at the end.
fn explained(row: &Row) -> Vec<String> {
    let mut lines: Vec<String> = row.comment.iter().map(ToString::to_string).collect();
    if let Some(range) = &row.range {
        match lines.last_mut() {
            Some(last) if last.len() + range.len() + 3 <= COMMENT_MAX => {
                *last += &format!(" {range}.");
            }
            _ => lines.push(format!(" {range}.")),
        }
    }
    lines
}

/// The table of a section; `policy.git` is below `policy`.
pub(super) fn at<'r>(root: &'r Table, section: &str) -> Option<&'r Table> {
    let mut steps = section.split('.');
    steps.try_fold(root, |table, step| table.get(step)?.as_table())
}

fn write_comment<'l>(text: &mut String, lines: impl Iterator<Item = &'l str>) {
    for line in lines {
        let _ = writeln!(text, "#{line}");
    }
}

fn shown(value: &Value) -> String {
    let inline = inline(value);
    match value {
        Value::Array(items) if inline.len() > INLINE_MAX => {
            let lines: String = items
                .iter()
                .map(|item| format!("    {},\n", self::inline(item)))
                .collect();
            format!("[\n{lines}]")
        }
        _ => inline,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(inline).collect::<Vec<_>>().join(", ")
        ),
        Value::Table(table) => {
            let pairs: Vec<String> = table
                .iter()
                .map(|(key, value)| format!("{key} = {}", inline(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    #[test]
    fn what_is_shown_parses_back_to_the_same_settings_and_explains_each() {
        let mut config = Config::default();
        config.cluster.name = "a".to_owned();
        config.cluster.initial_members = (1..=3)
            .map(|id| InitialMember {
                id,
                peer: format!("10.0.0.{id}:1"),
                public: format!("10.0.0.{id}:2"),
            })
            .collect();
        let text = config.show();
        let mut faults = Faults::new("shown.toml", &text);
        let document = Document::parse(&text, &mut faults);
        assert_eq!(
            Config::read(document.section(), &mut faults),
            config,
            "{text}"
        );
        assert!(faults.is_empty(), "{faults:?}");
        for section in super::sections() {
            for row in section.rows {
                let own = format!("{}.{}", section.name, row.key);
                assert!(!super::explained(&row).is_empty(), "{own} has no comment");
            }
        }
    }
}
