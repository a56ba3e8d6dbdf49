//! The task that asks for a look-up: one key after the other from its queue, over HTTP several at once, and no more a second than it
//! may.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, FieldPicker};
use super::look_up::{LookUp, News};
use super::subject::values_of;
use super::table::{Stamp, Table, TableForm};
use crate::breaker::Permit;
use crate::config::HoleTemplate;
use crate::http_client::{HttpClient, HttpError, HttpSettings};

/// The longest answer that is read.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Time between two looks whether a file changed.
const FILE_INTERVAL: Duration = Duration::from_millis(500);

/// Statuses that mean that there is nothing of this key: not found, gone, and a key that the service does not take for one.
const NOTHING: [u16; 4] = [400, 404, 410, 422];

/// Where answers come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A service.
    Http(Arc<HttpSource>),
    /// A file.
    File(TableForm),
}

/// A service that is asked over HTTP.
#[derive(Debug)]
pub(super) struct HttpSource {
    client: HttpClient,
    url: HoleTemplate,
    picker: FieldPicker,
}

/// Told of what a look-up found.
pub(super) type Tell = Arc<dyn Fn(&LookUp, &str, News) + Send + Sync>;

impl Source {
    /// Of a look-up's settings.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub(super) fn new(settings: &crate::config::EnrichSettings) -> Result<Option<Self>, HttpError> {
        if let Some(form) = TableForm::new(settings) {
            return Ok(Some(Self::File(form)));
        }
        let (Some(url), Some(picker)) = (settings.url.clone(), FieldPicker::new(&settings.fields)) else {
            return Ok(None);
        };
        let client = HttpClient::new(&HttpSettings {
            ca_file: settings.ca_file.as_deref(),
            timeout: settings.timeout,
            body_bytes_max: BODY_BYTES_MAX,
        })?;
        Ok(Some(Self::Http(Arc::new(HttpSource { client, url, picker }))))
    }
}

/// Asks until `stop` is given. What is under way then is given up: it was promised to nobody.
pub(super) async fn run(
    look_up: Arc<LookUp>,
    source: Source,
    mut asked: mpsc::Receiver<Box<str>>,
    tell: Tell,
    stop: CancellationToken,
) {
    match source {
        Source::Http(source) => {
            stop.run_until_cancelled(ask_service(&look_up, &source, &mut asked, &tell)).await;
        }
        Source::File(form) => {
            stop.run_until_cancelled(ask_file(&look_up, Arc::new(form), &mut asked, &tell)).await;
        }
    }
}

async fn ask_service(
    look_up: &Arc<LookUp>,
    source: &Arc<HttpSource>,
    asked: &mut mpsc::Receiver<Box<str>>,
    tell: &Tell,
) {
    let at_once = look_up.settings.concurrency as usize;
    let interval = Duration::from_secs(1) / look_up.settings.rate.max(1);
    // A short burst is within the rate: what was not used of the last quarter of a second.
    let credit = Duration::from_millis(250);
    let mut next = Instant::now();
    let mut under_way = JoinSet::new();
    while let Some(key) = asked.recv().await {
        while under_way.len() >= at_once {
            under_way.join_next().await;
        }
        if look_up.is_settled(&key) {
            tell(look_up, &key, News::None);
            continue;
        }
        let permit = match look_up.breaker.permit() {
            Ok(permit) => permit,
            Err(_) => {
                look_up.skip(&key);
                tell(look_up, &key, News::None);
                continue;
            }
        };
        let now = Instant::now();
        next = next.max(now.checked_sub(credit).unwrap_or(now)) + interval;
        tokio::time::sleep_until(next).await;
        let (look_up, source, tell) = (Arc::clone(look_up), Arc::clone(source), Arc::clone(tell));
        under_way.spawn(async move {
            let answer = source.ask(&key, permit).await;
            let news = look_up.settle(&key, answer);
            tell(&look_up, &key, news);
        });
        // Those that are done are let go of, so that the set does not grow.
        while under_way.try_join_next().is_some() {}
    }
}

impl HttpSource {
    async fn ask(&self, key: &str, permit: Permit) -> Result<Answer, String> {
        let answer = self.answer(key).await;
        match &answer {
            Ok(_) => permit.succeeded(),
            Err(reason) => permit.failed(reason),
        }
        answer
    }

    async fn answer(&self, key: &str) -> Result<Answer, String> {
        let url = self.url.fill(&values_of(key), escape);
        // The address may hold a secret: what is wrong is said without it.
        let request = self.client.client().get(url).header("accept", "application/json").build();
        let request =
            request.map_err(|error| format!("no request can be made of this key: {}", error.without_url()))?;
        let answer = self.client.send(request).await.map_err(|error| error.to_string())?;
        if answer.is_success() {
            return self.picker.pick(&answer.body);
        }
        if NOTHING.contains(&answer.status) {
            return Ok(Answer::Nothing);
        }
        Err(format!("it answered with status {}", answer.status))
    }
}

/// A value as a part of an address: whatever it is, it ends nothing.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'~')
            || (byte == b'.' && value.trim_matches('.') != "")
        {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

async fn ask_file(look_up: &Arc<LookUp>, form: Arc<TableForm>, asked: &mut mpsc::Receiver<Box<str>>, tell: &Tell) {
    let mut table: Option<Table> = None;
    let mut tried: Option<Option<Stamp>> = None;
    let mut looks = tokio::time::interval(FILE_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let key = tokio::select! {
            biased;
            _ = looks.tick() => None,
            key = asked.recv() => match key {
                Some(key) => Some(key),
                None => return,
            },
        };
        if let Some(key) = key {
            let answer = match &table {
                Some(table) => Ok(table.look_up(&key)),
                None => Err(format!("{} could not be read yet", form.path.display())),
            };
            let news = look_up.settle(&key, answer);
            tell(look_up, &key, news);
            continue;
        }
        let again = Arc::clone(&form);
        let known = table.as_ref().map(|table| table.stamp);
        let before = tried;
        let read = tokio::task::spawn_blocking(move || {
            let stamp = Stamp::now(&again.path).ok();
            // As it was read last, or as it could not be.
            let same = stamp.is_some() && stamp == known || before == Some(stamp);
            (stamp, (!same).then(|| again.read()))
        });
        let Ok((stamp, read)) = read.await else { continue };
        tried = Some(stamp);
        let Some(read) = read else { continue };
        // A file is read whether the breaker likes it or not: the breaker shows that it could not be.
        let permit = look_up.breaker.permit().ok();
        match read {
            Ok(read) => {
                permit.map(Permit::succeeded);
                tracing::info!(monitor = look_up.monitor, look_up = look_up.name, file = %form.path.display(), "read");
                for (key, news) in look_up.doubt(|key| match read.look_up(key) {
                    Answer::Fields(fields) => Some(fields),
                    Answer::Nothing => None,
                }) {
                    tell(look_up, &key, news);
                }
                table = Some(read);
            }
            Err(reason) => {
                tracing::warn!(
                    monitor = look_up.monitor,
                    look_up = look_up.name,
                    "what was read before stays: {reason}"
                );
                if let Some(permit) = permit {
                    permit.failed(&reason);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_place_in_an_address() {
        assert_eq!(escape("a/../b?c=d#e&f é"), "a%2F..%2Fb%3Fc%3Dd%23e%26f%20%C3%A9");
        assert_eq!(escape(".."), "%2E%2E");
        assert_eq!(escape("So1.1-_~"), "So1.1-_~");
    }
}
