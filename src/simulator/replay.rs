//! Serves a recording to a connection.
//!
//! The rule, in the order in which it is applied:
//!
//! 1. Nothing is sent before the client's first request. Where the client's URL says what it wants (`?streams=`), it begins at
//!    once; where the recording holds no requests, after [`RecordingSettings::patience`]; else after [`UNASKED`] without a
//!    request, which is counted, since whoever only listens would wait for ever.
//! 2. Inbound frames are served in their order, to the byte. Only a reply that carries the id of a recorded request is
//!    treated otherwise: it goes to a client that has made the same request (equal but for the id), and the bytes of
//!    the id are replaced by those that the client used.
//! 3. A reply whose request has not come yet waits, and all after it, until the client has been quiet for `patience`;
//!    then it is withheld and counted. Should the request come later after all, the reply is sent then.
//! 4. The same request made again gets the same reply again, under its new id.
//! 5. A request that the recording does not have (a client may ask for channels in one request that were recorded in
//!    two) is answered in the dialect's words if it carries an id, and counted; without an id the recording's own
//!    acknowledgements have to do. Where data is routed by subscription ids that the server hands out (Ethereum,
//!    Solana), such a subscription is refused, since the recording has no data for it.
//! 6. Pings of the dialect's are always answered.
//! 7. Repeats, disorder and bad frames on request are made of text frames that are no replies; conflicts and changed ids
//!    are not, since it is not known what in them is an id.
//!
//! [`RecordingSettings::patience`]: super::RecordingSettings::patience

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::connection::{Connection, End, Heard, at};
use super::dialects::{Desk, Draft, Speaker, Words};
use super::faults::{FaultMaker, Sending};
use super::figures::Fault;
use super::figures::{add, sub};
use super::frames::Opcode;
use super::hub::Event;
use super::recording::{Recording, content, id_in_text};
use super::settings::{AfterRecording, Pace, SimulatedDialect};

/// How long a client that has a request to make may take for it. Source: a guess; a login may come first.
const UNASKED: Duration = Duration::from_secs(5);
/// Bytes put together before they are written.
const BURST_BYTES: usize = 128 * 1024;

struct Replay<'a> {
    connection: &'a mut Connection,
    recording: &'a Recording,
    faults: FaultMaker,
    speaker: Option<(SimulatedDialect, Box<dyn Speaker>)>,
    /// The id that the client gave each recorded request, once it has made it.
    claims: Vec<Option<String>>,
    /// Replies passed over.
    withheld: Vec<usize>,
    next: usize,
    started: Option<Instant>,
    asked: bool,
    last_request: Instant,
}

/// What keeps the next frame from being served.
enum Hold {
    /// Nothing.
    Free,
    /// It is not its time yet.
    Until(Instant),
    /// All is served.
    Done,
}

/// Serves a connection to its end.
pub(crate) async fn replay(connection: &mut Connection, recording: &Recording, target: &str) -> End {
    let settings = &connection.shared.settings;
    let mut rng = fastrand::Rng::with_seed(settings.seed ^ connection.number);
    let faults = FaultMaker::new(&settings.faults, rng.u64(..));
    let break_at = connection.break_at(&mut rng);
    let served = recording.settings.connections.is_none_or(|most| connection.number <= most);
    let mut replay = Replay {
        connection,
        recording,
        faults,
        speaker: recording.dialect.map(|dialect| (dialect, dialect.speaker(rng))),
        claims: vec![None; recording.requests.len()],
        withheld: Vec::new(),
        next: if served { 0 } else { recording.frames.len() },
        started: None,
        asked: target.contains('?'),
        last_request: Instant::now(),
    };
    match replay.run(break_at, served).await {
        Ok(()) => End::Over,
        Err(end) => end,
    }
}

