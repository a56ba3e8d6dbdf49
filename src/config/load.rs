//! Layers put together into typed settings.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use config::{Config, Source, Value, ValueKind};

use super::auth_settings::SecretSource;
use super::hidden::Hidden;
use super::key::KeyPath;
use super::layer::{DEFAULT_ORIGIN, Layer, find, origin_of, remove};
use super::notify_settings::NotifySettings;
use super::problem::{ConfigError, Problem, shown};
use super::read::{Reason, read};
use super::report_settings::ReportSettings;
use super::run_time::RunTimeLayer;
use super::server_settings::ServerSettings;
use super::settings::Settings;
use super::sink_settings::{SinkKind, SinkSettings};
use super::upstream_settings::UpstreamSettings;
use super::{check, command_line, environment, environment_file, events_sink, file};

/// Where the layers come from. Nothing else of the process is looked at, but for `${NAME}` inside a `.env` file.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// `--config`: this file and no other; it must exist.
    pub file: Option<PathBuf>,
    /// `--set KEY=VALUE`, in order.
    pub set: Vec<String>,
    /// Names and values of the environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where relative paths of the command line begin. Absolute.
    pub current_dir: PathBuf,
    /// What an operator set while a daemon ran: the last layer.
    pub run_time: RunTimeLayer,
}

impl LoadOptions {
    /// With the environment and the current folder of this process.
    ///
    /// # Errors
    /// When the current folder is gone or closed to us.
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> io::Result<Self> {
        Ok(Self {
            file,
            set,
            environment: environment_file::without_its_names(std::env::vars_os().collect()),
            current_dir: std::env::current_dir()?,
            run_time: RunTimeLayer::default(),
        })
    }
}

/// Settings that passed all checks, with their paths absolute.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Where each was set.
    pub origins: Origins,
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
    /// The sink `events` where nobody has switched it on, or declared it: it is there to be shown, and does not run.
    pub off_sinks: BTreeMap<String, SinkSettings>,
    /// Keys that an operator took away at run time.
    pub removed: Vec<KeyPath>,
}

/// Where each setting was set.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<KeyPath, String>);

impl Origins {
    fn of(root: &Value) -> Self {
        fn walk(value: &Value, path: &KeyPath, origins: &mut BTreeMap<KeyPath, String>) {
            if let Some(origin) = value.origin() {
                origins.insert(path.clone(), origin.to_owned());
            }
            match &value.kind {
                ValueKind::Table(table) => {
                    for (key, inner) in table {
                        walk(inner, &path.key(key), origins);
                    }
                }
                ValueKind::Array(list) => {
                    for (index, item) in list.iter().enumerate() {
                        walk(item, &path.index(index), origins);
                    }
                }
                _ => {}
            }
        }
        let mut origins = BTreeMap::new();
        walk(root, &KeyPath::default(), &mut origins);
        Self(origins)
    }

    /// `config/sluice.toml:12`, `environment variable BATCH_TIMEOUT`, `--set`; `built-in default` for what nobody set.
    pub fn of_setting(&self, path: &KeyPath) -> &str {
        self.0.get(path).map_or(DEFAULT_ORIGIN, String::as_str)
    }

    /// Whether any layer, the built-in defaults included, has a value at exactly this path.
    pub fn is_set(&self, path: &KeyPath) -> bool {
        self.0.contains_key(path)
    }

    /// Where the value at a path was set or, if it is not set by itself, the nearest list or table around it.
    pub fn nearest(&self, path: &KeyPath) -> &str {
        let mut path = path.clone();
        loop {
            if let Some(origin) = self.0.get(&path) {
                return origin;
            }
            match path.parent() {
                Some(above) => path = above,
                None => return DEFAULT_ORIGIN,
            }
        }
    }
}

/// Loads settings: built-in defaults, then the file, `.env` beside it, the environment, the file that `SLUICE_ENVIRONMENT_FILE` names, the command line, and what an
/// operator set at run time; later wins.
///
/// # Errors
/// When a file cannot be read or any layer says something that cannot be used; all that is wrong is listed together
/// where one mistake does not hide the next.
pub fn load(options: &LoadOptions) -> Result<Loaded, ConfigError> {
    Base::read(options)?.with(&options.run_time)
}

/// Every layer below what an operator set at run time, put together: kept by a daemon, so that setting one key does not take
/// over whatever else has changed in the file meanwhile.
#[derive(Debug, Clone)]
pub struct Base {
    tree: Value,
    /// What is wrong with the layers by themselves.
    problems: Vec<Problem>,
    events_declared: bool,
    file: Option<PathBuf>,
    /// Where relative paths of the file begin, as messages show it.
    folder: PathBuf,
    /// Absolute.
    environment_file: Option<PathBuf>,
    current_dir: PathBuf,
}

