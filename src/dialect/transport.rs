//! What a dialect is spoken over, and what a new connection is asked for with.

use super::Resumption;

/// What carries a dialect's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket messages: text and binary frames as they came.
    WebSocket,
    /// Texts over TCP, or TLS, each ended by a NUL.
    NulEnded,
    /// The endless answer to one HTTP request. A text frame is the path that was asked for and is answered now, a binary
    /// frame a piece of the body, cut anywhere. A text that is sent asks for another path in the place of the one before,
    /// with the `Last-Event-ID` on a second line where there is one; an empty one ends the request.
    EventStream,
    /// Answers to HTTP requests, one at a time and in order. A text that is sent is put behind the address: a path, or a query.
    /// Each is answered by one frame: the body, or an empty one where nothing is new.
    Poll,
}

impl Transport {
    /// Of those that a dialect is spoken over, the one that an address of this scheme means.
    pub fn of(transports: &[Self], scheme: &str) -> Option<Self> {
        transports.iter().copied().find(|transport| transport.schemes().contains(&scheme))
    }

    /// Schemes of addresses that mean it, in the clear and over TLS.
    pub fn schemes(self) -> [&'static str; 2] {
        match self {
            Self::WebSocket => ["ws", "wss"],
            Self::NulEnded => ["tcp", "tls"],
            Self::EventStream | Self::Poll => ["http", "https"],
        }
    }

    /// Whether an address of this scheme is reached over TLS.
    pub fn is_secure(scheme: &str) -> bool {
        matches!(scheme, "wss" | "tls" | "https")
    }
}

/// What a new connection asks for by its address and headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// Put behind the path of the address.
    pub path: Option<String>,
    /// Parameters of the address. Those of the same names that are there give way.
    pub query: Vec<(String, String)>,
    /// Headers of the request, beside those that are always sent.
    pub headers: Vec<(String, String)>,
}

impl Opening {
    /// Asks to go on from `point`, where that is said by a parameter or a header.
    pub fn resuming(resumption: Option<&Resumption>, point: Option<&str>) -> Self {
        let mut opening = Self::default();
        if let (Some(resumption), Some(point)) = (resumption, point) {
            if let Some(name) = resumption.query() {
                opening.query.push((name.to_owned(), point.to_owned()));
            }
            if let Some(name) = resumption.header() {
                opening.headers.push((name.to_owned(), point.to_owned()));
            }
        }
        opening
    }

    /// Asks for what a text names: a path, or a query that begins with `?`.
    #[must_use]
    pub fn behind(mut self, text: &str) -> Self {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        self.path = (!path.is_empty()).then(|| path.to_owned());
        self.query.extend(url::form_urlencoded::parse(query.as_bytes()).into_owned());
        self
    }

    /// The address with what is asked for.
    pub fn address(&self, base: &url::Url) -> url::Url {
        let mut url = base.clone();
        if let Some(path) = &self.path {
            let joined = format!("{}/{}", url.path().trim_end_matches('/'), path.trim_start_matches('/'));
            url.set_path(&joined);
        }
        if !self.query.is_empty() {
            let gives_way = |name: &str| self.query.iter().any(|(own, _)| own == name);
            let kept: Vec<(String, String)> = base
                .query_pairs()
                .filter(|(name, _)| !gives_way(name))
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
            url.query_pairs_mut().clear().extend_pairs(kept).extend_pairs(&self.query);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_what_is_not_asked_for_anew() {
        let base: url::Url = "https://h/v2/stream?a=1&since=old".parse().unwrap();
        let opening = Opening {
            path: Some("recentchange".into()),
            query: vec![("since".into(), "new & fine".into()), ("w".into(), "1".into()), ("w".into(), "2".into())],
            headers: Vec::new(),
        };
        assert_eq!(opening.address(&base).as_str(), "https://h/v2/stream/recentchange?a=1&since=new+%26+fine&w=1&w=2");
        assert_eq!(Opening::default().address(&base), base);
        let behind = |text: &str| Opening::default().behind(text).address(&base).to_string();
        assert_eq!(behind("now/x?a=2&b=%20"), "https://h/v2/stream/now/x?since=old&a=2&b=+");
        assert_eq!(behind("?b=1"), "https://h/v2/stream?a=1&since=old&b=1");
    }
}
