//! An upstream that sends exactly the frames a test wants, also those that no well-made server would.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept};

/// How the server behaves beside its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Binance's acknowledgements.
    Acknowledges,
    /// Ethereum's: a subscription gets the id `0x1`.
    Subscribes,
    /// Nothing is acknowledged.
    Silent,
}

/// The server. Its threads end with the connections, at the latest with the process.
pub(crate) struct RawUpstream {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl RawUpstream {
    /// Sends `script(N)` to the Nth connection, from 1, once it has subscribed to something.
    pub(crate) fn start(manner: Manner, script: impl Fn(usize) -> Vec<Message> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::default();
        let noted = Arc::clone(&requests);
        thread::spawn(move || {
            for (number, stream) in (1..).zip(listener.incoming()) {
                let Ok(stream) = stream else { return };
                let (frames, noted) = (script(number), Arc::clone(&noted));
                thread::spawn(move || serve(stream, manner, frames, &noted));
            }
        });
        Self { address, requests }
    }

    /// A Binance address.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/stream", self.address)
    }

    /// Every text that came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, manner: Manner, frames: Vec<Message>, requests: &Mutex<Vec<String>>) {
    // A failure only makes it slower: each frame would wait for the client to have confirmed the one before.
    stream.set_nodelay(true).ok();
    let Ok(mut socket) = accept(stream) else { return };
    let mut frames = Some(frames);
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                requests.lock().unwrap().push(text.to_string());
                match manner {
                    Manner::Acknowledges => acknowledge(&mut socket, &text, "null"),
                    Manner::Subscribes => acknowledge(&mut socket, &text, "\"0x1\""),
                    Manner::Silent => {}
                }
                for frame in frames.take().into_iter().flatten() {
                    // The client may leave in the middle, which is what some tests are about.
                    if socket.send(frame).is_err() {
                        return;
                    }
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn acknowledge(socket: &mut WebSocket<TcpStream>, request: &str, result: &str) {
    let request: serde_json::Value = serde_json::from_str(request).expect("requests are JSON");
    let answer = format!("{{\"jsonrpc\":\"2.0\",\"result\":{result},\"id\":{}}}", request["id"]);
    // As above.
    socket.send(Message::text(answer)).ok();
}

/// A trade of Binance's, of the stream `x@trade`, whose id is the raw JSON text `id`.
pub(crate) fn trade(id: &str) -> Message {
    Message::text(format!(
        "{{\"stream\":\"x@trade\",\"data\":{{\"e\":\"trade\",\"E\":1700000000000,\"s\":\"X\",\"t\":{id},\"p\":\"1\"}}}}"
    ))
}

/// A text frame with bytes that need not be UTF-8.
pub(crate) fn text_of(bytes: &[u8]) -> Message {
    Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(Data::Text), true))
}