impl Base {
    /// Reads file, `.env`, environment and command line.
    ///
    /// # Errors
    /// When a file cannot be read, or is no TOML at all. What else is wrong is told by [`Base::with`].
    pub fn read(options: &LoadOptions) -> Result<Self, ConfigError> {
        let chosen = file::choose(options.file.as_deref(), &options.current_dir)?;
        let Some(path) = &chosen else { return Self::put_together(options, None, None) };
        let text = file::read(&options.current_dir.join(path), path)?;
        let text = text.ok_or_else(|| ConfigError::Missing { path: path.clone() })?;
        Self::put_together(options, chosen.clone(), Some((path, &text)))
    }

    /// As it would be with another text in the place of the settings file, called `shown` in messages. Relative paths begin, and
    /// `.env` is looked for, where the file is that it would replace.
    ///
    /// # Errors
    /// As [`Base::read`].
    pub fn proposed(options: &LoadOptions, shown: &Path, text: &str) -> Result<Self, ConfigError> {
        let chosen = file::choose(options.file.as_deref(), &options.current_dir)?;
        Self::put_together(options, chosen, Some((shown, text)))
    }

    fn put_together(
        options: &LoadOptions,
        chosen: Option<PathBuf>,
        file: Option<(&Path, &str)>,
    ) -> Result<Self, ConfigError> {
        // Of a file in the current folder, `parent` is the empty path, which is the current folder too.
        let folder = chosen.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        let mut problems = Vec::new();
        let defaults = Layer::defaults();
        let mut layers = vec![defaults.clone()];
        layers.extend(environment::service_layers(&options.environment));
        let mut events_declared = false;
        if let Some((shown, text)) = file {
            // What else is wrong cannot be told without knowing what the file would have said.
            let layer =
                file::parse(text, shown, &mut problems).map_err(|problem| ConfigError::Invalid(vec![problem]))?;
            events_declared = events_sink::is_named_by(&layer);
            layers.push(layer);
        }
        let dot_env = folder.join(".env");
        if let Some(text) = file::read(&options.current_dir.join(&dot_env), &dot_env)? {
            layers.push(environment::dot_env_layer(&text, &dot_env, &defaults, &mut problems));
        }
        layers.push(environment::layer(&options.environment, &defaults, &mut problems));
        let environment_file = environment_file::named_by(&options.environment);
        let environment_file = environment_file.map(|path| options.current_dir.join(path));
        if let Some(path) = &environment_file
            && let Some(text) = file::read(path, path)?
        {
            layers.push(environment::dot_env_layer(&text, path, &defaults, &mut problems));
        }
        let command_line = command_line::layer(&options.set, &defaults, &mut problems);
        events_declared |= events_sink::is_named_by(&command_line);
        layers.push(command_line);

        let mut merged = Config::default();
        for layer in &layers {
            layer.collect_to(&mut merged.cache).map_err(|error| {
                ConfigError::Invalid(vec![Problem::at("settings", format!("layers cannot be put together: {error}"))])
            })?;
        }
        let current_dir = options.current_dir.clone();
        Ok(Self { tree: merged.cache, problems, events_declared, file: chosen, folder, environment_file, current_dir })
    }

    /// The settings file, the `.env` beside it and the file that `SLUICE_ENVIRONMENT_FILE` names, whether they are there or not.
    pub fn watched_files(&self) -> Vec<PathBuf> {
        let dot_env = self.current_dir.join(&self.folder).join(".env");
        self.file
            .iter()
            .map(|file| self.current_dir.join(file))
            .chain([dot_env])
            .chain(self.environment_file.clone())
            .collect()
    }

    /// The settings file that was read, if one was.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What these layers have of secrets, or name as the place of one: to be kept out of whatever is shown.
    pub fn hidden(&self) -> Hidden {
        let mut hidden = Hidden::default();
        let folder = self.current_dir.join(&self.folder);
        hidden.gather(&self.tree, &KeyPath::default(), &|origin| {
            if origin == Some(command_line::ORIGIN) { &self.current_dir } else { &folder }
        });
        hidden
    }

    /// Where these layers set a key; none where they do not.
    pub fn origin_of(&self, key: &KeyPath) -> Option<&str> {
        find(&self.tree, key).and_then(Value::origin)
    }

