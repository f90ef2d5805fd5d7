//! `execnet top`: what runs in a network and what it uses, live.

mod model;
mod screen;
mod view;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use execnet::Network;
use execnet_proto::control::{KillReply, Usages, Verb};
use execnet_proto::signal::Signal;
use ratatui_crossterm::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, raise};

use super::kill;
use crate::connection::{self, failed};
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::stop_job;
use model::{Key, Model, Wish};
use screen::Screen;
use view::Look;

/// Show what runs in a network and what it uses, live
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: arrows select, s sorts, / filters, k kills, h helps, q quits.

Example:
  execnet top mynet
  execnet top mynet --node build1")]
pub(crate) struct TopArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Show only hosts of these nodes: `build1`, `'build[1-20]'`, `'@web,!web7'`
    #[arg(long, value_name = "SET", add = super::complete::sets_of_nodes())]
    node: Option<String>,
}

/// News come once a second. After so long without any, that is shown.
const SILENT: Duration = Duration::from_secs(4);

/// How often it is shown how long there were none.
const AGAIN: Duration = Duration::from_secs(1);

/// What `top` waits for.
enum News {
    Usages(Usages),
    /// There is no more to come.
    Over(CommandError),
    Key(Key),
    Resized,
    /// ^Z was typed.
    Suspend,
    Signal(i32),
    /// What became of a signal that was sent.
    Said(String),
}

impl TopArgs {
    pub(crate) fn run(self) -> CommandResult {
        let name = &self.network.network;
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(CommandError::new(Exit::Usage, "top needs a terminal")
                .hint(format!("`execnet ps {name}` prints the same once, with --json for programs")));
        }
        let network = Arc::new(connection::connect(name)?);
        if self.node.is_some() {
            connection::read_groups(&network)?;
        }
        let (news_tx, news) = mpsc::channel();
        let verb = Verb::Top { node: self.node };
        // a refusal is said before the terminal is taken
        let mut replies = network.request(&connection::request(verb));
        let first = replies.next().ok_or_else(connection::gone)?.map_err(|error| failed(&error))?;
        let mut model = Model::new(name.as_str());
        model.update(connection::read(first)?);
        let told = news_tx.clone();
        thread::spawn(move || {
            for reply in replies {
                let reply = reply.map_err(|error| failed(&error)).and_then(connection::read);
                if told.send(reply.map_or_else(News::Over, News::Usages)).is_err() {
                    return;
                }
            }
            let _ = told.send(News::Over(connection::gone()));
        });
        watch_signals(&news_tx)?;
        let caught = show(&mut model, &network, &news, &news_tx)?;
        if let Some(signal) = caught {
            let _ = emulate_default_handler(signal);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Shows the model and does what keys ask for, until one ends it. Returns the signal that ended it, if
/// one did.
fn show(
    model: &mut Model,
    network: &Arc<Network>,
    news: &Receiver<News>,
    news_tx: &Sender<News>,
) -> CommandResult<Option<i32>> {
    let look = look();
    let broken = |error: io::Error| CommandError::new(Exit::Failed, "cannot draw").because(&error);
    let mut screen = Screen::take().map_err(broken)?;
    read_keys(news_tx);
    let mut heard = Instant::now();
    loop {
        let silent = heard.elapsed();
        model.silent = (silent >= SILENT).then_some(silent.as_secs());
        let drawn = screen.terminal.draw(|frame| view::draw(model, look, frame.buffer_mut()));
        drawn.map_err(broken)?;
        // everything that has come by now is drawn at once
        let mut next = news.recv_timeout(AGAIN).ok();
        while let Some(one) = next {
            match one {
                News::Usages(usages) => {
                    heard = Instant::now();
                    model.update(usages);
                }
                News::Over(error) => return Err(error),
                News::Said(text) => model.say(text),
                News::Resized => {}
                News::Suspend => {
                    drop(screen);
                    stop_job();
                    screen = Screen::take().map_err(broken)?;
                }
                News::Signal(SIGTSTP) => {
                    drop(screen);
                    // SIGTSTP is handled here; SIGSTOP looks the same to the shell
                    let _ = raise(SIGSTOP);
                    screen = Screen::take().map_err(broken)?;
                }
                News::Signal(signal) => return Ok(Some(signal)),
                News::Key(key) => match model.press(key) {
                    Some(Wish::Quit) => return Ok(None),
                    Some(Wish::Kill(id, signal)) => kill_there(network, id, signal, news_tx),
                    None => {}
                },
            }
            next = news.try_recv().ok();
        }
    }
}

fn look() -> Look {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    let locale = locale.to_string_lossy().to_lowercase();
    Look { colours: set("NO_COLOR").is_none(), unicode: locale.contains("utf-8") || locale.contains("utf8") }
}

/// Sends a signal without letting the person wait.
fn kill_there(network: &Arc<Network>, id: String, signal: Signal, news_tx: &Sender<News>) {
    let (network, news_tx) = (Arc::clone(network), news_tx.clone());
    thread::spawn(move || {
        let verb = Verb::Kill { ids: vec![id.clone()], signal: signal.number() };
        let said = match connection::ask_once::<KillReply>(&network, verb) {
            Ok(reply) => reply.processes.first().map_or_else(
                || format!("{} has ended", crate::usage::short(&id)),
                |process| kill::told(process, signal),
            ),
            Err(error) => error.to_string(),
        };
        let _ = news_tx.send(News::Said(said));
    });
}

fn watch_signals(news_tx: &Sender<News>) -> Result<(), CommandError> {
    let signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP]);
    let mut signals =
        signals.map_err(|error| CommandError::new(Exit::Failed, "cannot handle signals").because(&error))?;
    let news_tx = news_tx.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            if news_tx.send(News::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Passes keys on, in a thread that ends with the program.
fn read_keys(news_tx: &Sender<News>) {
    let news_tx = news_tx.clone();
    thread::spawn(move || {
        loop {
            let news = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => match news_of(key) {
                    Some(news) => news,
                    None => continue,
                },
                Ok(Event::Resize(..)) => News::Resized,
                Ok(_) => continue,
                // the terminal is gone
                Err(_) => News::Signal(SIGHUP),
            };
            let over = matches!(news, News::Signal(SIGHUP));
            if news_tx.send(news).is_err() || over {
                return;
            }
        }
    });
}

fn news_of(key: KeyEvent) -> Option<News> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(News::Signal(SIGINT)),
            KeyCode::Char('z') => Some(News::Suspend),
            KeyCode::Char('\\') => Some(News::Signal(SIGQUIT)),
            KeyCode::Char('d') => Some(News::Key(Key::Char('q'))),
            _ => None,
        };
    }
    Some(News::Key(match key.code {
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    }))
}
