//! Ethereum JSON-RPC subscriptions: `newHeads`, `logs`, `newPendingTransactions`. A topic is the first parameter, for
//! `logs` with a filter followed by a space and the filter as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::market::{hash, hex, mix};
use super::{Desk, Draft, Moment, Series, Speaker, echo};

#[derive(Debug)]
pub(super) struct EthereumSpeaker {
    rng: fastrand::Rng,
    /// Topics by subscription id; each request gets an id of its own.
    subscriptions: BTreeMap<String, String>,
}

impl EthereumSpeaker {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self { rng, subscriptions: BTreeMap::new() }
    }

    fn answer(&mut self, request: &Value, desk: &mut Desk<'_>) -> String {
        let id = echo(request, "id");
        let params = request.get("params").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let result = match request.get("method").and_then(Value::as_str).unwrap_or_default() {
            "eth_subscribe" => {
                let topic = topic_of(params);
                if desk.refuses(&topic) {
                    return error(&id, -32602, "data did not match any variant of untagged enum EthRpcCall");
                }
                let subscription = hex(self.rng.u64(..), 16);
                self.subscriptions.insert(subscription.clone(), topic.clone());
                desk.subscribe(topic, subscription.as_str());
                format!("\"{subscription}\"")
            }
            "eth_unsubscribe" => {
                let subscription = params.first().and_then(Value::as_str).unwrap_or_default();
                match self.subscriptions.remove(subscription) {
                    Some(topic) => desk.unsubscribe(topic, subscription),
                    None => return error(&id, -32000, "subscription not found"),
                }
                String::from("true")
            }
            "eth_chainId" => String::from("\"0x7a69\""),
            "net_version" => String::from("\"31337\""),
            "eth_blockNumber" => format!("\"{:#x}\"", Moment::now().seconds() / 12),
            "web3_clientVersion" => String::from("\"simulator/v0\""),
            _ => return error(&id, -32601, "Method not found"),
        };
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
    }
}

fn error(id: &str, code: i32, message: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
}

fn topic_of(params: &[Value]) -> String {
    let name = params.first().and_then(Value::as_str).unwrap_or_default();
    match params.get(1) {
        Some(filter) if filter.as_object().is_some_and(|filter| !filter.is_empty()) => format!("{name} {filter}"),
        _ => name.to_owned(),
    }
}

impl Speaker for EthereumSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let answer = match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(batch)) => {
                let answers: Vec<String> = batch.iter().map(|request| self.answer(request, desk)).collect();
                format!("[{}]", answers.join(","))
            }
            Ok(request) => self.answer(&request, desk),
            Err(_) => error("null", -32700, "Parse error"),
        };
        desk.acknowledge(answer);
    }
}

enum Kind {
    Heads,
    Logs,
    Pending,
}

struct Subscription {
    kind: Kind,
    /// What hashes depend on.
    chain: u64,
    address: String,
    block: u64,
    log: u64,
    rng: fastrand::Rng,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (name, filter) = topic.split_once(' ').unwrap_or((topic, "{}"));
    let kind = match name {
        "newHeads" => Kind::Heads,
        "logs" => Kind::Logs,
        "newPendingTransactions" => Kind::Pending,
        _ => return None,
    };
    let filter: Value = serde_json::from_str(filter).ok()?;
    let address = filter.get("address").and_then(|a| a.as_str().or_else(|| a.get(0).and_then(Value::as_str)));
    let chain = hash(seed ^ mix(first_id), topic);
    Some(Box::new(Subscription {
        kind,
        chain,
        address: address.map_or_else(|| hex(chain, 20), str::to_ascii_lowercase),
        // As many blocks as fit the ids, so that heights also grow from one start to the next.
        block: 20_000_000 + first_id % 1_000_000_000,
        log: 0,
        rng: fastrand::Rng::with_seed(chain),
    }))
}

impl Subscription {
    fn block_hash(&self, block: u64) -> String {
        hex(mix(self.chain).wrapping_add(block), 32)
    }
}

impl Series for Subscription {
    fn next(&mut self, moment: Moment) -> Draft {
        let mut draft = Draft::new();
        draft.text.push_str(r#"{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":""#);
        draft.splice = Some(draft.text.len());
        draft.text.push_str(r#"","result":"#);
        match self.kind {
            Kind::Heads => {
                let parent = self.block_hash(self.block);
                self.block += 1;
                draft.text.push_str(r#"{"hash":"#);
                draft.push_id(&self.block_hash(self.block), true);
                let state = |salt: u64| hex(mix(self.chain ^ salt).wrapping_add(self.block), 32);
                let (seconds, zeros) = (moment.seconds(), "0".repeat(512));
                _ = write!(
                    draft.text,
                    r#","parentHash":"{parent}","sha3Uncles":"0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347","miner":"0x0000000000000000000000000000000000000000","stateRoot":"{}","transactionsRoot":"{}","receiptsRoot":"{}","logsBloom":"0x{zeros}","difficulty":"0x0","number":"{:#x}","gasLimit":"0x1c9c380","timestamp":"{seconds:#x}","extraData":"0x","mixHash":"{}","nonce":"0x0000000000000000","baseFeePerGas":"0x30f67e","blobGasUsed":"0x0","excessBlobGas":"0x0","parentBeaconBlockRoot":"{}","gasUsed":"{:#x}"#,
                    state(1),
                    state(2),
                    state(3),
                    self.block,
                    state(4),
                    state(5),
                    // The last hex digit is a decimal one, for conflicts to change.
                    self.rng.u64(21_000..30_000_000) / 16 * 16 + self.rng.u64(0..10)
                );
                draft.mark_twist();
                draft.text.push_str(r#""}"#);
            }
            Kind::Logs => {
                // Some logs to a block.
                if self.rng.u8(0..4) == 0 {
                    self.block += 1;
                    self.log = 0;
                }
                let block_hash = self.block_hash(self.block);
                let index = format!("{:#x}", self.log);
                let transaction = hex(mix(self.chain ^ 6).wrapping_add(self.block * 1000 + self.log / 2), 32);
                let (from, to) = (hex(self.rng.u64(0..50), 20), hex(self.rng.u64(0..50), 20));
                let data = self.rng.u64(0..1_000_000_000);
                let padding = "0".repeat(24);
                _ = write!(
                    draft.text,
                    r#"{{"address":"{}","topics":["0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef","0x{padding}{}","0x{padding}{}"],"data":"0x{data:064}"#,
                    self.address,
                    &from[2..],
                    &to[2..]
                );
                draft.mark_twist();
                _ = write!(
                    draft.text,
                    r#"","blockHash":"{block_hash}","blockNumber":"{:#x}","blockTimestamp":"{:#x}","transactionHash":"{transaction}","transactionIndex":"{:#x}","logIndex":"#,
                    self.block,
                    moment.seconds(),
                    self.log / 2
                );
                let start = draft.text.len();
                _ = write!(draft.text, r#""{index}""#);
                draft.id_span = start..draft.text.len();
                draft.ids.push(format!("{block_hash}:{index}"));
                draft.text.push_str(r#","removed":false}"#);
                self.log += 1;
            }
            Kind::Pending => {
                self.log += 1;
                draft.push_id(&hex(mix(self.chain ^ 7).wrapping_add(self.log), 32), true);
            }
        }
        draft.text.push_str("}}");
        draft
    }
}
