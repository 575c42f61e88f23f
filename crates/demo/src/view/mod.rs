//! What is shown while the demo runs: a live view on a terminal, a line every second otherwise.
//!
//! Invariant: showing never fails the demo. A terminal that cannot be drawn on gets lines; output that nobody reads is dropped.

mod live;

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::score::Score;
use crate::summary::{StallPercentiles, mib};

/// Between two samples of the throughput, and two drawings.
const DRAW_INTERVAL: Duration = Duration::from_millis(250);
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// How the run is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Live if standard output is a terminal.
    Auto,
    Lines,
    Nothing,
}

/// Where the run is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moment {
    /// What is being done: "reading", "mounting"…
    pub phase: String,
    pub reading_time: Duration,
    pub wanted_time: Duration,
    /// From 1.
    pub pass: u64,
    /// 0.0..=1.0.
    pub pass_progress: f64,
}

/// Figures of a moment.
#[derive(Debug, Clone, PartialEq)]
struct Figures {
    bytes_read: u64,
    kills: u64,
    failed_reads: u64,
    differing_bytes: u64,
    stalls_ns: Vec<u64>,
    stalls: StallPercentiles,
    /// MiB per second, one per drawing, the latest last.
    throughput_mib: Vec<u64>,
}

enum Screen {
    Live(Box<live::Live>),
    Lines,
    Nothing,
}

/// Shows a run.
pub(crate) struct View {
    screen: Screen,
    shown: Option<Instant>,
    sampled: Option<(Instant, u64)>,
    throughput_mib: Vec<u64>,
}

impl View {
    pub fn new(style: Style) -> Self {
        let screen = match style {
            Style::Nothing => Screen::Nothing,
            Style::Auto if std::io::stdout().is_terminal() => {
                live::Live::start().map_or(Screen::Lines, |live| Screen::Live(Box::new(live)))
            }
            Style::Auto | Style::Lines => Screen::Lines,
        };
        Self {
            screen,
            shown: None,
            sampled: None,
            throughput_mib: Vec::new(),
        }
    }

    /// Says a sentence: above the live view, or as a line.
    pub fn say(&mut self, text: &str) {
        match &mut self.screen {
            Screen::Live(live) => live.say(text),
            Screen::Lines => line(text),
            Screen::Nothing => {}
        }
    }

    /// Shows the moment, if it is time to show one.
    pub fn update(&mut self, moment: &Moment, score: &Score) {
        let interval = match &self.screen {
            Screen::Live(_) => DRAW_INTERVAL,
            Screen::Lines => LINE_INTERVAL,
            Screen::Nothing => return,
        };
        if self.shown.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        self.shown = Some(Instant::now());
        self.sample_throughput(score.bytes_read());
        let stalls_ns = score.kills.stalls_ns();
        let figures = Figures {
            bytes_read: score.bytes_read(),
            kills: score.kills.real(),
            failed_reads: score.failed_reads(),
            differing_bytes: score.differing_bytes(),
            stalls: StallPercentiles::of_ns(stalls_ns.clone()),
            stalls_ns,
            throughput_mib: self.throughput_mib.clone(),
        };
        match &mut self.screen {
            Screen::Live(live) => live.draw(moment, &figures),
            Screen::Lines => line(&describe(moment, &figures)),
            Screen::Nothing => {}
        }
    }

    fn sample_throughput(&mut self, bytes_read: u64) {
        const KEPT: usize = 400;
        let now = Instant::now();
        if let Some((at, before)) = self.sampled.replace((now, bytes_read)) {
            let rate = mib(bytes_read - before) / (now - at).as_secs_f64();
            // Cut to whole MiB/s; not negative, and far below 2^64.
            self.throughput_mib.push(rate as u64);
            let surplus = self.throughput_mib.len().saturating_sub(KEPT);
            self.throughput_mib.drain(..surplus);
        }
    }
}

fn describe(moment: &Moment, figures: &Figures) -> String {
    format!(
        "{:>5.1} s  {}  pass {} {:>3.0} %  {:.0} MiB  {} MiB/s  {} kills  {} failed  {} differ  stall {}",
        moment.reading_time.as_secs_f64(),
        moment.phase,
        moment.pass,
        moment.pass_progress * 100.0,
        mib(figures.bytes_read),
        figures.throughput_mib.last().copied().unwrap_or(0),
        figures.kills,
        figures.failed_reads,
        figures.differing_bytes,
        figures.stalls,
    )
}

fn line(text: &str) {
    // A reader that has gone (EPIPE) must not end the demo before it has cleaned up.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_all_figures() {
        let moment = Moment {
            phase: "reading".into(),
            reading_time: Duration::from_millis(1500),
            wanted_time: Duration::from_secs(20),
            pass: 2,
            pass_progress: 0.5,
        };
        let figures = Figures {
            bytes_read: 10 << 20,
            kills: 3,
            failed_reads: 0,
            differing_bytes: 0,
            stalls_ns: vec![1_000_000],
            stalls: StallPercentiles::of_ns(vec![1_000_000]),
            throughput_mib: vec![7],
        };
        let text = describe(&moment, &figures);
        let expected = "  1.5 s  reading  pass 2  50 %  10 MiB  7 MiB/s  3 kills  0 failed  0 differ  stall p50 1.0 ms, p99 1.0 ms, max 1.0 ms";
        assert_eq!(text, expected);
        live::tests::all_figures_are_drawn(&moment, &figures);
    }
}
