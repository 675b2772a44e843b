//! The live view of a lab: a table on a terminal, one line a second elsewhere.

use super::folder::Folder;
use super::status::{self, LabStatus, line, shown};
use crate::failure::{Failure, Outcome};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often nodes are asked.
const REFRESH: Duration = Duration::from_millis(500);

/// Newest heights that the shown interval averages over.
const WINDOW: usize = 12;

/// When heights were first seen.
#[derive(Default)]
struct Pace(VecDeque<(u64, Instant)>);

impl Pace {
    fn saw(&mut self, height: Option<u64>, at: Instant) {
        let Some(height) = height else { return };
        if self.0.back().is_none_or(|(last, _)| height > *last) {
            self.0.push_back((height, at));
            if self.0.len() > WINDOW {
                self.0.pop_front();
            }
        }
    }

    /// Mean time between the blocks in the window.
    fn interval(&self) -> Option<Duration> {
        let ((low, first), (high, last)) = (self.0.front()?, self.0.back()?);
        let blocks = u32::try_from(high - low).ok().filter(|blocks| *blocks > 0)?;
        Some((*last - *first) / blocks)
    }
}

/// Shows the lab until it is interrupted, or deleted from another terminal.
pub async fn show(folder: &Folder, interrupted: impl Future<Output = ()>, terminal: bool) -> Outcome {
    if terminal { show_table(folder, interrupted).await } else { show_lines(folder, interrupted).await }
}

async fn show_lines(folder: &Folder, interrupted: impl Future<Output = ()>) -> Outcome {
    let client = status::client()?;
    let mut pace = Pace::default();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut interrupted = std::pin::pin!(interrupted);
    loop {
        tokio::select! {
            () = &mut interrupted => return Ok(()),
            _ = tick.tick() => {}
        }
        if !Folder::exists(folder.root()) {
            return Ok(());
        }
        let status = status::poll(folder, &client).await;
        pace.saw(status.height, Instant::now());
        println!("{}", line(&status, pace.interval()));
    }
}

async fn show_table(folder: &Folder, interrupted: impl Future<Output = ()>) -> Outcome {
    let client = status::client()?;
    let mut screen = ratatui::try_init().map_err(|error| Failure::failed("could not take over the terminal", error))?;
    let (keys, mut pressed) = tokio::sync::mpsc::channel(1);
    // Reading keys blocks, so it has a thread; it ends with the channel.
    std::thread::spawn(move || {
        while !keys.is_closed() {
            if quit_pressed() && keys.blocking_send(()).is_err() {
                return;
            }
        }
    });
    let mut pace = Pace::default();
    let mut tick = tokio::time::interval(REFRESH);
    let mut interrupted = std::pin::pin!(interrupted);
    let outcome = loop {
        tokio::select! {
            () = &mut interrupted => break Ok(()),
            _ = pressed.recv() => break Ok(()),
            _ = tick.tick() => {}
        }
        if !Folder::exists(folder.root()) {
            break Ok(());
        }
        let status = status::poll(folder, &client).await;
        pace.saw(status.height, Instant::now());
        if let Err(error) = screen.draw(|frame| draw(frame, &status, pace.interval())) {
            break Err(Failure::failed("could not draw", error));
        }
    };
    ratatui::restore();
    outcome
}

/// Waits a little for q or Ctrl-C; in raw mode the terminal sends no signal.
fn quit_pressed() -> bool {
    if !event::poll(Duration::from_millis(200)).unwrap_or(false) {
        return false;
    }
    match event::read() {
        Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => {
            key.code == KeyCode::Char('q') || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL))
        }
        _ => false,
    }
}

fn draw(frame: &mut Frame<'_>, status: &LabStatus, interval: Option<Duration>) {
    let [head, table, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(3), Constraint::Length(2)]).areas(frame.area());
    let strong = Style::default().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(Line::from(Span::styled(line(status, interval), strong))), head);

    let header = Row::new(["node", "role", "height", "round", "peers", "JSON-RPC", "last error"]).style(strong);
    let rows = status.nodes.iter().map(|node| {
        let behind = node.height < status.height;
        let style = match (node.pid, behind) {
            (None, _) => Style::default().fg(Color::DarkGray),
            (Some(_), true) => Style::default().fg(Color::Yellow),
            (Some(_), false) => Style::default(),
        };
        let trouble = if node.pid.is_none() { "stopped" } else { node.last_error.as_deref().unwrap_or("") };
        Row::new([
            Cell::from(node.name.clone()),
            Cell::from(node.role.clone()),
            Cell::from(shown(node.height)),
            Cell::from(shown(node.round)),
            Cell::from(shown(node.peers)),
            Cell::from(node.rpc.clone().unwrap_or_default()),
            Cell::from(trouble.to_owned()),
        ])
        .style(style)
    });
    let widths = [
        Constraint::Length(18),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Length(24),
        Constraint::Min(10),
    ];
    frame.render_widget(Table::new(rows, widths).header(header).block(Block::bordered()), table);
    let foot_text = format!("accounts and keys: {}\nq or Ctrl-C stops every node", status.accounts.display());
    frame.render_widget(Paragraph::new(foot_text), foot);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::status::NodeStatus;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    #[test]
    fn the_interval_is_the_mean_of_the_window() {
        let mut pace = Pace::default();
        let began = Instant::now();
        assert_eq!(pace.interval(), None);
        for height in [None, Some(5), Some(5), Some(7)] {
            pace.saw(height, began + Duration::from_secs(2 * height.unwrap_or(0)));
        }
        assert_eq!(pace.interval(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn every_node_is_on_the_screen() {
        let node = |name: &str, pid| NodeStatus {
            name: name.into(),
            institution: "inst1".into(),
            role: "validator".into(),
            pid,
            address: String::new(),
            height: pid.map(|_| 41),
            hash: None,
            round: Some(3),
            peers: Some(2),
            p2p: None,
            rpc: Some("http://127.0.0.1:20001".into()),
            metrics: None,
            enode: String::new(),
            validating: Some(true),
            last_error: None,
        };
        let status = LabStatus {
            dir: "lab".into(),
            running: 1,
            height: Some(41),
            round: Some(3),
            accounts: "lab/accounts.json".into(),
            nodes: vec![node("inst1-validator", Some(1)), node("inst1-boot", None)],
        };
        let mut terminal = Terminal::new(TestBackend::new(110, 12)).expect("screen");
        terminal.draw(|frame| draw(frame, &status, Some(Duration::from_millis(1250)))).expect("drawn");
        let text: String = terminal.backend().buffer().content().iter().map(|cell| cell.symbol()).collect();
        for word in ["height 41 round 3 interval 1.25 s", "inst1-boot", "stopped", "http://127.0.0.1:20001", "accounts.json"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
