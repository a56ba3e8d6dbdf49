//! A TCP proxy between the daemon and an upstream that does to the bytes whatever networks do.
//!
//! What is to be done is a [`Plan`], for every connection or for one, and may change at any moment: connections that are
//! open obey at once. Towards the client the proxy knows WebSocket frames, so that it can send one twice or spoil one.
//! It holds one piece of at most 64 KiB a direction, and one frame; whatever more there is stays in the kernel's buffers, and
//! TCP tells the sender. Its tasks end with their connection, at the latest with the proxy.

mod frames;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use frames::{Cutter, Piece};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The most that is read at once.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// Connections whose time is remembered.
const CAME_MAX: u64 = 10_000;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToClient,
    ToServer,
    Both,
}

impl Way {
    fn covers(self, way: Self) -> bool {
        self == Self::Both || self == way
    }
}

/// Where a frame is spoilt. Both are found by whoever reads: an undetectable flip would be another message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flip {
    /// A bit of the first byte, or of the length: by number, from 0, modulo how many there are.
    Header(u32),
    /// The highest bit of a byte in the middle of the payload: what was ASCII is no UTF-8 any more.
    Payload,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    Pass,
    /// A reset as soon as exactly so many bytes have gone to the client, counted from the connection's first.
    ResetAfter(u64),
    /// Nothing passes any more, and the connection stays open.
    Stall(Way),
    /// So many bytes a second to the client.
    Trickle(u32),
    /// What is read at once, either way, is held for so long before it goes on.
    Delay(Duration),
    /// Every so many-th frame to the client is sent twice.
    Duplicate(u64),
    /// The next frame to the client is spoilt; later ones pass.
    Corrupt(Flip),
    /// The frame to the client with this number, from 1, is spoilt.
    CorruptFrame(u64, Flip),
}

/// What becomes of connections that are made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    /// They are reset before a byte has passed.
    Refuses,
    /// They are accepted, and nobody ever answers.
    Blackhole,
}

/// What the proxy has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Connections that came to the door, whatever became of them.
    pub(crate) connections: u64,
    pub(crate) refused: u64,
    pub(crate) blackholed: u64,
    pub(crate) resets: u64,
    /// Times that a direction of a connection stood still.
    pub(crate) stalls: u64,
    pub(crate) trickled_bytes: u64,
    pub(crate) delayed_pieces: u64,
    pub(crate) duplicated: u64,
    pub(crate) corrupted: u64,
    pub(crate) bytes_to_clients: u64,
}

#[derive(Debug, Clone)]
struct Plans {
    /// Grows with each change: what is to be done once is done once for each.
    change: u64,
    all: Plan,
    of: HashMap<u64, Plan>,
    door: Door,
}

impl Plans {
    fn of(&self, connection: u64) -> Plan {
        self.of.get(&connection).copied().unwrap_or(self.all)
    }
}

/// The proxy.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    plans: watch::Sender<Plans>,
    done: Arc<Mutex<Done>>,
    came: Arc<Mutex<Vec<Instant>>>,
    _runtime: Runtime,
}

impl FaultProxy {
    /// In front of a server: `127.0.0.1:1234`, or the address that a simulator tells, path and all.
    pub(crate) fn start(server: &str) -> Self {
        let server = server.trim_start_matches("ws://").split('/').next().expect("an address").to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let plans = Plans { change: 0, all: Plan::Pass, of: HashMap::new(), door: Door::Open };
        let (plans, seen) = watch::channel(plans);
        let done = Arc::new(Mutex::new(Done::default()));
        let came = Arc::default();
        runtime.spawn(keep_door(listener, server, seen, Arc::clone(&done), Arc::clone(&came)));
        Self { address, plans, done, came, _runtime: runtime }
    }

    /// The address of a server, with this proxy in its place.
    pub(crate) fn url(&self, server: &str) -> String {
        let path = server.trim_start_matches("ws://").split_once('/').map_or("", |(_, path)| path);
        format!("ws://{}/{path}", self.address)
    }

    /// Every connection, open or to come, but for those that have a plan of their own.
    pub(crate) fn set(&self, plan: Plan) {
        self.change(|plans| plans.all = plan);
    }

