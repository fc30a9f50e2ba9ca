//! How far long work is, on a terminal.

use std::io::Write;
use std::time::{Duration, Instant};

const WIDTH: u64 = 40;
const INTERVAL: Duration = Duration::from_millis(200);

pub(crate) struct Progress<'w> {
    terminal: Option<&'w mut dyn Write>,
    total: Option<u64>,
    done: u64,
    shown: Option<Instant>,
    begun: Instant,
}

impl<'w> Progress<'w> {
    pub(crate) fn new(terminal: Option<&'w mut dyn Write>) -> Self {
        Self {
            terminal,
            total: None,
            done: 0,
            shown: None,
            begun: Instant::now(),
        }
    }

    /// Begins work on so many bytes, if that is known.
    pub(crate) fn begin(&mut self, total: Option<u64>) {
        (self.total, self.done) = (total, 0);
    }

    pub(crate) fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        let last = self.shown.unwrap_or(self.begun);
        if self.terminal.is_some() && last.elapsed() >= INTERVAL {
            self.shown = Some(Instant::now());
            let line = self.line();
            if let Some(terminal) = &mut self.terminal {
                // Without it the work goes on all the same.
                let _ = write!(terminal, "\r{line}").and_then(|()| terminal.flush());
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        if let (Some(terminal), Some(_)) = (&mut self.terminal, self.shown) {
            let _ = write!(terminal, "\r{:78}\r", "").and_then(|()| terminal.flush());
        }
    }

    fn line(&self) -> String {
        let megabytes = self.done / 1_000_000;
        match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let done = self.done.min(total);
                let filled = (u128::from(done) * u128::from(WIDTH) / u128::from(total)) as usize;
                let (bar, rest) = ("#".repeat(filled), " ".repeat(WIDTH as usize - filled));
                let percent = u128::from(done) * 100 / u128::from(total);
                format!("[{bar}{rest}] {percent:3} %  {megabytes} MB")
            }
            None => format!("{megabytes} MB"),
        }
    }
}
