//! A Q-SYS Core: JSON-RPC with change groups. A topic is a named control or `component/control`, and every control there may be is
//! there. Of one that changes, each value is told: at once where the group is polled automatically, else when the client polls.
//!
//! Source: "QRC Commands" of the Q-SYS help.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::market::{hash, mix};
use super::{Desk, Draft, Greeting, Moment, Series, Speaker, Standing, Wrapped, echo, strings};

/// Changes that wait for a client to poll; then the group gets no more.
const WAITING_MAX: usize = 10_000;

/// How changes come to the client.
#[derive(Debug, Default)]
enum Polling {
    /// Not yet.
    #[default]
    Not,
    /// By themselves, as answers to the request of this id.
    Automatic(String),
    /// When they are asked for.
    Asked,
}

#[derive(Debug, Default)]
pub(super) struct QsysSpeaker {
    group: Option<String>,
    controls: Vec<String>,
    polling: Polling,
    waiting: Vec<Vec<u8>>,
}

impl QsysSpeaker {
    fn status() -> Value {
        json!({"Platform": "Simulated", "State": "Active", "DesignName": "Simulation", "DesignCode": "simulated-1",
            "IsRedundant": false, "IsEmulator": true, "Status": {"Code": 0, "String": "OK"}})
    }

    fn add(&mut self, params: &Value, controls: Vec<String>, id: &str, desk: &mut Desk<'_>) {
        if controls.is_empty() || controls.iter().filter(|control| desk.refuses(control)).count() > 0 {
            return fail(8, "Unknown control", id, desk);
        }
        self.group = params["Id"].as_str().map(str::to_owned);
        answer(&json!(true), id, desk);
        for control in controls {
            if !matches!(self.polling, Polling::Not) {
                desk.subscribe(control.clone(), "");
            }
            if !self.controls.contains(&control) {
                self.controls.push(control);
            }
        }
    }

    fn remove(&mut self, controls: &[String], id: &str, desk: &mut Desk<'_>) {
        for control in controls {
            desk.unsubscribe(control.clone(), "");
        }
        self.controls.retain(|control| !controls.contains(control));
        answer(&json!(true), id, desk);
    }

    /// Changes come from now on.
    fn poll(&mut self, polling: Polling, desk: &mut Desk<'_>) {
        self.polling = polling;
        for control in &self.controls {
            desk.subscribe(control.clone(), "");
        }
    }

    fn frame(&self, changes: &[u8], id: &str) -> Vec<u8> {
        let group = Value::from(self.group.as_deref().unwrap_or_default());
        let head = format!(r#"{{"jsonrpc":"2.0","result":{{"Id":{group},"Changes":["#);
        [head.as_bytes(), changes, format!(r#"]}},"id":{id}}}"#).as_bytes()].concat()
    }
}

fn answer(result: &Value, id: &str, desk: &mut Desk<'_>) {
    desk.acknowledge(format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{id}}}"#));
}

fn fail(code: i32, message: &str, id: &str, desk: &mut Desk<'_>) {
    desk.say(format!(r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":"{message}"}},"id":{id}}}"#));
}

/// The controls that a request names.
fn controls(params: &Value) -> Vec<String> {
    let Some(component) = params.get("Component") else { return strings(params.get("Controls")) };
    let name = component["Name"].as_str().unwrap_or_default();
    let of_component = component["Controls"].as_array().map(Vec::as_slice).unwrap_or_default();
    of_component.iter().filter_map(|control| Some(format!("{name}/{}", control["Name"].as_str()?))).collect()
}

impl Speaker for QsysSpeaker {
    fn greet(&mut self, _greeting: &Greeting, desk: &mut Desk<'_>) {
        desk.say(json!({"jsonrpc": "2.0", "method": "EngineStatus", "params": Self::status()}).to_string());
    }

    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            return fail(-32700, "Parse error", "null", desk);
        };
        let id = echo(&request, "id");
        let params = &request["params"];
        let known = self.group.is_some() && params["Id"].as_str() == self.group.as_deref();
        match request["method"].as_str().unwrap_or_default() {
            "Logon" => answer(&json!(true), &id, desk),
            "NoOp" => desk.pong(format!(r#"{{"jsonrpc":"2.0","result":true,"id":{id}}}"#)),
            "StatusGet" => desk.say(format!(r#"{{"jsonrpc":"2.0","result":{},"id":{id}}}"#, Self::status())),
            "ChangeGroup.AddControl" | "ChangeGroup.AddComponentControl" => {
                self.add(params, controls(params), &id, desk);
            }
            method if method.starts_with("ChangeGroup.") && !known => fail(6, "Unknown change group", &id, desk),
            "ChangeGroup.Remove" => self.remove(&controls(params), &id, desk),
            "ChangeGroup.Clear" | "ChangeGroup.Destroy" => {
                let all = std::mem::take(&mut self.controls);
                self.remove(&all, &id, desk);
            }
            "ChangeGroup.Invalidate" => desk.say(format!(r#"{{"jsonrpc":"2.0","result":true,"id":{id}}}"#)),
            "ChangeGroup.AutoPoll" => self.poll(Polling::Automatic(id), desk),
            "ChangeGroup.Poll" => {
                if !matches!(self.polling, Polling::Asked) {
                    self.poll(Polling::Asked, desk);
                }
                let waiting = std::mem::take(&mut self.waiting);
                desk.released = true;
                let frame = self.frame(&waiting.join(&b','), &id);
                desk.say(String::from_utf8_lossy(&frame).into_owned());
            }
            _ => fail(-32601, "Method not found", &id, desk),
        }
    }

    fn takes_more(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    fn wrap(&mut self, _draft: &Draft, _token: &str, text: &[u8], _standing: &Standing) -> Wrapped {
        // A NUL would end the frame.
        let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != 0).collect();
        match &self.polling {
            Polling::Automatic(id) => Wrapped::Text(self.frame(&text, id)),
            // What faults have spoiled must not spoil what it would be sent with.
            _ if serde_json::from_slice::<Value>(&text).is_err() => Wrapped::Text(self.frame(&text, "null")),
            _ => {
                self.waiting.push(text);
                Wrapped::Held
            }
        }
    }
}

struct Control {
    component: Option<String>,
    name: String,
    seed: u64,
    last: u64,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (component, name) = topic.split_once('/').map_or((None, topic), |(component, name)| (Some(component), name));
    let fits = !name.is_empty() && component != Some("") && !topic.starts_with('@');
    fits.then(|| {
        let component = component.map(str::to_owned);
        let seed = hash(seed, topic);
        // Far apart, and small enough for a number of JSON.
        let last = first_id + seed % 1000 * 1_000_000_000_000;
        Box::new(Control { component, name: name.to_owned(), seed, last }) as _
    })
}

impl Series for Control {
    fn next(&mut self, _moment: Moment) -> Draft {
        self.last += 1;
        let mut draft = Draft::new();
        draft.text.push('{');
        if let Some(component) = &self.component {
            _ = write!(draft.text, r#""Component":{},"#, Value::from(component.as_str()));
        }
        _ = write!(draft.text, r#""Name":{},"Value":"#, Value::from(self.name.as_str()));
        // A value never comes twice, of no control, so that what was sent can be told apart, though the protocol has no ids.
        draft.push_id(&self.last.to_string(), false);
        _ = write!(
            draft.text,
            r#","String":"{}dB","Position":0.{}"#,
            self.last,
            mix(self.seed ^ self.last) % 1_000_000
        );
        draft.mark_twist();
        draft.text.push('}');
        draft
    }
}
