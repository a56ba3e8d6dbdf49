//! `sluice record`: what an upstream sends, to a file.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{CliError, Context, Exit};
use crate::clock::UnixNanos;
use crate::config::units::parse_duration;
use crate::config::{Endpoint, PoolSettings, Settings, UpstreamSettings};
use crate::dialect::{Dialect, Frame, Undescribed, registry};
use crate::recording::{Direction, FrameWriter};
use crate::upstream::{Heard, Tap, TapEnd, Watcher};

/// What an upstream is called that has only an address.
const UNNAMED: &str = "record";

/// `sluice record`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which of the settings' upstreams
    #[arg(value_name = "UPSTREAM")]
    upstream: Option<String>,
    /// Topics to ask for, separated by commas [default: those of its monitors]
    #[arg(long, value_name = "TOPIC,…", value_delimiter = ',', conflicts_with = "url")]
    topics: Vec<String>,
    /// A topic that has commas in it; may be repeated
    #[arg(long, value_name = "TOPIC", conflicts_with = "url")]
    topic: Vec<String>,
    /// An address in place of an upstream, for a feed that nobody has described
    #[arg(long, value_name = "URL", conflicts_with = "upstream")]
    url: Option<String>,
    /// A text to send once the connection is open; may be repeated
    #[arg(long, value_name = "TEXT", requires = "url")]
    send: Vec<String>,
    /// The file; `-` is standard output. It is packed if its name ends in .gz [default: NAME-TIME.session.jsonl.gz]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// How long [default: until it is interrupted]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    span: Option<Duration>,
    /// How many frames of the provider's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let (name, tap) = self.tap(context)?;
        if tap.left_out() > 0 {
            let left_out = tap.left_out();
            note(&format!("{left_out} topics are not asked for: one link may not carry more than the others"));
        }
        let path = self.out.clone().unwrap_or_else(|| {
            let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H%M%SZ");
            PathBuf::from(format!("{name}-{time}.session.jsonl.gz"))
        });
        let out = self.create(&path)?;
        let packed = path.extension().is_some_and(|extension| extension == "gz");
        let advice = match (&self.url, self.send.is_empty()) {
            (Some(_), true) => "it may wait to be asked: `--send TEXT` says something to it",
            (Some(_), false) => "it may wait for another request than that of `--send`, or have nothing to say",
            (None, _) => "it may have nothing to say of these topics",
        };
        let book = Book::new(FrameWriter::new(out, packed), self.frames, advice);
        // One thread: writing holds up reading, and nothing waits in between.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::new(Exit::No, "the recorder cannot be started", error))?;
        let recorded = runtime.block_on(record(tap, book, self.span, &path));
        // Where no connection came about there is nothing in it, and the next attempt would find it in its way.
        if std::fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() == 0) {
            std::fs::remove_file(&path).ok();
        }
        recorded
    }

    fn tap(&self, context: &Context) -> Result<(String, Tap), CliError> {
        let (name, upstream, pool, dialect, topics) = match (&self.url, &self.upstream) {
            (Some(url), _) => {
                let (upstream, dialect) = self.undescribed(url)?;
                (UNNAMED.to_owned(), upstream, PoolSettings::default(), dialect, Vec::new())
            }
            (None, Some(name)) => {
                let settings = context.load()?.settings;
                let upstream = settings.upstreams.get(name).cloned().ok_or_else(|| unknown(name, &settings))?;
                let dialect = registry::build(&upstream.dialect, &settings.dialects)
                    .map_err(|error| CliError::from_error(Exit::BadSettings, error))?;
                let topics = self.topics_of(name, &settings);
                for topic in &topics {
                    dialect.check_topic(topic).map_err(|reason| {
                        CliError::plain(Exit::Usage, format!("topic `{}` {reason}", topic.escape_debug()))
                    })?;
                }
                (name.clone(), upstream, settings.pool, dialect, topics)
            }
            (None, None) => {
                let said =
                    "nothing says what to record: name an upstream of the settings, or give an address with `--url`";
                return Err(CliError::plain(Exit::Usage, said));
            }
        };
        let tap = Tap::new(&name, &upstream, &pool, dialect, &topics)
            .map_err(|error| CliError::from_error(Exit::BadSettings, error))?;
        Ok((name, tap))
    }

    /// Those asked for, else those of all monitors; each once, in their order.
    fn topics_of(&self, upstream: &str, settings: &Settings) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let asked = self.topics.iter().chain(&self.topic);
        let own = settings.monitors.values().filter(|monitor| monitor.upstream.iter().any(|name| name == upstream));
        let topics: Vec<&String> = match (self.topics.len(), self.topic.len()) {
            (0, 0) => own.flat_map(|monitor| &monitor.topics).collect(),
            _ => asked.collect(),
        };
        topics.into_iter().filter(|topic| seen.insert(topic.as_str())).cloned().collect()
    }

    /// An upstream that is an address and nothing else.
    fn undescribed(&self, address: &str) -> Result<(UpstreamSettings, Arc<dyn Dialect>), CliError> {
        let refused = |reason: String| CliError::plain(Exit::Usage, format!("--url: {reason}"));
        let mut url = Url::parse(address).map_err(|error| refused(format!("not an address: {error}")))?;
        let mut path = None;
        if matches!(url.scheme(), "http" | "https") {
            // What is asked for stands behind the address of an event stream.
            let whole = url.path().to_owned();
            let (folder, last) = whole.rsplit_once('/').unwrap_or(("", ""));
            path = Some(format!("/{last}"));
            url.set_path(folder);
        }
        let table = toml::Table::from_iter([
            ("url".to_owned(), toml::Value::from(url.as_str())),
            ("dialect".to_owned(), toml::Value::from("undescribed")),
        ]);
        let upstream = table.try_into().map_err(|error: toml::de::Error| refused(error.message().to_owned()))?;
        Ok((upstream, Arc::new(Undescribed::new(self.send.clone(), path))))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn io::Write>, CliError> {
        if path == Path::new("-") {
            return Ok(Box::new(io::stdout()));
        }
        let mut options = OpenOptions::new();
        options.write(true).truncate(self.force).create(self.force).create_new(!self.force);
        match options.open(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let shown = path.display();
                Err(CliError::plain(Exit::Usage, format!("{shown} is there; name another `--out`, or say `--force`")))
            }
            Err(error) => Err(cannot_write(path, error)),
        }
    }
}

