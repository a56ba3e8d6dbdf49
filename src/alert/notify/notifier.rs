//! All channels: started, told, tried, changed, stopped.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::channel::Channel;
use super::email::Email;
use super::lane::{Effort, Lane};
use super::log::{ChannelFigures, Log};
use super::pace::Pace;
use super::pagerduty::PagerDuty;
use super::queue::Waiting;
use super::slack::Slack;
use super::sms::Sms;
use super::webhook::Webhook;
use super::{Delivery, Notice, Notify, Occasion};
use crate::alert::{Alert, AlertKind, AlertStatus};
use crate::breaker::CircuitKind;
use crate::circuits::Circuits;
use crate::clock::UnixNanos;
use crate::config::{CHANNELS, NotifySettings, Rate, Routing};
use crate::http_client::HttpError;

/// How long a test is tried at most.
const TEST_PATIENCE: Duration = Duration::from_secs(15);
/// How much longer than that its end is waited for.
const TEST_MARGIN: Duration = Duration::from_secs(5);
/// How long a stop waits for notices on their way. Source: a guess; a server that is well answers within one.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// How long tasks may take to see that nobody waits any more.
const ABANDON_GRACE: Duration = Duration::from_millis(500);

/// Why there are no channels.
#[derive(Debug, thiserror::Error)]
pub enum NotifierError {
    /// Trust cannot be built.
    #[error("`[notify]`: {0}")]
    Http(#[from] HttpError),
    /// Something of the settings.
    #[error("{0}")]
    Settings(String),
    /// Threads.
    #[error("the thread of notifications cannot be started: {0}")]
    Runtime(std::io::Error),
}

/// Why nothing was tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TestRefusal {
    /// No channel at all.
    #[error("no channel is configured: `[notify]` of the settings says how somebody is told of alerts")]
    NoChannel,
    /// Not this one.
    #[error("the channel `{0}` is off or not configured; `sluice config check` says what it lacks")]
    NotConfigured(String),
    /// None by that name.
    #[error("there is no channel `{0}`; channels are {list}", list = CHANNELS.join(", "))]
    Unknown(String),
    /// It is routed nowhere.
    #[error(
        "no channel is told of alerts of the severity {0}: `min_severity` or `severities` of the channels say more"
    )]
    NotRouted(&'static str),
}

/// All channels that are configured. Each has a task on a thread of their own, which is not that of ingest.
pub struct Notifier {
    circuits: Arc<Circuits>,
    log: Arc<Log>,
    /// Given when the daemon stops.
    closing: CancellationToken,
    /// Given when it does not wait any longer.
    abandoned: CancellationToken,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    settings: NotifySettings,
    lanes: Vec<Arc<Lane>>,
    tasks: JoinSet<()>,
    runtime: Option<Runtime>,
}

impl Notifier {
    /// With the channels that settings configure. No thread runs where there is none.
    ///
    /// # Errors
    /// When a channel cannot be set up.
    pub fn start(settings: &NotifySettings, circuits: Arc<Circuits>) -> Result<Self, NotifierError> {
        let notifier = Self {
            circuits,
            log: Arc::default(),
            closing: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            running: Mutex::default(),
        };
        for half in settings.half_configured() {
            tracing::warn!("{half}");
        }
        notifier.set_up(&mut notifier.lock(), settings)?;
        Ok(notifier)
    }

