//! Live progress of a revocation: a line that redraws itself, or a line now and then.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::output::Console;

/// Least time between two plain lines of progress, so that logs stay readable.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Display of progress.
pub(super) enum Display {
    Bar(ProgressBar),
    Lines {
        console: Console,
        last: Option<Instant>,
        shown: String,
    },
    Silent,
}

impl Display {
    /// Display as the console allows; programs get everything with the answer.
    pub(super) fn new(console: Console) -> Self {
        if console.may_animate() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            return Self::Bar(bar);
        }
        if console.for_machines() {
            Self::Silent
        } else {
            Self::Lines {
                console,
                last: None,
                shown: String::new(),
            }
        }
    }

    /// Shows the progress. The last step is not shown: it is the answer itself.
    pub(super) fn show(&mut self, text: &str, done: bool) {
        match self {
            Self::Bar(bar) => bar.set_message(text.to_owned()),
            Self::Lines {
                console,
                last,
                shown,
            } => {
                let due = last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL);
                if due && !done && text != *shown {
                    console.note(&format!("  {text}"));
                    (*last, *shown) = (Some(Instant::now()), text.to_owned());
                }
            }
            Self::Silent => (),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
