//! Servers that are told: over HTTP, in whatever mood a test wants, and one of mail that is not ours.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tokio::time::Instant;

use crate::processes::{Process, until};
use crate::support::Workplace;

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) target: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// What a server does with a request; the text is what follows the status line's number and the head's last line.
#[derive(Debug, Clone)]
pub(super) enum Mood {
    /// A status, further lines of the head, a body.
    Answers(u16, &'static str, &'static str),
    /// Says nothing, and keeps the connection.
    Hangs,
}

/// The server. It ends with the test's process.
#[derive(Clone)]
pub(super) struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    mood: Arc<Mutex<Mood>>,
}

impl Server {
    pub(super) fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, asked: Arc::default(), mood: Arc::new(Mutex::new(mood)) };
        let serving = server.clone();
        thread::spawn(move || {
            let mut hanging = Vec::new();
            for stream in listener.incoming().flatten() {
                let Some(asked) = read(&stream) else { continue };
                serving.asked.lock().unwrap().push(asked);
                let mood = serving.mood.lock().unwrap().clone();
                match mood {
                    Mood::Hangs => hanging.push(stream),
                    Mood::Answers(status, head, body) => {
                        let length = body.len();
                        let answer = format!(
                            "HTTP/1.1 {status} X\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                        );
                        let mut writer = &stream;
                        writer.write_all(answer.as_bytes()).ok();
                    }
                }
            }
        });
        server
    }

    /// That takes everything.
    pub(super) fn well() -> Self {
        Self::start(Mood::Answers(200, "", "{\"ok\":true}"))
    }

    pub(super) fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests, once there are so many.
    pub(super) fn asked_so_often(&self, count: usize) -> Vec<Asked> {
        until(&format!("{count} requests"), || Some(self.asked()).filter(|asked| asked.len() >= count))
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { at: Instant::now(), target, headers, body: String::from_utf8(body).ok()? })
}

/// aiosmtpd, which `scripts/test` installs; it prints each mail as a line of JSON.
pub(super) struct MailServer {
    process: Process,
    port: u16,
}

const MAIL_SERVER: &str = r#"
import asyncio, json, ssl, sys, time
from email import message_from_bytes, policy
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

class Handler:
    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=policy.default)
        text = lambda content: content.decode("utf-8", "replace") if isinstance(content, bytes) else content
        parts = {part.get_content_type(): text(part.get_content()) for part in mail.walk() if not part.is_multipart()}
        print(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None,
            "user": session.auth_data, "headers": [[name, str(value)] for name, value in mail.items()], "parts": parts}), flush=True)
        return "250 taken"

def authenticate(server, session, envelope, mechanism, data):
    known = data.login == b"sluice" and data.password == b"hunter2"
    return AuthResult(success=known, auth_data=data.login.decode())

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
controller = Controller(Handler(), hostname="127.0.0.1", port=int(sys.argv[1]), tls_context=context,
    require_starttls=False, authenticator=authenticate, auth_require_tls=True)
controller.start()
print("listening", flush=True)
while True:
    time.sleep(60)
"#;

/// The Python that has aiosmtpd.
pub(super) fn python() -> String {
    std::env::var("AIOSMTPD").unwrap_or_else(|_| {
        panic!(
            "AIOSMTPD does not name the Python that has aiosmtpd; run `scripts/test`, which installs it and sets this"
        )
    })
}

impl MailServer {
    /// With a certificate of `localhost`, whose authority is `ca.pem` in the folder.
    pub(super) fn start(place: &Workplace) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        place.write("server.pem", certificate.signed_by(&key, &authority).unwrap().pem());
        place.write("server.key", key.serialize_pem());
        place.write("ca.pem", authority.pem());
        place.write("mail.py", MAIL_SERVER);
        let port = crate::anvil_node::free_port();
        let mut command = std::process::Command::new(python());
        command.arg("mail.py").arg(port.to_string()).current_dir(place.path(""));
        let mut process = Process::of(command);
        until("the mail server listens", || {
            assert!(!process.has_ended(), "{}", process.stderr());
            process.stdout().contains("listening").then_some(())
        });
        Self { process, port }
    }

    /// What it listens on.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn mails(&self) -> Vec<Value> {
        let said = self.process.stdout();
        said.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
