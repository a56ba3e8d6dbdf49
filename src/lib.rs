//! Sluice turns many live feeds into a durable, queryable, replayable record of events.
//!
//! A frame is read, routed, parsed, deduplicated, put into a batch and encoded by the task that owns its link; only whole
//! encoded batches cross to the journal's writer thread. In the order the data goes:
//!
//! | room        | takes              | gives                 | owns                                             |
//! |-------------|--------------------|-----------------------|--------------------------------------------------|
//! | `upstream`  | an endpoint        | frames of a link      | the pool, health, reconnects, placement of topics |
//! | `dialect`   | a frame            | messages by topic     | one conversation a link                          |
//! | `monitor`   | a message          | candidates for events | rules, quarantine budgets, counts                |
//! | `pipeline`  | a burst            | a batch               | seen ids, size and delay policy                  |
//! | `journal`   | a batch            | durable offsets       | files, sync, recovery, retention                 |
//! | `enrich`    | durable blocks     | fields beside payloads | look-ups, their caches and breakers             |
//! | `sink`      | durable blocks     | a cursor              | storage clients, retries, breakers               |
//! | `checkpoint`| where all stand    | a small file          | its folder                                       |
//! | `recovery`  | checkpoint, journal | where to go on       | resume points, replay, verify                    |
//! | `alert`     | figures            | alerts, notifications | rules, their life, channels                     |
//! | `report`    | what was found     | text, Markdown, a page | nothing                                         |
//! | `operating` | the journal of a span | figures against targets | nothing                                     |
//! | `views`     | durable blocks     | what is quick to ask  | a folder that may be lost                        |
//! | `telemetry` | counts             | metrics, log lines    | metric names                                     |
//! | `export`    | metrics, own events | what others read     | nothing                                          |
//! | `server`    | a request          | health, metrics       | the HTTP port                                    |
//! | `daemon`    | settings           | a running whole       | every task, its start and its end                |
//! | `cli`       | arguments          | an exit code          | what people read                                 |
//!
//! `config` is what all of them are told, `scanner` finds JSON Pointers in raw texts for dialects and monitors, `clock` how time is stamped,
//! `backoff` how long to wait before another attempt, `credentials` who we are to an upstream, `proxy` what connections go through,
//! `retry_after` how long a server wants to be left alone, `http_client` how anything is asked over HTTP, `breaker` when to leave a
//! failing side alone for a while, `circuits` all breakers, `value_cache` what is kept for a time, `tls` whom to trust, `crash_point`
//! where tests have the process die, `recording` the files of recorded sessions, `infer` what they show of a feed that nobody has
//! described, and `simulator` a provider to try them with.

pub mod alert;
mod backoff;
pub mod breaker;
pub mod checkpoint;
pub mod circuits;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash_point;
pub mod credentials;
pub mod daemon;
pub mod dialect;
pub mod enrich;
pub mod export;
pub mod http_client;
pub mod infer;
pub mod journal;
pub mod monitor;
pub mod operating;
pub mod pipeline;
pub mod proxy;
pub mod recording;
pub mod recovery;
#[cfg(test)]
mod reference;
pub mod report;
mod retry_after;
pub mod rollout;
pub mod scanner;
pub mod server;
pub mod simulator;
pub mod sink;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod value_cache;
pub mod views;
