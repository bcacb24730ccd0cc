//! Macros that make types of the tables of the settings: `section!` makes a section's struct, how it is read, shown and
//! checked, and the rows for people; `config!` puts sections together.
//!
//! ```text
//! section! {
//!     /// About the section.
//!     Storage {
//!         /// About the setting.
//!         cache: ByteSize = ByteSize::mebibytes(64), in ByteSize::mebibytes(8)..=ByteSize::mebibytes(16 << 10);
//!     }
//! }
//! ```

/// A setting as the table has it.
pub(super) struct Row {
    pub(super) key: &'static str,
    /// Lines of its comment, each with the space before it.
    pub(super) comment: &'static [&'static str],
    /// A sentence without its full stop: the range, or the rule in the place of one.
    pub(super) range: Option<String>,
}

/// A section as the table has it.
pub(super) struct SectionTable {
    /// Name as in a document: `policy.git`.
    pub(super) name: &'static str,
    pub(super) comment: &'static [&'static str],
    pub(super) rows: Vec<Row>,
}

pub(super) trait Documented {
    const COMMENT: &'static [&'static str];

    fn rows() -> Vec<Row>;
}

/// A table of settings. `in` is the range of a setting; `rule` says in its place what `check.rs` knows, because it depends
/// on another setting.
macro_rules! section {
    (@range $type:ty) => { None };
    (@range $type:ty, in $range:expr) => { Some(<$type as Ranged>::range(&($range))) };
    (@range $type:ty, rule $rule:expr) => { Some($rule) };
    ($(#[doc = $about:literal])+ $name:ident {
        $($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr $(, in $range:expr)? $(, rule $rule:expr)?;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                $(#[doc = concat!(" In `", stringify!($range), "`.")])?
                $(#[doc = concat!(" Rule: `", stringify!($rule), "`.")])?
                pub $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl Setting for $name {
            fn read(
                above: &mut Section<'_, '_>,
                key: &'static str,
                faults: &mut Faults<'_>,
            ) -> Option<Self> {
                let mut section = above.section(key, faults)?;
                let mut read = Self::default();
                $(if let Some(value) = Setting::read(&mut section, stringify!($field), faults) {
                    read.$field = value;
                })+
                section.close(faults);
                Some(read)
            }

            fn show(&self) -> Value {
                Value::Table(Table::from_iter([
                    $((stringify!($field).to_owned(), self.$field.show()),)+
                ]))
            }

            fn each_outside(&self, path: &str, found: &mut dyn FnMut(&str, String)) {
                $({
                    let path = format!("{path}.{}", stringify!($field));
                    self.$field.each_outside(&path, found);
                    $(if let Some(sentence) = self.$field.outside(&($range)) {
                        found(&path, sentence);
                    })?
                })+
            }
        }

        impl Documented for $name {
            const COMMENT: &'static [&'static str] = &[$($about),+];

            fn rows() -> Vec<Row> {
                vec![$(Row {
                    key: stringify!($field),
                    comment: &[$($doc),*],
                    range: section!(@range $type $(, in $range)? $(, rule $rule)?),
                },)+]
            }
        }
    };
}

macro_rules! config {
    ($($field:ident: $type:ident $(, $below:literal: $below_type:ident)?;)+) => {
        /// All settings of one node.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub struct Config { $(pub $field: $type,)+ }

        impl Config {
            /// Reads all settings; defaults stand for what is absent, and for what is wrong.
            pub(super) fn read(mut document: Section<'_, '_>, faults: &mut Faults<'_>) -> Self {
                let read = Self {
                    $($field: Setting::read(&mut document, stringify!($field), faults).unwrap_or_default(),)+
                };
                document.close(faults);
                read
            }

            pub(super) fn table(&self) -> Table {
                Table::from_iter([$((stringify!($field).to_owned(), self.$field.show()),)+])
            }

            /// Calls `found` as [`Setting::each_outside`] does.
            pub(super) fn each_outside(&self, found: &mut dyn FnMut(&str, String)) {
                $(self.$field.each_outside(stringify!($field), found);)+
            }
        }

        /// All tables, in the order of a document.
        pub(super) fn sections() -> Vec<SectionTable> {
            vec![$(
                SectionTable { name: stringify!($field), comment: $type::COMMENT, rows: $type::rows() },
                $(SectionTable { name: $below, comment: $below_type::COMMENT, rows: $below_type::rows() },)?
            )+]
        }
    };
}
