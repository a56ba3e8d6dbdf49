//! `sluice simulate`: an upstream to try the daemon with.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, Context, Exit, print_line};
use crate::config::units::{ByteSize, parse_duration};
use crate::simulator::{
    AfterRecording, Faults, FloodSettings, Handshake, LedgerSettings, Pace, RecordingSettings, Running,
    SimulatedDialect, Simulator, SimulatorError, SimulatorSettings, Source,
};

/// Events a second where none are asked for.
const RATE: u64 = 100;

/// `sluice simulate`
#[derive(Debug, clap::Args)]
#[group(id = "simulate")]
pub(super) struct Args {
    /// Whose upstream to be: binance, coinbase, kraken, bybit, okx, ethereum, solana, deribit, nostr, jetstream,
    /// graphql-transport-ws, mastodon, atproto, bitfinex, bitmex, bitstamp, gemini, huobi, upbit, kraken-v1, sse (as the
    /// preset wikimedia), poll, qsys (over TCP or WebSocket), mqtt or nats
    #[arg(long, value_name = "NAME")]
    dialect: Option<SimulatedDialect>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Events a second in all, shared by the topics subscribed; 0: as fast as they are taken [default: 100, floods: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_rate)]
    rate: Option<u64>,
    /// What all randomness is drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Ids begin after this [default: a number that grows with the time of day]
    #[arg(long, value_name = "N")]
    first_id: Option<u64>,
    /// Write a JSON line for each event sent: connection, topic, id, CRC-32C of the text, fault
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// How often to say on standard error what has been sent
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    status_interval: Duration,
    #[command(flatten)]
    recording: RecordingArgs,
    #[command(flatten)]
    flood: FloodArgs,
    #[command(flatten)]
    faults: FaultArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Recordings")]
struct RecordingArgs {
    /// Serve a recorded session (.session.jsonl, or .jsonl of plain texts, also with .gz) to each connection, to the byte
    #[arg(long, value_name = "FILE", conflicts_with_all = ["flood", "rate"])]
    recording: Option<PathBuf>,
    /// How fast: `recorded`, `10x` (so many times the recorded speed), or `fast` (as fast as the client takes it)
    #[arg(long, value_name = "PACE", default_value = "fast", requires = "recording", value_parser = parse_pace)]
    pace: Pace,
    /// At so many times the recorded speed, as `--pace 10x` says it too
    #[arg(long, value_name = "X", requires = "recording", conflicts_with = "pace", value_parser = parse_speed)]
    speed: Option<f64>,
    /// What follows the last frame
    #[arg(long, value_enum, default_value_t = ThenArg::StayOpen, requires = "recording")]
    then: ThenArg,
    /// How long a recorded reply waits for the client to make its request
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration, requires = "recording")]
    patience: Duration,
    /// Serve it to so many connections only; later ones get nothing
    #[arg(long, value_name = "N", requires = "recording")]
    connections: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ThenArg {
    /// The connection stays open
    StayOpen,
    /// The connection is closed
    Close,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Floods")]
struct FloodArgs {
    /// Send pre-encoded Binance trades of about 165 bytes
    #[arg(long)]
    flood: bool,
    /// So many messages in all, then stay open
    #[arg(long, value_name = "N", requires = "flood")]
    flood_total: Option<u64>,
    /// Start when so many topics are subscribed over all connections
    #[arg(long, value_name = "N", default_value_t = 0, requires = "flood")]
    flood_start_topics: usize,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Faults")]
struct FaultArgs {
    /// Send this fraction of messages a second time, a little later
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    repeats: f64,
    /// Do not send this fraction of messages, only say in the ledger that they were
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    drop: f64,
    /// Send this fraction of messages after the next one of their topic
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    disorder: f64,
    /// Send bad frames in addition: cut short, not UTF-8, junk, deeply nested, an id that changes its type
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    bad_frames: f64,
    /// Send messages in addition that have an earlier one's id and another payload
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    conflicts: f64,
    /// Break each connection after about so long: by a close frame, a reset in mid-frame, or just its end
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    disconnect_every: Option<Duration>,
    /// Refuse the subscription of a topic; may be repeated
    #[arg(long, value_name = "TOPIC")]
    refuse: Vec<String>,
    /// After so many messages a connection sends nothing but pongs
    #[arg(long, value_name = "N")]
    silent_after: Option<u64>,
    /// Send nothing of a topic, though its subscription is in force; may be repeated
    #[arg(long, value_name = "TOPIC")]
    mute: Vec<String>,
    /// Make faults in messages, and break connections, only where so many topics or more are subscribed over the connection
    #[arg(long, value_name = "N", default_value_t = 0)]
    faults_from_topics: usize,
    /// Do not answer pings
    #[arg(long)]
    no_pong: bool,
    /// Hold acknowledgements back for so long; data is not held back
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    ack_delay: Duration,
    /// Never send acknowledgements
    #[arg(long)]
    no_ack: bool,
    /// Answer the first handshakes with this HTTP status, such as 429, 503 or 401
    #[arg(long, value_name = "STATUS")]
    handshake_status: Option<u16>,
    /// How many handshakes get that status
    #[arg(long, value_name = "N", default_value_t = 1, requires = "handshake_status")]
    handshake_refusals: u64,
    /// The Retry-After header that goes with it
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "handshake_status")]
    retry_after: Option<Duration>,
    /// Accept the first so many connections and close them at once
    #[arg(long, value_name = "N", default_value_t = 0)]
    accept_then_close: u64,
    /// Send one frame of this size
    #[arg(long, value_name = "SIZE")]
    giant_frame: Option<ByteSize>,
    /// Send the giant frame in fragments without end
    #[arg(long, requires = "giant_frame")]
    giant_fragments: bool,
}