    /// Typed settings, with what an operator set at run time over these layers.
    ///
    /// # Errors
    /// When any layer says something that cannot be used.
    pub fn with(&self, run_time: &RunTimeLayer) -> Result<Loaded, ConfigError> {
        let mut problems = self.problems.clone();
        let mut tree = self.tree.clone();
        run_time.apply_to(&mut tree);
        events_sink::complete(&mut tree, self.events_declared);
        let origins = Origins::of(&tree);
        let settings = read_all(&mut tree, &mut problems);
        let Some(mut settings) = settings.filter(|_| problems.is_empty()) else {
            return Err(invalid(problems));
        };
        let folder = self.current_dir.join(&self.folder);
        let data_dir = base_of(&origins, &KeyPath::from(["daemon", "data_dir"]), &folder, &self.current_dir)
            .join(&settings.daemon.data_dir);
        if let Some(events) = settings.sinks.get_mut(events_sink::NAME)
            && events.kind == SinkKind::Sqlite
        {
            events.folder.get_or_insert_with(|| data_dir.join(events_sink::NAME));
        }
        let declared = self.events_declared;
        let is_off = |name: &str, sink: &SinkSettings| name == events_sink::NAME && !declared && !sink.enabled;
        let (mut off_sinks, sinks): (BTreeMap<_, _>, _) =
            std::mem::take(&mut settings.sinks).into_iter().partition(|(name, sink)| is_off(name, sink));
        settings.sinks = sinks;
        problems = check::check(&settings, &origins);
        if !problems.is_empty() {
            return Err(invalid(problems));
        }
        make_paths_absolute(paths(&mut settings), &origins, &folder, &self.current_dir);
        make_paths_absolute(sink_paths(&mut off_sinks), &origins, &folder, &self.current_dir);
        Ok(Loaded { settings, origins, file: self.file.clone(), off_sinks, removed: run_time.removed() })
    }
}

/// In the order of the file's lines.
fn invalid(mut problems: Vec<Problem>) -> ConfigError {
    problems.sort_by_key(Problem::line);
    ConfigError::Invalid(problems)
}

/// Reads typed settings out of the tree. What is refused is reported and taken out, and the rest read again, until it can
/// be read: so one run names everything that is wrong.
fn read_all(root: &mut Value, problems: &mut Vec<Problem>) -> Option<Settings> {
    /// More than this helps nobody.
    const PROBLEMS_MAX: usize = 50;
    let mut removed = BTreeSet::new();
    while problems.len() < PROBLEMS_MAX {
        let refusal = match read::<Settings>(root) {
            Ok(settings) => return Some(settings),
            Err(refusal) => refusal,
        };
        let path = refusal.path();
        let known = match &refusal.reason {
            Reason::Lacks { key } => removed.contains(&path.key(key)),
            Reason::Unknown { .. } | Reason::Value { .. } => problems.iter().any(|problem| problem.key == path),
        };
        if !known {
            let value = match &refusal.reason {
                // Of a key nobody knows the value may be anything, a secret too.
                Reason::Unknown { .. } | Reason::Lacks { .. } => None,
                Reason::Value { .. } => find(root, &path).and_then(|value| shown(&path, &value.kind)),
            };
            let message = refusal.message();
            // Messages about durations and sizes have the value already.
            let value = value.filter(|value| !message.contains(&format!("`{}`", value.trim_matches('"'))));
            problems.push(Problem { origin: origin_of(root, &path), key: path.clone(), value, message });
        }
        let mut target = path;
        while !remove(root, &target) {
            target = target.parent()?;
        }
        removed.insert(target);
    }
    None
}

/// Paths are relative to the settings file, so that every command finds the same folders from wherever it is called;
/// those typed on a command line are relative to where it was typed.
fn make_paths_absolute<'p>(
    paths: impl Iterator<Item = (KeyPath, &'p mut PathBuf)>,
    origins: &Origins,
    folder: &Path,
    current_dir: &Path,
) {
    for (key, path) in paths {
        *path = without_dots(&base_of(origins, &key, folder, current_dir).join(&*path));
    }
}

/// Where a relative path of a setting begins.
fn base_of<'p>(origins: &Origins, key: &KeyPath, folder: &'p Path, current_dir: &'p Path) -> &'p Path {
    if origins.of_setting(key) == command_line::ORIGIN { current_dir } else { folder }
}

/// Every setting that is a path.
pub(super) fn paths(settings: &mut Settings) -> impl Iterator<Item = (KeyPath, &mut PathBuf)> {
    let data_dir = (KeyPath::from(["daemon", "data_dir"]), &mut settings.daemon.data_dir);
    let checkpoints = (KeyPath::from(["checkpoint", "dir"]), &mut settings.checkpoint.dir);
    let server = server_paths(&mut settings.server);
    let upstreams = settings.upstreams.iter_mut().flat_map(|(name, upstream)| upstream_paths(name, upstream));
    let look_ups = settings.monitors.iter_mut().flat_map(|(monitor, of)| {
        of.enrich.iter_mut().flat_map(move |(name, look_up)| {
            let key = move |key: &str| KeyPath::from(["monitors", monitor, "enrich", name, key]);
            let file = look_up.file.as_mut().map(|path| (key("file"), path));
            file.into_iter().chain(look_up.ca_file.as_mut().map(|path| (key("ca_file"), path)))
        })
    });
    [data_dir, checkpoints]
        .into_iter()
        .chain(server)
        .chain(notify_paths(&mut settings.notify))
        .chain(upstreams)
        .chain(look_ups)
        .chain(sink_paths(&mut settings.sinks))
        .chain(report_paths(&mut settings.reports))
}