    /// The connection with this number, counted from 1 at the door, open or to come.
    pub(crate) fn set_for(&self, connection: u64, plan: Plan) {
        self.change(|plans| _ = plans.of.insert(connection, plan));
    }

    /// Connections to come.
    pub(crate) fn set_door(&self, door: Door) {
        self.change(|plans| plans.door = door);
    }

    /// Resets every connection that is open; those to come pass.
    pub(crate) fn reset_all(&self) {
        self.change(|plans| {
            let came = self.done().connections;
            plans.of.retain(|connection, _| *connection > came);
            plans.of.extend((1..=came).map(|connection| (connection, Plan::ResetAfter(0))));
        });
    }

    /// Nothing is done any more.
    pub(crate) fn pass(&self) {
        self.change(|plans| {
            plans.all = Plan::Pass;
            plans.of.clear();
            plans.door = Door::Open;
        });
    }

    pub(crate) fn done(&self) -> Done {
        *self.done.lock().unwrap()
    }

    /// When connections came to the door, of the first 10,000.
    pub(crate) fn came(&self) -> Vec<Instant> {
        self.came.lock().unwrap().clone()
    }

    fn change(&self, change: impl FnOnce(&mut Plans)) {
        self.plans.send_modify(|plans| {
            plans.change += 1;
            change(plans);
        });
    }
}

async fn keep_door(
    listener: TcpListener,
    server: String,
    plans: watch::Receiver<Plans>,
    done: Arc<Mutex<Done>>,
    came: Arc<Mutex<Vec<Instant>>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = {
            let mut done = done.lock().unwrap();
            done.connections += 1;
            done.connections
        };
        if number <= CAME_MAX {
            came.lock().unwrap().push(Instant::now());
        }
        let (server, plans, done) = (server.clone(), plans.clone(), Arc::clone(&done));
        connections.spawn(connection(client, server, number, plans, done));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(
    mut client: TcpStream,
    server: String,
    number: u64,
    mut plans: watch::Receiver<Plans>,
    done: Arc<Mutex<Done>>,
) {
    let door = plans.borrow_and_update().door;
    match door {
        Door::Open => {}
        Door::Refuses => {
            done.lock().unwrap().refused += 1;
            return reset(&client);
        }
        Door::Blackhole => {
            done.lock().unwrap().blackholed += 1;
            // What the client says is read, so that its end is seen; nothing is ever said.
            let mut nothing = [0; 1024];
            while client.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
            return;
        }
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return reset(&client) };
    // A failure only makes it slower.
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = Pump { number, way: Way::ToServer, plans: plans.clone(), done: &done, passed: 0, frames: 0, spoilt: 0 };
    let down = Pump { number, way: Way::ToClient, plans, done: &done, passed: 0, frames: 0, spoilt: 0 };
    if tokio::try_join!(up.run(from_client, to_server), down.run(from_server, to_client)).is_err() {
        reset(&client);
        reset(&server);
    }
}

/// To be dropped next.
fn reset(stream: &TcpStream) {
    // Failing, the connection ends by an end of stream.
    stream.set_zero_linger().ok();
}

/// The connection is to be reset on both sides: it broke on one, or a plan wants it.
#[derive(Debug)]
struct Broken;

/// Takes bytes one way.
struct Pump<'a> {
    number: u64,
    way: Way,
    plans: watch::Receiver<Plans>,
    done: &'a Mutex<Done>,
    /// Bytes so far.
    passed: u64,
    /// Frames so far.
    frames: u64,
    /// The change of plans for which a frame was spoilt.
    spoilt: u64,
}