    /// Whether channels can be made of settings.
    ///
    /// # Errors
    /// When one cannot.
    pub fn check(settings: &NotifySettings) -> Result<(), NotifierError> {
        channels(settings).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `listener` told what became of each notice, from now on. It must not wait.
    pub fn listen(&self, listener: impl Fn(&Delivery) + Send + Sync + 'static) {
        self.log.listen(Arc::new(listener));
    }

    /// Goes on with other settings. What waits goes to the channel of the same name; what is on its way ends as it began.
    ///
    /// # Errors
    /// When a channel cannot be set up; all is as before then.
    pub fn apply(&self, settings: &NotifySettings) -> Result<(), NotifierError> {
        let mut running = self.lock();
        if running.settings == *settings || self.closing.is_cancelled() {
            return Ok(());
        }
        self.set_up(&mut running, settings)
    }

    fn set_up(&self, running: &mut Running, settings: &NotifySettings) -> Result<(), NotifierError> {
        let channels = channels(settings)?;
        if running.runtime.is_none() && !channels.is_empty() {
            let mut runtime = runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).thread_name("notify").enable_all().build();
            running.runtime = Some(runtime.map_err(NotifierError::Runtime)?);
        }
        let effort =
            Effort { attempts: settings.attempts, give_up_after: settings.give_up_after, timeout: settings.timeout };
        let before = std::mem::take(&mut running.lanes);
        while running.tasks.try_join_next().is_some() {}
        for (name, channel, routing, rate) in channels {
            let lane = Arc::new(Lane::new(
                name,
                routing,
                effort,
                usize::try_from(settings.queue).unwrap_or(usize::MAX),
                Arc::clone(&self.log),
                self.closing.child_token(),
                self.abandoned.clone(),
            ));
            if let Some(before) = before.iter().find(|before| before.name == name) {
                before.take_all().into_iter().for_each(|waiting| lane.push(waiting));
            }
            let breaker = self.circuits.register(CircuitKind::Channel, name);
            if let Some(runtime) = &running.runtime {
                running.tasks.spawn_on(Arc::clone(&lane).run(channel, breaker, Pace::new(rate)), runtime.handle());
            }
            running.lanes.push(lane);
        }
        for gone in before {
            gone.closing.cancel();
            if !running.lanes.iter().any(|lane| lane.name == gone.name) {
                self.circuits.remove(CircuitKind::Channel, gone.name);
            }
        }
        running.settings = settings.clone();
        Ok(())
    }

    /// What became of notices, the newest first, at most so many. So many are remembered; all are in the journal.
    pub fn deliveries(&self, limit: usize) -> Vec<Delivery> {
        self.log.last(limit)
    }

    /// What each channel did since the start.
    pub fn figures(&self) -> Vec<ChannelFigures> {
        let mut figures = self.log.figures();
        let lanes = self.lock().lanes.clone();
        for row in &mut figures {
            let lane = lanes.iter().find(|lane| lane.name == row.channel);
            row.waiting = lane.map_or(0, |lane| lane.waiting() as u64);
        }
        figures
    }

    /// Tells one channel, or all, that this is a test, once, and waits for what becomes of it. Blocking.
    ///
    /// # Errors
    /// When there is no such channel.
    pub fn test_channel(&self, channel: Option<&str>) -> Result<Vec<Delivery>, TestRefusal> {
        let lanes = self.lock().lanes.clone();
        let lanes: Vec<Arc<Lane>> =
            lanes.into_iter().filter(|lane| channel.is_none_or(|name| lane.name == name)).collect();
        match channel {
            Some(name) if !CHANNELS.contains(&name) => return Err(TestRefusal::Unknown(name.to_owned())),
            Some(name) if lanes.is_empty() => return Err(TestRefusal::NotConfigured(name.to_owned())),
            None if lanes.is_empty() => return Err(TestRefusal::NoChannel),
            _ => {}
        }
        let kind = AlertKind::NotificationFailures;
        Ok(test(&lanes, &test_notice(kind, "an operator tries this channel; nothing is wrong")))
    }

    /// Tells every channel that alerts of a type are routed to, marked as a test, and waits for what becomes of it. Blocking.
    ///
    /// # Errors
    /// When it is routed nowhere.
    pub fn test_kind(&self, kind: AlertKind) -> Result<Vec<Delivery>, TestRefusal> {
        let lanes = self.lock().lanes.clone();
        if lanes.is_empty() {
            return Err(TestRefusal::NoChannel);
        }
        let notice = test_notice(kind, "an operator tries how alerts of this type are told; nothing is wrong");
        let severity = notice.alert.severity;
        let routed: Vec<Arc<Lane>> =
            lanes.into_iter().filter(|lane| lane.routing.takes(severity, Occasion::Test)).collect();
        if routed.is_empty() {
            return Err(TestRefusal::NotRouted(severity.as_str()));
        }
        Ok(test(&routed, &notice))
    }

    /// Ends all channels: what is on its way has a few seconds, then it is given up and noted so. Blocking.
    pub fn stop(&self) {
        self.closing.cancel();
        let (mut tasks, runtime) = {
            let mut running = self.lock();
            (std::mem::take(&mut running.tasks), running.runtime.take())
        };
        let Some(runtime) = runtime else { return };
        runtime.block_on(async {
            let mut all = async || while tasks.join_next().await.is_some() {};
            if tokio::time::timeout(STOP_GRACE, all()).await.is_err() {
                self.abandoned.cancel();
                tokio::time::timeout(ABANDON_GRACE, all()).await.ok();
            }
        });
        // A name that is looked up may take its time.
        runtime.shutdown_background();
    }
}

