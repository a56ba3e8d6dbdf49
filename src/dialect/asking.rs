//! Asking for topics, and asking again in smaller requests where an answer did not say which topic it was about.

use super::requests::Requests;
use super::topic_book::{Phase, TopicBook};
use super::topic_form::Purpose;
use super::{OutFrame, Outbox, TopicId};

/// Each further try puts an eighth as many topics into a request, so that one bad topic among many is found after few
/// requests, and a request of one topic says which it was.
const SHRINK: usize = 8;

/// Asks for topics, those that stayed unanswered before in smaller requests.
pub(crate) fn subscribe(
    book: &mut TopicBook,
    requests: &mut Requests,
    topics: &[TopicId],
    topics_per_request: u32,
    out: &mut Outbox,
) {
    let mut by_tries: Vec<Vec<TopicId>> = Vec::new();
    ask_whole(book, requests, topics, out);
    for topic in topics.iter().filter(|topic| !book.replaces(**topic)) {
        let tries = match book.phase(*topic) {
            Phase::Asked(tries) => usize::from(tries).min(8),
            _ => 0,
        };
        if by_tries.len() <= tries {
            by_tries.resize(tries + 1, Vec::new());
        }
        by_tries[tries].push(*topic);
    }
    let mut at_most = topics_per_request as usize;
    for topics in by_tries {
        ask(book, requests, &topics, at_most, out);
        at_most = (at_most / SHRINK).max(1);
    }
}

/// Asks for all topics of a form that are wanted, old and new, where a request takes the place of the one before.
fn ask_whole(book: &mut TopicBook, requests: &mut Requests, topics: &[TopicId], out: &mut Outbox) {
    let mut new = topics.iter().copied().filter(|topic| book.replaces(*topic)).collect::<Vec<_>>();
    for topic in &new {
        note_try(book, *topic);
    }
    while let Some(first) = new.first().copied() {
        let all = book.asked_like(first);
        new.retain(|topic| !all.contains(topic));
        send(book, requests, Purpose::Subscribe, &all, None, out);
    }
}

/// Ends topics, but for those that are ended by an id.
pub(crate) fn unsubscribe(
    book: &TopicBook,
    requests: &mut Requests,
    topics: &[TopicId],
    topics_per_request: u32,
    out: &mut Outbox,
) {
    let by_name: Vec<TopicId> = topics.iter().copied().filter(|topic| !book.ends_by_id(*topic)).collect();
    let (mut whole, one_by_one): (Vec<_>, Vec<_>) = by_name.into_iter().partition(|topic| book.replaces(*topic));
    while let Some(first) = whole.first().copied() {
        let (gone, others): (Vec<_>, Vec<_>) = whole.into_iter().partition(|topic| book.alike(first, *topic));
        whole = others;
        let left = book.asked_like(first);
        let (purpose, group) = if left.is_empty() { (Purpose::Unsubscribe, gone) } else { (Purpose::Subscribe, left) };
        send(book, requests, purpose, &group, None, out);
    }
    for group in book.groups(Purpose::Unsubscribe, &one_by_one, topics_per_request as usize) {
        send(book, requests, Purpose::Unsubscribe, &group, None, out);
    }
}

/// Asks once more for the topics of a refused request that nothing else was said about, in smaller requests.
pub(crate) fn narrow(book: &mut TopicBook, requests: &mut Requests, topics: &[TopicId], out: &mut Outbox) {
    let open: Vec<TopicId> =
        topics.iter().copied().filter(|topic| matches!(book.phase(*topic), Phase::Asked(_))).collect();
    ask(book, requests, &open, (topics.len() / SHRINK).max(1), out);
}

fn ask(book: &mut TopicBook, requests: &mut Requests, topics: &[TopicId], at_most: usize, out: &mut Outbox) {
    for group in book.groups(Purpose::Subscribe, topics, at_most) {
        for topic in &group {
            note_try(book, *topic);
        }
        send(book, requests, Purpose::Subscribe, &group, None, out);
    }
}

fn note_try(book: &mut TopicBook, topic: TopicId) {
    let tries = match book.phase(topic) {
        Phase::Asked(tries) => tries.saturating_add(1),
        _ => 1,
    };
    book.set_phase(topic, Phase::Asked(tries));
}

/// Puts one request into the outbox and waits for its answer.
pub(crate) fn send(
    book: &TopicBook,
    requests: &mut Requests,
    purpose: Purpose,
    group: &[TopicId],
    subscription: Option<&str>,
    out: &mut Outbox,
) {
    let id = requests.open(purpose, group.to_vec());
    match book.request(purpose, id, group, subscription) {
        Some(text) => out.push(OutFrame::Text(text)),
        // Nothing is said, so nothing will be answered.
        None => drop(requests.take(&id.to_string())),
    }
}