impl Pump<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Broken> {
        let mut cutter = Cutter::default();
        let mut buffer = vec![0; PIECE_BYTES_MAX];
        loop {
            self.wait_while_stalled().await?;
            let read = tokio::select! {
                biased;
                // Looked at again: it may be a stall, or a reset.
                changed = self.plans.changed() => {
                    changed.map_err(|_| Broken)?;
                    continue;
                }
                read = from.read(&mut buffer) => read.map_err(|_| Broken)?,
            };
            if read == 0 {
                to.shutdown().await.map_err(|_| Broken)?;
                return Ok(());
            }
            self.hold().await?;
            if self.way == Way::ToServer {
                self.pass(&buffer[..read], &mut to).await?;
                continue;
            }
            cutter.take(&buffer[..read]);
            while let Some(piece) = cutter.next() {
                self.pass_piece(piece, &mut to).await?;
            }
        }
    }

    fn plan(&mut self) -> (Plan, u64) {
        let plans = self.plans.borrow_and_update();
        (plans.of(self.number), plans.change)
    }

    async fn changed(&mut self) -> Result<(), Broken> {
        self.plans.changed().await.map_err(|_| Broken)
    }

    /// Waits while this way is stalled. An error when the plan is a reset whose byte has passed.
    async fn wait_while_stalled(&mut self) -> Result<(), Broken> {
        let mut noted = false;
        loop {
            match self.plan().0 {
                Plan::Stall(way) if way.covers(self.way) => {
                    if !std::mem::replace(&mut noted, true) {
                        self.done.lock().unwrap().stalls += 1;
                    }
                    self.changed().await?;
                }
                Plan::ResetAfter(bytes) if self.way == Way::ToClient && self.passed >= bytes => {
                    return Err(self.reset());
                }
                _ => return Ok(()),
            }
        }
    }

    fn reset(&self) -> Broken {
        self.done.lock().unwrap().resets += 1;
        Broken
    }

    /// Holds what was read for as long as the plan says. Another plan ends the wait.
    async fn hold(&mut self) -> Result<(), Broken> {
        let Plan::Delay(pause) = self.plan().0 else { return Ok(()) };
        self.done.lock().unwrap().delayed_pieces += 1;
        tokio::time::timeout(pause, self.changed()).await.unwrap_or(Ok(()))
    }

    /// Passes a piece that goes to the client, twice or spoilt where it is a frame and the plan says so.
    async fn pass_piece(&mut self, piece: Piece, to: &mut WriteHalf<'_>) -> Result<(), Broken> {
        let Piece::Frame { mut bytes, header } = piece else {
            return self.pass(piece.bytes(), to).await;
        };
        self.frames += 1;
        let (plan, change) = self.plan();
        match plan {
            Plan::CorruptFrame(frame, _) if frame != self.frames => {}
            Plan::Corrupt(flip) | Plan::CorruptFrame(_, flip) if self.spoilt != change => {
                self.spoilt = change;
                self.done.lock().unwrap().corrupted += 1;
                frames::spoil(&mut bytes, header, flip);
            }
            Plan::Duplicate(every) if self.frames.is_multiple_of(every.max(1)) => {
                self.done.lock().unwrap().duplicated += 1;
                self.pass(&bytes, to).await?;
            }
            _ => {}
        }
        self.pass(&bytes, to).await
    }

    /// Passes bytes as the plan of each moment says.
    async fn pass(&mut self, mut bytes: &[u8], to: &mut WriteHalf<'_>) -> Result<(), Broken> {
        while !bytes.is_empty() {
            self.wait_while_stalled().await?;
            let now = match self.plan().0 {
                Plan::ResetAfter(most) if self.way == Way::ToClient => {
                    // Not less than one byte: at none it would have been reset by now.
                    bytes.len().min(usize::try_from(most - self.passed).unwrap_or(usize::MAX))
                }
                Plan::Trickle(a_second) if self.way == Way::ToClient => {
                    // In twentieths of a second, or whatever time a byte takes.
                    let slice = (a_second / 20).max(1);
                    let pause = Duration::from_secs_f64(f64::from(slice) / f64::from(a_second.max(1)));
                    let count = bytes.len().min(slice as usize);
                    if let Ok(changed) = tokio::time::timeout(pause, self.changed()).await {
                        changed?;
                        continue;
                    }
                    self.done.lock().unwrap().trickled_bytes += count as u64;
                    count
                }
                _ => bytes.len(),
            };
            if self.way == Way::ToClient {
                // Before they are there, so that whoever has seen them finds them counted.
                self.done.lock().unwrap().bytes_to_clients += now as u64;
            }
            to.write_all(&bytes[..now]).await.map_err(|_| Broken)?;
            self.passed += now as u64;
            bytes = &bytes[now..];
        }
        // The reset that is due after the last byte does not wait for another one.
        self.wait_while_stalled().await
    }
}
