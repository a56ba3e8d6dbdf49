//! The Ethereum node anvil, which `scripts/test` installs: a server that is not ours.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flate2::read::GzDecoder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::processes::{Event, Process, request, until};

/// Its account number 0, unlocked.
const SENDER: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";

/// A contract whose creation emits a log without topics and data, and leaves no code: PUSH1 0 PUSH1 0 LOG0 STOP.
const LOGGING: &str = "0x60006000a000";

/// Blocks or transactions asked for at once.
const ASKED_AT_ONCE: usize = 100;

pub(crate) struct Anvil {
    process: Process,
    address: String,
}

/// A port that nobody has now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Anvil {
    /// On `port`, with a chain of its own and three blocks a second.
    pub(crate) fn start(port: u16) -> Self {
        Self::start_with(port, &["--block-time", "0.33"])
    }

    /// On `port`, with more arguments.
    pub(crate) fn start_with(port: u16, more: &[&str]) -> Self {
        let Ok(program) = std::env::var("ANVIL") else {
            panic!("ANVIL does not name the program `anvil`; run `scripts/test`, which installs it and sets this");
        };
        let mut command = Command::new(&program);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]).args(more);
        let mut process = Process::of(command);
        let address = format!("127.0.0.1:{port}");
        until("anvil answers", || {
            assert!(!process.has_ended(), "{program}: {}", process.stderr());
            let body = call_text("eth_blockNumber", &json!([]));
            request(&address, &post(&address, &body)).is_ok_and(|(status, _)| status == 200).then_some(())
        });
        Self { process, address }
    }

    /// A call over plain HTTP, another way to the same chain than the one under test.
    pub(crate) fn call(&self, method: &str, parameters: &Value) -> Value {
        let body = call_text(method, parameters);
        let (status, answer) = request(&self.address, &post(&self.address, &body)).expect("an answer");
        assert_eq!(status, 200, "{answer}");
        let mut answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Sends a transaction that emits one log.
    pub(crate) fn emit(&self) {
        self.emit_from(SENDER);
    }

    /// As [`Anvil::emit`], from another of its accounts; the transaction's hash.
    pub(crate) fn emit_from(&self, sender: &str) -> String {
        text(&self.call("eth_sendTransaction", &json!([emitting(sender)])))
    }

    /// Its accounts, which are unlocked.
    pub(crate) fn accounts(&self) -> Vec<String> {
        self.call("eth_accounts", &json!([])).as_array().expect("an array").iter().map(text).collect()
    }

    /// The height of its newest block.
    pub(crate) fn newest(&self) -> u64 {
        number(&self.call("eth_blockNumber", &json!([])))
    }

    /// Blocks of the chain as it is now, from this height to that one.
    pub(crate) fn blocks(&self, from: u64, to: u64) -> Vec<Value> {
        let heights: Vec<u64> = (from..=to).collect();
        let parts = heights.chunks(ASKED_AT_ONCE).map(|heights| {
            let calls = heights.iter().map(|height| ("eth_getBlockByNumber", json!([format!("{height:#x}"), false])));
            batch(&self.address, calls).expect("an answer")
        });
        parts.collect::<Vec<_>>().concat()
    }

    /// Logs of the chain as it is now, from this height to that one.
    pub(crate) fn logs(&self, from: u64, to: u64) -> Vec<Value> {
        let span = json!([{"fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}")}]);
        self.call("eth_getLogs", &span).as_array().expect("an array").clone()
    }

    /// Leaves its chain in a file, which `--load-state` takes.
    pub(crate) fn dump(&self, file: &Path) {
        let dumped = text(&self.call("anvil_dumpState", &json!([])));
        let digits = dumped.trim_start_matches("0x").as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect("hexadecimal");
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
        let mut state = Vec::new();
        GzDecoder::new(&*bytes).read_to_end(&mut state).expect("gzip");
        fs::write(file, state).expect("a written file");
    }

    /// The program from npm is a script that runs the server as its child; this kills the server.
    pub(crate) fn kill(mut self) {
        let script = self.process.id();
        let children = fs::read_to_string(format!("/proc/{script}/task/{script}/children")).unwrap_or_default();
        let server = children.split_whitespace().next().map_or(script, |child| child.parse().expect("a process id"));
        let server = Pid::from_raw(server.cast_signed()).expect("a process id");
        kill_process(server, Signal::KILL).expect("it runs");
        self.process.end();
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // The script hands this on to the server; SIGKILL would leave the server behind.
        if !self.process.has_ended() {
            self.process.signal(Signal::TERM);
            self.process.end();
        }
    }
}

/// Sends transactions to a node until it is told to stop or the node is gone: one of each of several accounts at once, some
/// hundreds a second, each with a log.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<String>>>,
}

impl Load {
    pub(crate) fn start(anvil: &Anvil, senders: &[String]) -> Self {
        /// Between two batches, so that the machine has time for the rest.
        const PAUSE: Duration = Duration::from_millis(25);
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, address, senders) = (Arc::clone(&stop), anvil.address.clone(), senders.to_vec());
        let thread = thread::spawn(move || {
            let mut sent = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let calls = senders.iter().map(|sender| ("eth_sendTransaction", json!([emitting(sender)])));
                let Ok(hashes) = batch(&address, calls) else { break };
                sent.push(hashes.iter().filter_map(Value::as_str).map(str::to_owned).collect());
                thread::sleep(PAUSE);
            }
            sent
        });
        Self { stop, thread }
    }

    /// The hashes of the transactions that the node took, batch by batch.
    pub(crate) fn end(self) -> Vec<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

fn emitting(sender: &str) -> Value {
    json!({"from": sender, "data": LOGGING, "gas": "0x30000"})
}

fn call_text(method: &str, parameters: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).to_string()
}

/// The results of several calls in one request, in their order; null of one that failed.
fn batch<'a>(address: &str, calls: impl Iterator<Item = (&'a str, Value)>) -> std::io::Result<Vec<Value>> {
    let calls = (0..).zip(calls);
    let calls =
        calls.map(|(id, (method, params))| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
    let (_, answer) = request(address, &post(address, &calls.collect::<Value>().to_string()))?;
    let mut answers: Vec<Value> = serde_json::from_str(&answer)?;
    answers.sort_by_key(|answer| answer["id"].as_u64());
    Ok(answers.into_iter().map(|mut answer| answer["result"].take()).collect())
}

fn post(address: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}")).to_owned()
}

/// Of a hexadecimal text.
pub(crate) fn number(value: &Value) -> u64 {
    u64::from_str_radix(text(value).trim_start_matches("0x"), 16).expect("hexadecimal")
}

/// What a notification is about.
pub(crate) fn result(event: &Event) -> Value {
    let mut frame: Value = serde_json::from_str(event.payload.get()).expect("JSON");
    frame["params"]["result"].take()
}

/// The id that the node gave the subscription; another one after each subscribing.
pub(crate) fn subscription(event: &Event) -> String {
    let frame: Value = serde_json::from_str(event.payload.get()).expect("JSON");
    text(&frame["params"]["subscription"])
}

pub(crate) fn height(block: &Value) -> u64 {
    number(&block["number"])
}
