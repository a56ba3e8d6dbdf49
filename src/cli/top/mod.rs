//! `sluice top`: the running daemon on a terminal, asked over its API once a second.

mod draw;
mod snapshot;
mod state;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{CliError, Context, Exit, api, print_line};

pub use draw::draw;
pub use snapshot::{Away, Snapshot};
pub use state::{Key, Panel, Sort, State};

/// Time between two rounds of questions.
const ROUND: Duration = Duration::from_secs(1);

/// The longest a key or a signal waits until it is seen. Source: a guess; a person does not see it.
const LOOK: Duration = Duration::from_millis(100);

/// `sluice top`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one frame as text, and end
    #[arg(long)]
    once: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        if self.once {
            return once(context);
        }
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            let error = "`sluice top` needs a terminal to draw on and to read keys from; `sluice top --once` prints one frame as text";
            return Err(CliError::plain(Exit::Usage, error));
        }
        // What is wrong with the settings is said before the screen is taken.
        context.load()?;
        let over = Arc::new(AtomicBool::new(false));
        let signals = ended_by_signals(&over).map_err(no_terminal)?;
        let answers = asked_each_round(context.clone(), Arc::clone(&over)).map_err(no_terminal)?;
        let shown = {
            let screen = Screen::take().map_err(no_terminal)?;
            show(screen, &answers, &over)
        };
        over.store(true, Ordering::Relaxed);
        drop(answers);
        // The one that asks may wait for an answer; it holds nothing that must be given back.
        drop(signals);
        shown.map_err(no_terminal)?;
        Ok(Exit::Done)
    }
}

fn no_terminal(error: io::Error) -> CliError {
    CliError::new(Exit::No, "the terminal cannot be used", error)
}

/// The terminal as it is drawn on. However this ends, it is given back as it was: a panic by ratatui's hook, all else by the drop.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    fn take() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Draws what is answered, and does what keys say, until one says that it is over.
fn show(mut screen: Screen, answers: &Receiver<Answer>, over: &AtomicBool) -> io::Result<()> {
    let mut state = State::default();
    let mut changed = true;
    while !state.over && !over.load(Ordering::Relaxed) {
        while let Ok((answer, at)) = answers.try_recv() {
            state.take(answer, at);
            changed = true;
        }
        if changed {
            screen.0.draw(|frame| draw(&state, frame))?;
        }
        changed = event::poll(LOOK)?;
        if changed {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if let Some(key) = meant(key) {
                        state.key(key);
                    }
                }
                // It is drawn anew in the new size.
                _ => {}
            }
        }
    }
    Ok(())
}

/// What a key means.
fn meant(key: KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('q') => Key::Quit,
        KeyCode::Char('?' | 'h') => Key::Help,
        KeyCode::Char('p' | ' ') => Key::Pause,
        KeyCode::Char('s') => Key::Sort,
        KeyCode::Char('r') => Key::Reverse,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Tab | KeyCode::Right => Key::NextPanel,
        KeyCode::BackTab | KeyCode::Left => Key::PreviousPanel,
        KeyCode::Enter => Key::Open,
        KeyCode::Esc | KeyCode::Backspace => Key::Back,
        _ => return None,
    })
}

/// An answer, and how long after the start it came.
type Answer = (Result<Snapshot, Away>, Duration);

/// Asks each second, on a thread of its own, so that no key waits for an answer. It ends when nobody takes answers any more; the
/// process does not wait for it.
fn asked_each_round(context: Context, over: Arc<AtomicBool>) -> io::Result<Receiver<Answer>> {
    let (answers, taken): (SyncSender<Answer>, Receiver<Answer>) = sync_channel(2);
    let began = Instant::now();
    let asking = move || {
        while !over.load(Ordering::Relaxed) {
            let round = Instant::now();
            let answer = ask(&context);
            match answers.try_send((answer, began.elapsed())) {
                Ok(()) | Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Disconnected(_)) => return,
            }
            thread::sleep(ROUND.saturating_sub(round.elapsed()));
        }
    };
    thread::Builder::new().name("ask".into()).spawn(asking).map(|_| taken)
}

fn ask(context: &Context) -> Result<Snapshot, Away> {
    Snapshot::read(|path| match api::get(context, path) {
        // Health says 503 with a body all the same.
        Ok(answer) if answer.status < 400 || path.starts_with("/v1/health") => Ok(answer.body),
        Ok(answer) => Err(format!("{path} answered {}", answer.status)),
        Err(error) => Err(error.to_string()),
    })
}

/// Sets `over` at the signals that end a process, so that the terminal is given back.
fn ended_by_signals(over: &Arc<AtomicBool>) -> io::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let inside = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()] {
        let (mut signals, over) = (signal(kind)?, Arc::clone(over));
        drop(runtime.spawn(async move {
            signals.recv().await;
            over.store(true, Ordering::Relaxed);
        }));
    }
    drop(inside);
    Ok(runtime)
}

/// One frame as text.
fn once(context: &Context) -> Result<Exit, CliError> {
    let mut state = State::default();
    let answer = ask(context).map_err(|away| CliError::plain(Exit::Unreachable, away))?;
    state.take(Ok(answer), Duration::ZERO);
    for line in text(&state, draw::LEAST.0.max(100), 30) {
        print_line(line)?;
    }
    Ok(Exit::Done)
}

/// A frame of so many columns and rows as lines of text, without what is right of the last character.
pub fn text(state: &State, width: u16, height: u16) -> Vec<String> {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(drawn) = terminal.draw(|frame| draw(state, frame));
    let cells = drawn.buffer.content();
    let line = |row: &[ratatui::buffer::Cell]| {
        row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
    };
    cells.chunks(usize::from(width)).map(line).collect()
}
