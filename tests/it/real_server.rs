//! A server that is not ours: the Ethereum node anvil, which `scripts/test` installs.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::processes::{Account, Daemon, Event, Process, Settings, accounts, json as printed, query, request, until};
use super::support::Workplace;

/// Its account number 0, unlocked.
const SENDER: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";

/// A contract whose creation emits a log without topics and data, and leaves no code: PUSH1 0 PUSH1 0 LOG0 STOP.
const LOGGING: &str = "0x60006000a000";

struct Anvil {
    process: Process,
    address: String,
}

impl Anvil {
    /// On `port`, with a chain of its own and three blocks a second.
    fn start(port: u16) -> Self {
        let Ok(program) = std::env::var("ANVIL") else {
            panic!("ANVIL does not name the program `anvil`; run `scripts/test`, which installs it and sets this");
        };
        let mut command = Command::new(&program);
        command.args(["--host", "127.0.0.1", "--block-time", "0.33", "--port", &port.to_string()]);
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
    fn call(&self, method: &str, parameters: &Value) -> Value {
        let body = call_text(method, parameters);
        let (status, answer) = request(&self.address, &post(&self.address, &body)).expect("an answer");
        assert_eq!(status, 200, "{answer}");
        let mut answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Sends a transaction that emits one log.
    fn emit(&self) {
        self.call("eth_sendTransaction", &json!([{"from": SENDER, "data": LOGGING, "gas": "0x30000"}]));
    }

    /// The program from npm is a script that runs the server as its child; this kills the server.
    fn kill(mut self) {
        let script = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).unwrap_or_default();
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

fn call_text(method: &str, parameters: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).to_string()
}

fn post(address: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn result(event: &Event) -> Value {
    let mut frame: Value = serde_json::from_str(event.payload.get()).expect("JSON");
    frame["params"]["result"].take()
}

/// The id that the node gave the subscription; another one after each subscribing.
fn subscription(event: &Event) -> String {
    let frame: Value = serde_json::from_str(event.payload.get()).expect("JSON");
    frame["params"]["subscription"].as_str().expect("a text").to_owned()
}

fn height(block: &Value) -> u64 {
    let number = block["number"].as_str().expect("a text");
    u64::from_str_radix(number.trim_start_matches("0x"), 16).expect("hexadecimal")
}

/// Heads and logs are, each once and without a hole, what the node says over HTTP.
fn assert_is_the_chain(anvil: &Anvil, heads: &[Event], logs: &[Event], emitted: usize) {
    let first = height(&result(&heads[0]));
    for (number, event) in (first..).zip(heads) {
        let head = result(event);
        assert_eq!(height(&head), number, "no block is missing and none comes twice");
        let block = anvil.call("eth_getBlockByNumber", &json!([format!("{number:#x}"), false]));
        assert_eq!(head["hash"], block["hash"], "block {number}");
        assert_eq!(event.id.as_deref(), block["hash"].as_str());
        let seconds = u64::from_str_radix(block["timestamp"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        let time: jiff::Timestamp = event.event_time.as_deref().expect("a time").parse().unwrap();
        assert_eq!(time.as_second().cast_unsigned(), seconds);
    }
    let mark =
        |log: &Value| (log["blockHash"].to_string(), log["logIndex"].to_string(), log["transactionHash"].to_string());
    let said = anvil.call("eth_getLogs", &json!([{"fromBlock": "0x0", "toBlock": "latest"}]));
    let said: BTreeSet<_> = said.as_array().expect("an array").iter().map(mark).collect();
    let journaled: Vec<_> = logs.iter().map(|event| mark(&result(event))).collect();
    assert_eq!((journaled.len(), said.len()), (emitted, emitted));
    assert_eq!(journaled.into_iter().collect::<BTreeSet<_>>(), said);
}

#[test]
fn blocks_and_logs_of_a_real_node_are_journaled_once_also_after_its_restart() {
    const LOGS: usize = 4;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let anvil = Anvil::start(port);
    let place = Workplace::new();
    let settings = Settings::new()
        .upstream("node", "ethereum", &format!("ws://127.0.0.1:{port}"))
        .monitor("heads", "chain", "node", &["newHeads"], "")
        .monitor("logs", "contracts", "node", &["logs {}"], "");
    let daemon = Daemon::start(&place, &settings);
    let live = |daemon: &Daemon| {
        until("both monitors are live", || {
            let monitors = daemon.monitors();
            (monitors["heads"]["state"] == "live" && monitors["logs"]["state"] == "live").then_some(())
        });
    };
    // Of subscriptions other than `before`.
    let gather = |before: &BTreeSet<String>| {
        until("blocks and logs", || {
            let of = |monitor: &str| {
                let events = query(&place, &["--monitor", monitor]).into_iter();
                events.filter(|event| !before.contains(&subscription(event))).collect::<Vec<Event>>()
            };
            let (heads, logs) = (of("heads"), of("logs"));
            (heads.len() >= 5 && logs.len() >= LOGS).then_some((heads, logs))
        })
    };
    let ids = |heads: &[Event], logs: &[Event]| heads.iter().chain(logs).map(subscription).collect::<BTreeSet<_>>();

    live(&daemon);
    for _ in 0..LOGS {
        anvil.emit();
    }
    let (heads, logs) = gather(&BTreeSet::new());
    assert_is_the_chain(&anvil, &heads, &logs, LOGS);
    let before = ids(&heads, &logs);
    assert_eq!(before.len(), 2);

    anvil.kill();
    until("the loss is noticed", || daemon.log().contains("link lost").then_some(()));
    // A new chain, whose blocks have the old ones' numbers and other hashes.
    let anvil = Anvil::start(port);
    live(&daemon);
    for _ in 0..LOGS {
        anvil.emit();
    }
    let (heads, logs) = gather(&before);
    assert_is_the_chain(&anvil, &heads, &logs, LOGS);
    assert_eq!(ids(&heads, &logs).len(), 2, "new subscriptions have new ids");
    assert_eq!(daemon.metrics().value("sluice_link_connects_total", &[("upstream", "node")]), 2);
    let log = daemon.stop();
    assert!(log.contains("link lost"), "{log}");
    let accounts = accounts(&place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
    for monitor in ["heads", "logs"] {
        let account = accounts[monitor];
        assert_eq!((account.control, account.repeats, account.quarantined), (2, 0, 0), "{monitor}: {account:?}");
    }
    let gaps = printed(&place, &["query", "--domain", "_sluice", "--monitor", "gaps"]);
    assert_eq!(gaps.lines().count(), 2, "the span without the node, once for each topic: {gaps}");
}