fn parse_rate(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        String::from("a rate is a whole number of events a second, 0 or more; 0 is as fast as they are taken")
    })
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed > 0.0 && speed.is_finite() => Ok(speed),
        _ => Err(String::from("a speed is a number above 0; 1 is the recorded speed")),
    }
}

fn parse_pace(text: &str) -> Result<Pace, String> {
    match text {
        "fast" | "as-taken" => Ok(Pace::AsTaken),
        "recorded" => Ok(Pace::Recorded { speed: 1.0 }),
        _ => {
            let speed = text.strip_suffix('x').map(parse_speed);
            let known = || "a pace is `recorded`, `fast`, or a factor such as `10x`".to_owned();
            speed.and_then(Result::ok).map(|speed| Pace::Recorded { speed }).ok_or_else(known)
        }
    }
}

impl Args {
    pub(super) fn run(self, _context: &Context) -> Result<Exit, CliError> {
        if self.dialect.is_none() && self.recording.recording.is_none() && !self.flood.flood {
            let said = "nothing says what to be: a synthetic feed (`--dialect NAME`), a recording (`--recording FILE`), or a flood \
                        (`--flood`)";
            return Err(CliError::plain(Exit::Usage, said));
        }
        let status_interval = self.status_interval.max(Duration::from_millis(100));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::new(Exit::No, "the simulator's threads cannot be started", error))?;
        runtime.block_on(serve(self.settings(), status_interval))
    }

    fn settings(self) -> SimulatorSettings {
        let Self { recording, flood, faults, .. } = self;
        let mut settings = match (recording.recording, self.dialect) {
            (None, Some(dialect)) if !flood.flood => SimulatorSettings::synthetic(dialect),
            (None, _) => SimulatorSettings::flood(FloodSettings {
                total: flood.flood_total,
                start_topics: flood.flood_start_topics,
            }),
            (Some(path), dialect) => {
                let mut settings = SimulatorSettings::recording(&path);
                settings.source = Source::Recording(RecordingSettings {
                    path,
                    dialect,
                    pace: recording.speed.map_or(recording.pace, |speed| Pace::Recorded { speed }),
                    then: match recording.then {
                        ThenArg::StayOpen => AfterRecording::StayOpen,
                        ThenArg::Close => AfterRecording::Close,
                    },
                    patience: recording.patience,
                    connections: recording.connections,
                });
                settings
            }
        };
        settings.rate = self.rate.unwrap_or(if flood.flood { 0 } else { RATE });
        settings.listen = self.listen;
        settings.seed = self.seed;
        settings.first_id = self.first_id;
        settings.ledger = self.ledger.map_or(LedgerSettings::Off, LedgerSettings::File);
        settings.faults = faults.faults();
        settings
    }
}

impl FaultArgs {
    fn faults(self) -> Faults {
        Faults {
            repeats: self.repeats,
            drop: self.drop,
            disorder: self.disorder,
            bad_frames: self.bad_frames,
            conflicts: self.conflicts,
            disconnect_every: self.disconnect_every,
            refuse: self.refuse,
            silent_after: self.silent_after,
            mute: self.mute,
            no_pong: self.no_pong,
            ack_delay: self.ack_delay,
            no_ack: self.no_ack,
            giant_frame: self.giant_frame.map(|size| size.as_usize() as u64),
            giant_fragments: self.giant_fragments,
            handshake: Handshake {
                status: self.handshake_status,
                refusals: self.handshake_refusals,
                retry_after: self.retry_after,
                accept_then_close: self.accept_then_close,
            },
            from_topics: self.faults_from_topics,
        }
    }
}

impl From<SimulatorError> for CliError {
    fn from(error: SimulatorError) -> Self {
        let exit = if matches!(error, SimulatorError::Settings(_)) { Exit::Usage } else { Exit::No };
        Self::from_error(exit, error)
    }
}

async fn serve(settings: SimulatorSettings, status_interval: Duration) -> Result<Exit, CliError> {
    let no_signals = |error| CliError::new(Exit::No, "signals cannot be listened for", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let running = Simulator::start(settings).await?;
    // The first line on standard output is for programs too: they read the port out of it.
    print_line(format!("listening on {}", running.url()))?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = say_status(&running, status_interval) => {}
    }
    let figures = running.stop().await?;
    print_line(format!("stopped: {figures}"))?;
    Ok(Exit::Done)
}

/// Says now and then what has been sent, as long as it changes.
async fn say_status(running: &Running, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    let mut before = running.figures();
    loop {
        ticks.tick().await;
        let figures = running.figures();
        if figures != before {
            let rate = u128::from(figures.events - before.events) * 1000 / interval.as_millis().max(1);
            // Nobody may be reading; the simulator goes on all the same.
            writeln!(io::stderr().lock(), "{rate} events/s; {figures}").ok();
            before = figures;
        }
    }
}
