//! A provider that accepts every subscription at once, sends at a steady rate, and resets connections on request.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A connection that was reset.
pub(crate) struct Reset {
    /// Its number.
    pub(crate) connection: u64,
    /// When, nanoseconds since 1970.
    pub(crate) at: i64,
    began: Instant,
    /// What it had.
    pub(crate) topics: BTreeSet<u32>,
    /// Connections that were open then.
    pub(crate) others: Vec<u64>,
}

struct Open {
    topics: BTreeSet<u32>,
    reset: CancellationToken,
}

#[derive(Default)]
struct State {
    connections: BTreeMap<u64, Open>,
    /// When a topic was acknowledged last, and to whom.
    in_force: HashMap<u32, (u64, Instant)>,
    came: u64,
    sent: u64,
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().expect("no connection panics")
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

/// The provider, on threads of its own.
pub(crate) struct Provider {
    /// Its address.
    pub(crate) url: String,
    state: Shared,
    _runtime: tokio::runtime::Runtime,
}

impl Provider {
    /// Sends so many messages a second over each connection, of its topics in turn.
    pub(crate) fn start(rate: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let url = format!("ws://{}/", listener.local_addr().expect("it is bound"));
        let state = Shared::default();
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, rate, Arc::clone(&shared)));
            }
        });
        Self { url, state, _runtime: runtime }
    }

    fn until<T>(&self, what: &str, condition: impl Fn(&State) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = condition(&lock(&self.state)) {
                return value;
            }
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Until all topics are subscribed, each once, and every connection has its share.
    pub(crate) fn until_spread(&self, topics: usize, connections: usize) {
        self.until("topics on all connections", |state| {
            let counts: Vec<usize> = state.connections.values().map(|open| open.topics.len()).collect();
            let share = topics / connections / 2;
            let spread = counts.len() == connections && counts.iter().all(|count| *count >= share.max(1));
            (spread && counts.iter().sum::<usize>() == topics).then_some(())
        });
    }

    /// Resets the connection with the most topics.
    pub(crate) fn reset_one(&self) -> Reset {
        let mut state = lock(&self.state);
        let connection = state.connections.iter().max_by_key(|(_, open)| open.topics.len());
        let connection = *connection.expect("one is open").0;
        let open = state.connections.remove(&connection).expect("it is there");
        let others = state.connections.keys().copied().collect();
        drop(state);
        let (at, began) = (now(), Instant::now());
        open.reset.cancel();
        Reset { connection, at, began, topics: open.topics, others }
    }

    /// How long it took until all that a connection had was acknowledged elsewhere.
    pub(crate) fn until_in_force(&self, reset: &Reset) -> Duration {
        let last = self.until("the lost topics are in force elsewhere", |state| {
            let elsewhere = |topic: &u32| {
                let (connection, at) = state.in_force.get(topic)?;
                (*connection != reset.connection).then_some(*at)
            };
            reset.topics.iter().map(elsewhere).try_fold(reset.began, |last, at| Some(last.max(at?)))
        });
        last - reset.began
    }
}

#[derive(Deserialize)]
struct Request {
    op: String,
    id: serde_json::Value,
    channels: Vec<String>,
}

async fn serve(stream: TcpStream, rate: u32, state: Shared) {
    stream.set_nodelay(true).ok();
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let reset = CancellationToken::new();
    let number = {
        let mut state = lock(&state);
        state.came += 1;
        let number = state.came;
        state.connections.insert(number, Open { topics: BTreeSet::new(), reset: reset.clone() });
        number
    };
    let period = if rate == 0 { Duration::from_hours(1) } else { Duration::from_secs(1) / rate };
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut topics: Vec<u32> = Vec::new();
    let mut next = 0;
    loop {
        tokio::select! {
            () = reset.cancelled() => {
                socket.get_ref().set_zero_linger().ok();
                return;
            }
            message = socket.next() => {
                let Some(Ok(message)) = message else { break };
                let Message::Text(text) = message else { continue };
                let request: Request = serde_json::from_str(&text).expect("a request");
                let named = request.channels.iter().map(|name| name[2..].parse().expect("`c.` and a number"));
                let named: BTreeSet<u32> = named.collect();
                if request.op == "sub" {
                    // What is new is sent next: how soon it could come is what is asked.
                    next = topics.len().saturating_sub(1);
                    topics.extend(&named);
                } else {
                    topics.retain(|topic| !named.contains(topic));
                }
                let reply = format!(r#"{{"op":"ok","id":{}}}"#, request.id);
                if socket.send(Message::text(reply)).await.is_err() {
                    break;
                }
                note(&state, number, &request.op, named);
            }
            _ = tick.tick(), if rate > 0 && !topics.is_empty() => {
                next = (next + 1) % topics.len();
                let n = {
                    let mut state = lock(&state);
                    state.sent += 1;
                    state.sent
                };
                let text = format!(r#"{{"ch":"c.{}","n":{n},"connection":{number},"at":{}}}"#, topics[next], now());
                if socket.send(Message::text(text)).await.is_err() {
                    break;
                }
            }
        }
    }
    lock(&state).connections.remove(&number);
}

/// Something was acknowledged.
fn note(state: &Shared, connection: u64, op: &str, topics: BTreeSet<u32>) {
    let mut state = lock(state);
    let at = Instant::now();
    let Some(open) = state.connections.get_mut(&connection) else { return };
    if op == "sub" {
        open.topics.extend(&topics);
        state.in_force.extend(topics.into_iter().map(|topic| (topic, (connection, at))));
    } else {
        open.topics.retain(|topic| !topics.contains(topic));
    }
}
