//! The HTTP port's socket is the service manager's: who connects before the daemon runs is answered when it does.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::manager::Manager;
use crate::processes::{Daemon, Feed, Process, Settings, get, until};
use crate::support::Workplace;

/// `sluice run` with a socket as descriptor 3, as `man sd_listen_fds` says: the shell puts it there, and becomes the daemon.
fn activated(place: &Workplace, listener: &TcpListener) -> Command {
    let daemon = Manager::command(place, None);
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http exec \"$0\" \"$@\""])
        .arg(daemon.get_program())
        .args(daemon.get_args())
        .current_dir(place.path(""))
        .env_clear()
        .envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    command
}

fn settings(feed: &Feed, address: &str) -> Settings {
    let text = format!("[smart_streaming]\nenabled = true\n[server]\nlisten = \"{address}\"\n");
    Settings::of(text).upstream("feed", "binance", feed.url()).monitor("one", "spot", "feed", &["btcusdt@trade"], "")
}

#[test]
fn who_connects_before_the_daemon_runs_is_answered_when_it_does_and_over_a_take_over() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "100"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    settings(&feed, &address).write(&place);
    let manager = Manager::listen(&place);
    let mut early = TcpStream::connect(&address).unwrap();
    early.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    early
        .write_all(format!("GET /v1/health/live HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();

    let mut daemon = Daemon::of(activated(&place, &listener));
    assert_eq!(daemon.address(), address);
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(daemon.log().contains("the socket that the service manager has opened"), "{}", daemon.log());

    // The heir gets the same socket, and takes nothing from the environment that was meant for another process.
    daemon.signal(Signal::USR2);
    let heir = Pid::from_raw(i32::try_from(manager.main_process(1)).unwrap()).unwrap();
    until("the old process ends", || daemon.has_ended().then_some(()));
    assert_eq!(get(&address, "/v1/health/live").unwrap().0, 200);
    kill_process(heir, Signal::TERM).unwrap();
    manager.told("STOPPING=1", 0);
    // The socket is still the manager's: it would start the daemon for whoever connects now.
    until("the heir has ended", || kill_process(heir, Signal::CONT).is_err().then_some(()));
    assert!(TcpStream::connect(&address).is_ok());
    feed.stop();
}

#[test]
fn a_socket_elsewhere_than_the_settings_say_is_refused_in_words() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "10"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    settings(&feed, "127.0.0.1:9").write(&place);
    let mut refused = Process::of(activated(&place, &listener));
    let status = refused.end();
    let said = refused.stderr();
    assert_eq!(status.code(), Some(78), "{said}");
    let handed = listener.local_addr().unwrap();
    assert!(said.contains(&format!("listens on {handed}, and `server.listen` is 127.0.0.1:9")), "{said}");
    feed.stop();
}