fn unknown(name: &str, settings: &Settings) -> CliError {
    let known = settings.upstreams.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() { "there is none".to_owned() } else { format!("there are {known}") };
    CliError::plain(Exit::Usage, format!("the settings have no upstream `{}`; {known}", name.escape_debug()))
}

fn cannot_write(path: &Path, error: io::Error) -> CliError {
    CliError::new(Exit::No, format!("{} cannot be written", path.display()), error)
}

/// Beside the data, on standard error: whether anybody reads it does not matter.
fn note(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

async fn record(tap: Tap, mut book: Book, span: Option<Duration>, path: &Path) -> Result<Exit, CliError> {
    let no_signals = |error| CliError::new(Exit::No, "signals cannot be listened for", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let stop = CancellationToken::new();
    let enough = async {
        let over = async {
            match span {
                Some(span) => tokio::time::sleep(span).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = over => {}
        }
        stop.cancel();
        // The tap ends in its own time.
        std::future::pending::<()>().await;
    };
    let taken = tokio::select! {
        taken = tap.run(&mut book, &stop) => taken,
        () = enough => unreachable!("it is pending"),
    };
    let flushed = book.flush();
    let (end, heard) = taken.map_err(|error| CliError::from_error(Exit::No, error))?;
    flushed.map_err(|error| cannot_write(path, error))?;
    book.say(&heard, path);
    match end {
        TapEnd::Enough => Ok(Exit::Done),
        TapEnd::Lost(reason) => Err(CliError::plain(Exit::No, format!("the recording ends early: {reason}"))),
    }
}

/// Writes down what a tap shows.
struct Book {
    writer: FrameWriter,
    failed: Option<io::Error>,
    most: Option<u64>,
    received: u64,
    received_bytes: u64,
    sent: u64,
    /// Seconds that the connection is open and nothing has come; none once that was told.
    waited: Option<u32>,
    /// What is to be done about it.
    advice: &'static str,
}

/// Seconds without a frame before it is told. Source: a guess; most providers greet at once, or send when they are asked.
const SILENT_SECONDS: u32 = 5;

impl Book {
    fn new(writer: FrameWriter, most: Option<u64>, advice: &'static str) -> Self {
        let waited = Some(0);
        Self { writer, failed: None, most, received: 0, received_bytes: 0, sent: 0, waited, advice }
    }

    fn write(&mut self, write: impl FnOnce(&mut FrameWriter) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(&mut self.writer).err();
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write(FrameWriter::flush);
        self.failed.take().map_or(Ok(()), Err)
    }

    fn frame(&mut self, direction: Direction, frame: Frame<'_>) {
        let at = UnixNanos::now();
        self.write(|writer| match frame {
            Frame::Text(text) => writer.text(at, direction, text),
            Frame::Binary(bytes) => writer.binary(at, direction, bytes),
        });
    }

    /// Says what was recorded.
    fn say(&self, heard: &Heard, path: &Path) {
        let Self { received, received_bytes, sent, .. } = self;
        let path = path.display();
        note(&format!("{received} frames of {received_bytes} bytes received, {sent} sent: {path}"));
        for topic in &heard.topics {
            let standing = if topic.in_force { "" } else { ", not in force" };
            note(&format!("  {}: {} messages{standing}", topic.name, topic.messages));
        }
        let rest = [("control", heard.control), ("not understood", heard.unreadable)];
        for (what, count) in rest.into_iter().filter(|(_, count)| *count > 0 && !heard.topics.is_empty()) {
            note(&format!("  {what}: {count}"));
        }
        for (topics, reason) in &heard.refused {
            let topics = if topics.is_empty() { "a topic".to_owned() } else { topics.join(", ") };
            note(&format!("  refused: {topics}: {reason}"));
        }
    }
}

impl Watcher for Book {
    fn opened(&mut self, address: &Endpoint) {
        let (at, url) = (UnixNanos::now(), address.to_string());
        self.write(|writer| writer.open(at, &url));
        note(&format!("recording {url}"));
    }

    fn sent(&mut self, frame: Frame<'_>) {
        self.sent += 1;
        self.frame(Direction::Out, frame);
    }

    fn received(&mut self, frame: Frame<'_>) -> ControlFlow<()> {
        self.received += 1;
        self.waited = None;
        self.received_bytes += frame.bytes().len() as u64;
        self.frame(Direction::In, frame);
        let enough = self.most.is_some_and(|most| self.received >= most) || self.failed.is_some();
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// What a process that is killed loses is at most what came since.
    fn beat(&mut self) -> ControlFlow<()> {
        self.write(FrameWriter::flush);
        if let Some(waited) = &mut self.waited {
            *waited += 1;
            if *waited >= SILENT_SECONDS {
                self.waited = None;
                note(&format!("nothing has come in {SILENT_SECONDS} s; {}", self.advice));
            }
        }
        if self.failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn closed(&mut self, reason: &str) {
        let at = UnixNanos::now();
        self.write(|writer| writer.close(at, reason));
    }
}