fn server_paths(server: &mut ServerSettings) -> impl Iterator<Item = (KeyPath, &mut PathBuf)> {
    let files = [
        (KeyPath::from(["server", "token_file"]), &mut server.token_file),
        (KeyPath::from(["server", "tokens_file"]), &mut server.tokens_file),
        (KeyPath::from(["server", "tls", "certificate"]), &mut server.tls.certificate),
        (KeyPath::from(["server", "tls", "key"]), &mut server.tls.key),
    ];
    let tokens = server.tokens.iter_mut();
    let tokens = tokens.map(|(name, token)| (KeyPath::from(["server", "tokens", name, "file"]), &mut token.file));
    files.into_iter().chain(tokens).filter_map(|(key, path)| Some((key, path.as_mut()?)))
}

fn upstream_paths<'s>(
    name: &'s str,
    upstream: &'s mut UpstreamSettings,
) -> impl Iterator<Item = (KeyPath, &'s mut PathBuf)> {
    let files = [
        ("ca_file", &mut upstream.ca_file),
        ("client_cert", &mut upstream.client_cert),
        ("client_key", &mut upstream.client_key),
    ];
    let files = files.into_iter().filter_map(|(key, path)| Some((key, path.as_mut()?)));
    let files = files.map(move |(key, path)| (KeyPath::from(["upstreams", name, key]), path));
    let secrets = upstream.auth.secrets.iter_mut().filter_map(move |(secret, source)| match source {
        SecretSource::File(path) => Some((KeyPath::from(["upstreams", name, "auth", "secrets", secret, "file"]), path)),
        SecretSource::Env(_) | SecretSource::Credential(_) => None,
    });
    files.chain(secrets)
}

fn notify_paths(notify: &mut NotifySettings) -> impl Iterator<Item = (KeyPath, &mut PathBuf)> {
    let NotifySettings { email, webhook, slack, pagerduty, sms, .. } = notify;
    let paths = [
        ("email", "password_file", &mut email.password_file),
        ("email", "ca_file", &mut email.ca_file),
        ("webhook", "secret_file", &mut webhook.secret_file),
        ("webhook", "ca_file", &mut webhook.ca_file),
        ("slack", "token_file", &mut slack.token_file),
        ("pagerduty", "token_file", &mut pagerduty.token_file),
        ("sms", "token_file", &mut sms.token_file),
        ("sms", "ca_file", &mut sms.ca_file),
    ];
    paths.into_iter().filter_map(|(channel, key, path)| Some((KeyPath::from(["notify", channel, key]), path.as_mut()?)))
}

fn sink_paths(sinks: &mut BTreeMap<String, SinkSettings>) -> impl Iterator<Item = (KeyPath, &mut PathBuf)> {
    sinks.iter_mut().flat_map(|(name, sink)| {
        let paths = [
            ("ca_file", &mut sink.ca_file),
            ("credentials_file", &mut sink.credentials_file),
            ("folder", &mut sink.folder),
        ];
        paths.into_iter().filter_map(move |(key, path)| Some((KeyPath::from(["sinks", name, key]), path.as_mut()?)))
    })
}

fn report_paths(reports: &mut BTreeMap<String, ReportSettings>) -> impl Iterator<Item = (KeyPath, &mut PathBuf)> {
    let named = reports.iter_mut().filter(|(_, report)| !report.to.as_os_str().is_empty());
    named.map(|(name, report)| (KeyPath::from(["reports", name, "to"]), &mut report.to))
}

/// Resolves `.` and `..` by the text alone: `config/../data` is the `data` beside `config`, even if `config` is a link.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_in_paths_are_resolved_by_the_text() {
        assert_eq!(without_dots(Path::new("/a/config/../data/./x")), Path::new("/a/data/x"));
        assert_eq!(without_dots(Path::new("/../x")), Path::new("/x"));
    }

    #[test]
    fn every_contract_name_is_a_setting() {
        let defaults = Layer::defaults();
        for (name, setting) in environment::names() {
            // What only stands for a whole section is not among the defaults.
            let key: KeyPath = setting.iter().copied().take(1).collect();
            assert!(find(defaults.root(), &key).is_some(), "{name}");
        }
    }
}
