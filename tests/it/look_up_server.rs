//! A service that look-ups ask: quick, slow, silent, failing, as a test says from moment to moment.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers `{"token":{"name":"about PATH","version":N}}`.
    Answers { version: u64 },
    /// Answers so with a name of so many bytes.
    AnswersAtLength { bytes: usize },
    /// 404.
    KnowsNothing,
    /// 500.
    Fails,
    /// Says nothing, until it is in another mood.
    IsSilent,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    asked: BTreeMap<String, u64>,
    open: BTreeMap<String, u64>,
    most_at_once: u64,
}

/// The service. It ends with the test's process.
#[derive(Debug, Clone)]
pub(crate) struct LookUpServer {
    address: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl LookUpServer {
    pub(crate) fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State { mood, asked: BTreeMap::new(), open: BTreeMap::new(), most_at_once: 0 };
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            state: Arc::new((Mutex::new(state), Condvar::new())),
        };
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.serve(&stream));
            }
        });
        server
    }

    /// `http://HOST:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.state.0.lock().unwrap().mood = mood;
        self.state.1.notify_all();
    }

    /// How often each path was asked for.
    pub(crate) fn asked(&self) -> BTreeMap<String, u64> {
        self.state.0.lock().unwrap().asked.clone()
    }

    /// The most requests for one path that were ever open at once.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.state.0.lock().unwrap().most_at_once
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {}
            let mood = self.asked_for(&path);
            let (status, body) = match mood {
                Mood::Answers { version } => {
                    (200, format!(r#"{{"token":{{"name":"about {path}","version":{version}}}}}"#))
                }
                Mood::AnswersAtLength { bytes } => {
                    (200, format!(r#"{{"token":{{"name":"{}"}}}}"#, "ab".repeat(bytes / 2)))
                }
                Mood::KnowsNothing => (404, String::new()),
                Mood::Fails | Mood::IsSilent => (500, String::new()),
            };
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let mut writer = stream;
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Counts a request, and waits as long as the service is silent.
    fn asked_for(&self, path: &str) -> Mood {
        let (state, changed) = &*self.state;
        let mut state = state.lock().unwrap();
        *state.asked.entry(path.to_owned()).or_default() += 1;
        let open = state.open.entry(path.to_owned()).or_default();
        *open += 1;
        let open = *open;
        state.most_at_once = state.most_at_once.max(open);
        while state.mood == Mood::IsSilent {
            state = changed.wait(state).unwrap();
        }
        *state.open.entry(path.to_owned()).or_default() -= 1;
        state.mood
    }
}
