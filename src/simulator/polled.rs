//! An endpoint that is asked over HTTP again and again: each path has a list of its newest events.
//!
//! `GET /PATH` answers `{"items":[…]}`, oldest first, at least with all that is new since anybody asked, and with an `ETag`; who has
//! that already is told so (304). A path's events are made from its first request on, while it is asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::connection::{Connection, End, Heard, at};
use super::faults::FaultMaker;
use super::figures::{Fault, add};
use super::frames::Opcode;
use super::hub::{Event, Hub, Mailbox};
use super::opening::{HttpRequest, short_answer};

/// Events of a list, but where more are new. Source: a guess; five seconds at the default rate.
const SHOWN: usize = 500;
/// Paths that have lists; others are not found.
const PATHS_MAX: usize = 1000;
/// Connection numbers of lists, which are nobody's connection, are above all others.
const LISTS_FROM: u64 = 1 << 40;

/// A path's list.
struct Board {
    index: usize,
    mailbox: Arc<Mailbox>,
    faults: FaultMaker,
    shown: VecDeque<Vec<u8>>,
    /// Grows with each change of what is shown.
    version: u64,
    /// How many of the newest no sound answer has shown.
    unseen: usize,
}

/// All lists by path.
#[derive(Default)]
pub(crate) struct Boards(Mutex<HashMap<String, Board>>);

/// What is to be answered.
struct Answer {
    body: Vec<u8>,
    version: u64,
}

/// Answers requests until the connection ends.
pub(crate) async fn answer_polls(connection: &mut Connection, hub: &Hub) -> End {
    let seed = connection.shared.settings.seed;
    let mut rng = fastrand::Rng::with_seed(seed ^ connection.number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let break_at = connection.break_at(&mut rng);
    let mut break_now = connection.shared.break_now.subscribe();
    let (mut answers, mut silent) = (0_u64, false);
    loop {
        if let Err(end) = connection.write_out().await {
            return end;
        }
        let shared = Arc::clone(&connection.shared);
        let frame = tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return End::Stopped,
            frame = connection.reader.next() => frame,
            () = at(break_at) => return connection.way_of_breaking(),
            Ok(()) = break_now.changed() => return connection.way_of_breaking(),
        };
        let head = match connection.answer(frame) {
            Ok(Some(Heard::Text(head))) => head,
            Ok(_) => continue,
            Err(end) => return end,
        };
        let faults = shared.faults();
        if faults.silent_after.is_some_and(|after| answers >= after) {
            // Requests are taken, and nothing is said.
            add(&shared.counters.silenced, u64::from(!std::mem::replace(&mut silent, true)));
            continue;
        }
        let Some(request) = HttpRequest::parse(&head) else {
            connection.out.extend_from_slice(short_answer(400, None).as_bytes());
            _ = connection.write_out().await;
            return End::Left;
        };
        let (refusal, stays) = shared.admit();
        if !stays {
            return End::Left;
        }
        let missing = faults.refuse.iter().any(|path| path == request.target);
        add(&shared.counters.refused, u64::from(missing));
        if let Some((status, retry_after)) = refusal.or(missing.then_some((404, None))) {
            connection.out.extend_from_slice(short_answer(status, retry_after).as_bytes());
            _ = connection.write_out().await;
            return End::Left;
        }
        answers += 1;
        if let (Some(bytes), false) = (faults.giant_frame, shared.giant_sent.swap(true, Ordering::Relaxed)) {
            let length = if faults.giant_fragments { u64::MAX >> 1 } else { bytes };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
            connection.out.extend_from_slice(head.as_bytes());
            if let Err(end) = connection.send_giant(bytes).await {
                return end;
            }
            continue;
        }
        let known = request.header("if-none-match").map(str::to_owned);
        let target = request.target.to_owned();
        let Some(answer) = look(connection, hub, &target) else {
            connection.out.extend_from_slice(short_answer(404, None).as_bytes());
            _ = connection.write_out().await;
            return End::Left;
        };
        let tag = format!("\"{}\"", answer.version);
        if known.as_deref() == Some(&tag) {
            connection.out.extend_from_slice(format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n").as_bytes());
            continue;
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: {tag}\r\nContent-Length: {}\r\n\r\n",
            answer.body.len()
        );
        connection.push(Opcode::Text, &[head.as_bytes(), &answer.body].concat());
    }
}

/// Looks at the list of a path. None: there is no such.
fn look(connection: &mut Connection, hub: &Hub, target: &str) -> Option<Answer> {
    let shared = Arc::clone(&connection.shared);
    let faults = shared.faults();
    // Nothing below leaves a list half changed.
    let mut boards = shared.boards.0.lock().unwrap_or_else(PoisonError::into_inner);
    if !boards.contains_key(target) {
        if boards.len() == PATHS_MAX {
            return None;
        }
        let number = LISTS_FROM + boards.len() as u64;
        let mailbox = Mailbox::new(number);
        let (index, _) = hub.subscribe(target, &mailbox)?;
        let maker = FaultMaker::new(&faults, shared.settings.seed ^ number);
        let board = Board { index, mailbox, faults: maker, shown: VecDeque::new(), version: 0, unseen: 0 };
        boards.insert(target.to_owned(), board);
    }
    let board = boards.get_mut(target)?;
    if faults.mute.iter().any(|muted| muted == target) {
        return Some(board.answer());
    }
    let mut events: Vec<Arc<Event>> = Vec::new();
    board.mailbox.take(usize::MAX, &mut events);
    hub.stir();
    let (mut garbled, mut new) = (None, 0_usize);
    for event in events {
        debug_assert_eq!(event.topic_index, board.index, "a list has the events of its path");
        let mut sendings = Vec::new();
        board.faults.pass(event, &mut sendings);
        for sending in sendings {
            let mut text = sending.event.draft.text.clone().into_bytes();
            if let Some(fault) = sending.fault {
                board.faults.spoil(fault, &sending.event, 0, &mut text);
                shared.counters.note_fault(fault);
            }
            connection.enter(&sending.event.topic, &sending.event.draft.ids, &text, sending.fault);
            match sending.fault {
                Some(Fault::Dropped) => {}
                None | Some(Fault::Repeat | Fault::Disorder | Fault::Conflict | Fault::ChangedId) => {
                    board.shown.push_back(text);
                    new += 1;
                }
                // The whole answer is that; what else is new is in the next one.
                Some(Fault::Truncated | Fault::InvalidUtf8 | Fault::Junk | Fault::Nested) => garbled = Some(text),
            }
        }
    }
    board.version += u64::from(new > 0 || garbled.is_some());
    board.unseen += new;
    let surplus = board.shown.len().saturating_sub(board.unseen.max(SHOWN));
    board.shown.drain(..surplus);
    let answer = board.answer();
    let Some(body) = garbled else {
        board.unseen = 0;
        return Some(answer);
    };
    // Whoever has that has not seen what is new.
    board.version += 1;
    Some(Answer { body, ..answer })
}

impl Board {
    fn answer(&self) -> Answer {
        let mut body = br#"{"items":["#.to_vec();
        for (at, item) in self.shown.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            body.extend_from_slice(item);
        }
        body.extend_from_slice(b"]}");
        Answer { body, version: self.version }
    }
}
