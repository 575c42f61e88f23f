//! The live view, drawn in the lines below the prompt, so that what was said before stays readable.

use std::io::{self, Stdout};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Bar, BarChart, BarGroup, Block, Gauge, Paragraph, Sparkline, Widget as _};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use super::{Figures, Moment};
use crate::summary::mib;

const HEIGHT: u16 = 14;
/// Upper ends of the histogram's classes of stalls.
const CLASSES_MS: [u64; 7] = [1, 3, 10, 30, 100, 300, 1000];

/// The terminal, until dropped.
pub(super) struct Live {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Live {
    pub fn start() -> io::Result<Self> {
        let options = TerminalOptions {
            viewport: Viewport::Inline(HEIGHT),
        };
        Ok(Self {
            terminal: Terminal::with_options(CrosstermBackend::new(io::stdout()), options)?,
        })
    }

    pub fn say(&mut self, text: &str) {
        // An error means that the terminal has gone.
        let _ = self
            .terminal
            .insert_before(1, |buffer| Paragraph::new(text).render(buffer.area, buffer));
    }

    pub fn draw(&mut self, moment: &Moment, figures: &Figures) {
        let _ = self.terminal.draw(|frame| draw(frame, moment, figures));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // What is printed next begins where the view was, whatever the last drawing left the cursor at.
        let top = self.terminal.get_frame().area().as_position();
        let _ = self.terminal.clear();
        let _ = self.terminal.set_cursor_position(top);
        let _ = self.terminal.show_cursor();
    }
}

fn draw(frame: &mut Frame<'_>, moment: &Moment, figures: &Figures) {
    let rows = [
        Constraint::Length(3),
        Constraint::Length(2),
        Constraint::Fill(1),
    ];
    let [time, numbers, charts] = Layout::vertical(rows).areas(frame.area());
    draw_time(frame, time, moment);
    let bad = figures.failed_reads + figures.differing_bytes > 0;
    let lines = vec![
        Line::from(format!(
            " {:.0} MiB compared   {} daemons killed   pass {} at {:.0} %",
            mib(figures.bytes_read),
            figures.kills,
            moment.pass,
            moment.pass_progress * 100.0
        )),
        Line::from(format!(
            " {} reads failed   {} bytes differ   stall per kill {}",
            figures.failed_reads, figures.differing_bytes, figures.stalls
        ))
        .style(Style::new().fg(if bad { Color::Red } else { Color::Green })),
    ];
    frame.render_widget(Paragraph::new(lines), numbers);
    let [throughput, stalls] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(charts);
    draw_throughput(frame, throughput, figures);
    draw_stalls(frame, stalls, figures);
}

fn draw_time(frame: &mut Frame<'_>, area: Rect, moment: &Moment) {
    let (now, end) = (
        moment.reading_time.as_secs_f64(),
        moment.wanted_time.as_secs_f64(),
    );
    let share = if end > 0.0 {
        (now / end).clamp(0.0, 1.0)
    } else {
        1.0
    };
    let gauge = Gauge::default()
        .ratio(share)
        .label(format!("{now:.1} of {end:.0} s"))
        .gauge_style(Color::Cyan);
    frame.render_widget(
        gauge.block(Block::bordered().title(format!(" holdfast demo: {} ", moment.phase))),
        area,
    );
}

fn draw_throughput(frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
    let now = figures.throughput_mib.last().copied().unwrap_or(0);
    let block = Block::bordered().title(format!(" throughput: {now} MiB/s "));
    let shown = usize::from(block.inner(area).width).min(figures.throughput_mib.len());
    let latest = &figures.throughput_mib[figures.throughput_mib.len() - shown..];
    frame.render_widget(
        Sparkline::default()
            .data(latest)
            .style(Color::Cyan)
            .block(block),
        area,
    );
}

fn draw_stalls(frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
    let bars: Vec<Bar<'_>> = classes(&figures.stalls_ns)
        .into_iter()
        .map(|(label, count)| Bar::default().label(Line::from(label)).value(count))
        .collect();
    let chart = BarChart::default()
        .data(BarGroup::default().bars(&bars))
        .bar_width(4)
        .bar_gap(1)
        .bar_style(Color::Yellow);
    frame.render_widget(chart.block(Block::bordered().title(" stalls, ms ")), area);
}

/// How many stalls fall into each class.
fn classes(stalls_ns: &[u64]) -> Vec<(String, u64)> {
    let below_ms = |limit_ms: u64| {
        let limit_ns =
            u64::try_from(Duration::from_millis(limit_ms).as_nanos()).expect("seconds fit");
        let count = stalls_ns
            .iter()
            .filter(|stall_ns| **stall_ns < limit_ns)
            .count();
        u64::try_from(count).expect("a count in memory fits into 64 bits")
    };
    let mut counted = 0;
    let mut classes = Vec::new();
    for limit_ms in CLASSES_MS {
        let below = below_ms(limit_ms);
        let label = match limit_ms {
            // As wide as a bar.
            1000.. => "<1 s".to_owned(),
            _ => format!("<{limit_ms}"),
        };
        classes.push((label, below - counted));
        counted = below;
    }
    let all = u64::try_from(stalls_ns.len()).expect("a count in memory fits into 64 bits");
    classes.push(("more".to_owned(), all - counted));
    classes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ratatui::backend::TestBackend;

    pub fn all_figures_are_drawn(moment: &Moment, figures: &Figures) {
        let mut terminal = Terminal::new(TestBackend::new(100, HEIGHT)).unwrap();
        terminal.draw(|frame| draw(frame, moment, figures)).unwrap();
        let text = terminal.backend().to_string();
        for part in [
            "1.5 of 20 s",
            "10 MiB compared",
            "3 daemons killed",
            "pass 2 at 50 %",
            "0 reads failed",
            "7 MiB/s",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn each_stall_is_in_one_class() {
        let ms = 1_000_000;
        let counts: Vec<u64> = classes(&[0, ms, 2 * ms, 99 * ms, 100 * ms, 5000 * ms])
            .into_iter()
            .map(|(_, count)| count)
            .collect();
        assert_eq!(counts, [1, 2, 0, 0, 1, 1, 0, 1]);
    }
}