impl Notify for Notifier {
    fn offer(&self, notice: Notice) {
        let lanes = self.lock().lanes.clone();
        for lane in lanes.iter().filter(|lane| lane.routing.takes(notice.alert.severity, notice.occasion)) {
            lane.push(waiting(notice.clone(), lane.effort.give_up_after));
        }
    }
}

impl Drop for Notifier {
    /// Of one that was not stopped: dropping a runtime waits, which is not allowed where others are driven.
    fn drop(&mut self) {
        if let Some(runtime) = self.lock().runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Made = (&'static str, Channel, Routing, Rate);

fn channels(settings: &NotifySettings) -> Result<Vec<Made>, NotifierError> {
    let configured = settings.configured();
    let on = |name: &str| configured.contains(&name);
    let NotifySettings { email, webhook, slack, pagerduty, sms, .. } = settings;
    let mut made: Vec<Made> = Vec::new();
    if let (true, Some(url), Some(from)) = (on("email"), &email.url, &email.from) {
        let channel = Channel::Email(Box::new(Email::new(settings, url, from)?));
        made.push(("email", channel, email.routing(), email.rate));
    }
    if let (true, Some(url)) = (on("webhook"), &webhook.url) {
        let channel = Channel::Webhook(Box::new(Webhook::new(settings, url)?));
        made.push(("webhook", channel, webhook.routing(), webhook.rate));
    }
    if on("slack") {
        let channel = Channel::Slack(Box::new(Slack::new(settings)?));
        made.push(("slack", channel, slack.routing(), slack.rate));
    }
    if on("pagerduty") {
        let channel = Channel::PagerDuty(Box::new(PagerDuty::new(settings)?));
        made.push(("pagerduty", channel, pagerduty.routing(), pagerduty.rate));
    }
    if let (true, Some(url)) = (on("sms"), &sms.url) {
        let channel = Channel::Sms(Box::new(Sms::new(settings, url)?));
        made.push(("sms", channel, sms.routing(), sms.rate));
    }
    Ok(made)
}

fn waiting(notice: Notice, patience: Duration) -> Waiting {
    let now = Instant::now();
    Waiting {
        notice,
        id: format!("msg_{}", Uuid::now_v7().simple()),
        told: UnixNanos::now(),
        offered: now,
        give_up: now + patience,
        answer: None,
    }
}

fn test(lanes: &[Arc<Lane>], notice: &Notice) -> Vec<Delivery> {
    let (answer, answers) = sync_channel(lanes.len());
    for lane in lanes {
        let one = waiting(notice.clone(), TEST_PATIENCE);
        lane.push(Waiting { answer: Some(answer.clone()), ..one });
    }
    drop(answer);
    let deadline = Instant::now() + TEST_PATIENCE + TEST_MARGIN;
    let mut deliveries = Vec::new();
    while deliveries.len() < lanes.len() {
        let Ok(delivery) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) else { break };
        deliveries.push(delivery);
    }
    for lane in
        lanes.iter().filter(|lane| !deliveries.iter().any(|known| known.channel == lane.name)).collect::<Vec<_>>()
    {
        let error = Some("it waits behind other notices; `sluice alerts deliveries` will tell".to_owned());
        deliveries.push(Delivery {
            alert: notice.alert.id.clone(),
            channel: lane.name.to_owned(),
            occasion: Occasion::Test,
            at: UnixNanos::now().to_string(),
            attempts: 0,
            outcome: super::Outcome::Failed,
            error,
        });
    }
    deliveries
}

fn test_notice(kind: AlertKind, message: &str) -> Notice {
    let alert = Alert {
        id: Uuid::now_v7().to_string(),
        kind,
        severity: kind.severity(),
        status: AlertStatus::Open,
        subject: "test".into(),
        message: message.into(),
        value: 0.0,
        threshold: 0.0,
        created_at: UnixNanos::now().to_string(),
        acknowledged_at: None,
        acknowledged_by: None,
        notes: None,
        resolved_at: None,
        resolved_by: None,
        resolution: None,
        notifications: Vec::new(),
    };
    Notice { alert, occasion: Occasion::Test }
}