impl Replay<'_> {
    async fn run(&mut self, break_at: Option<Instant>, served: bool) -> Result<(), End> {
        let mut over = !served;
        loop {
            let mut hold = self.hold();
            while matches!(hold, Hold::Free) && self.connection.out.len() < BURST_BYTES {
                self.serve_next();
                hold = self.hold();
            }
            if matches!(hold, Hold::Done) && !over {
                let mut sendings = Vec::new();
                self.faults.flush(&mut sendings);
                self.send(sendings);
            }
            self.connection.write_out().await?;
            if matches!(hold, Hold::Done) && !over {
                over = true;
                add(&self.connection.shared.counters.recordings_served, 1);
                if self.recording.settings.then == AfterRecording::Close {
                    return Ok(());
                }
            }
            let wake = match hold {
                Hold::Free => Some(Instant::now()),
                Hold::Until(moment) => Some(moment),
                Hold::Done => None,
            };
            let connection = &mut *self.connection;
            let frame = tokio::select! {
                biased;
                () = connection.shared.cancel.cancelled() => return Err(End::Stopped),
                frame = connection.reader.next() => frame,
                () = at(break_at) => return Err(connection.way_of_breaking()),
                () = at(wake) => continue,
            };
            if let Some(Heard::Text(text)) = self.connection.answer(frame)? {
                self.hear(&text);
            }
        }
    }

    /// Whether the next frame may be served, rules 1 and 3 and the pace.
    fn hold(&mut self) -> Hold {
        let patience = self.recording.settings.patience;
        loop {
            let Some(frame) = self.recording.frames.get(self.next) else { return Hold::Done };
            let quiet_at = self.last_request + patience;
            if !self.asked && self.started.is_none() {
                let awaited = !self.recording.requests.is_empty();
                let begins_at = if awaited { self.last_request + patience.max(UNASKED) } else { quiet_at };
                if Instant::now() < begins_at {
                    return Hold::Until(begins_at);
                }
                if awaited {
                    tracing::debug!(connection = self.connection.number, "simulator: served unasked");
                    add(&self.connection.shared.counters.unasked, 1);
                }
            }
            let started = *self.started.get_or_insert_with(Instant::now);
            if let Some(due) = self.due(started, frame.at)
                && Instant::now() < due
            {
                return Hold::Until(due);
            }
            match &frame.reply {
                Some(reply) if self.claims[reply.request].is_none() => {
                    if Instant::now() < quiet_at {
                        return Hold::Until(quiet_at);
                    }
                    self.withheld.push(self.next);
                    add(&self.connection.shared.counters.replies_withheld, 1);
                    self.next += 1;
                }
                _ => return Hold::Free,
            }
        }
    }

    fn due(&self, started: Instant, at: Duration) -> Option<Instant> {
        match self.recording.settings.pace {
            Pace::Recorded { speed } if speed > 0.0 => Some(started + at.div_f64(speed)),
            Pace::Recorded { .. } | Pace::AsTaken => None,
        }
    }

    fn serve_next(&mut self) {
        self.serve(self.next);
        self.next += 1;
    }

    /// Serves a frame, with the id that the client used where it is a reply.
    fn serve(&mut self, place: usize) {
        let frame = &self.recording.frames[place];
        if frame.reply.is_none()
            && self.faults.makes_any()
            && let Ok(text) = std::str::from_utf8(&frame.payload)
            && frame.opcode == Opcode::Text
        {
            let draft = Draft { text: text.to_owned(), ids: vec![place.to_string()], ..Draft::default() };
            let mut sendings = Vec::new();
            self.faults.pass(Arc::new(Event { topic: Arc::from("recording"), topic_index: 0, draft }), &mut sendings);
            self.send(sendings);
            add(&self.connection.shared.counters.events, 1);
            return;
        }
        let rewritten = frame.reply.as_ref().and_then(|reply| {
            let id = self.claims[reply.request].as_ref()?;
            let span = reply.id.clone()?;
            Some([&frame.payload[..span.start], id.as_bytes(), &frame.payload[span.end..]].concat())
        });
        let payload = rewritten.as_deref().unwrap_or(&frame.payload);
        self.connection.enter("recording", &[place.to_string()], payload, None);
        self.connection.push(frame.opcode, payload);
        add(&self.connection.shared.counters.events, 1);
    }

    /// Puts frames with their faults on their way.
    fn send(&mut self, sendings: Vec<Sending>) {
        for Sending { event, fault } in sendings {
            let mut payload = event.draft.text.clone().into_bytes();
            let binary = fault.is_some_and(|fault| {
                self.connection.shared.counters.note_fault(fault);
                self.faults.spoil(fault, &event, 0, &mut payload)
            });
            self.connection.enter(&event.topic, &event.draft.ids, &payload, fault);
            if fault == Some(Fault::Dropped) {
                continue;
            }
            self.connection.push(if binary { Opcode::Binary } else { Opcode::Text }, &payload);
        }
    }

    fn hear(&mut self, text: &str) {
        let request: Option<Value> = serde_json::from_str(text).ok();
        let Some(request) = request else { return self.answer(text, "") };
        let wanted = content(&request);
        let equal = |place: &usize| self.recording.requests[*place] == wanted;
        let places = || 0..self.recording.requests.len();
        let unclaimed = places().find(|place| self.claims[*place].is_none() && equal(place));
        let place = unclaimed.or_else(|| places().rfind(equal));
        let method = ["method", "op"].iter().find_map(|name| request.get(name)).and_then(Value::as_str);
        match place {
            Some(place) => {
                self.note_request();
                self.claims[place] = Some(id_in_text(text).unwrap_or_default().to_owned());
                if self.claims[place].as_deref() == Some("") {
                    // The client asked without an id, so that there is nothing to replace.
                    let recorded = self.recording.frames.iter().find_map(|frame| {
                        let reply = frame.reply.as_ref().filter(|reply| reply.request == place)?;
                        std::str::from_utf8(frame.payload.get(reply.id.clone()?)?).ok()
                    });
                    self.claims[place] = Some(recorded.unwrap_or_default().to_owned());
                }
                self.catch_up(place, unclaimed.is_none());
            }
            None if matches!(method, Some("ping" | "public/test")) => self.answer(text, ""),
            None => {
                self.note_request();
                if let Some(id) = id_in_text(text) {
                    self.answer(text, id);
                }
            }
        }
    }

    fn note_request(&mut self) {
        self.asked = true;
        self.last_request = Instant::now();
    }

    /// Sends replies to a request that came after their place, or came again.
    fn catch_up(&mut self, request: usize, again: bool) {
        let due = |place: usize| self.recording.frames[place].reply.as_ref().is_some_and(|r| r.request == request);
        let late: Vec<usize> = if again {
            (0..self.next).filter(|place| due(*place)).collect()
        } else {
            self.withheld.iter().copied().filter(|place| due(*place)).collect()
        };
        for place in late {
            if let Some(position) = self.withheld.iter().position(|withheld| *withheld == place) {
                self.withheld.swap_remove(position);
                sub(&self.connection.shared.counters.replies_withheld, 1);
            }
            self.serve(place);
        }
    }

    /// Answers in the dialect's words; rules 5 and 6.
    fn answer(&mut self, text: &str, id: &str) {
        let Some((dialect, speaker)) = &mut self.speaker else { return };
        let shared = Arc::clone(&self.connection.shared);
        let faults = &shared.settings.faults;
        let mut desk = Desk::new(*dialect, &faults.refuse, faults.no_pong, &shared.standing);
        let handed_out = matches!(dialect, SimulatedDialect::Ethereum | SimulatedDialect::Solana);
        if handed_out && text.contains("ubscribe") && !id.is_empty() {
            desk.say_unknown(id);
        } else {
            speaker.hear(text, &mut desk);
        }
        let dialect = *dialect;
        for reply in desk.replies {
            if !id.is_empty() {
                add(&shared.counters.replies_made, 1);
            }
            match &reply.words {
                Words::Bytes(bytes) => self.connection.push(Opcode::Binary, bytes),
                Words::Text(text) => match dialect.frame(text.as_bytes()) {
                    Some(frame) => self.connection.push(Opcode::Binary, &frame),
                    None => self.connection.push(Opcode::Text, text.as_bytes()),
                },
            }
        }
    }
}
