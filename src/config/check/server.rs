//! What must hold for `[server]`.

use url::Url;

use super::Checker;
use crate::config::ServerSettings;
use crate::config::key::KeyPath;

impl Checker<'_> {
    pub(super) fn server(&mut self, server: &ServerSettings) {
        let key = |name: &str| KeyPath::from(["server", name]);
        self.duration(&key("head_timeout"), server.head_timeout);
        self.duration(&key("body_timeout"), server.body_timeout);
        self.positive(&key("body_max"), server.body_max);
        for (name, count) in
            [("connections_max", server.connections_max), ("connections_per_peer", server.connections_per_peer)]
        {
            if count == 0 {
                self.refuse(&key(name), 0, "must be at least 1");
            }
        }
        let tls = &server.tls;
        if tls.certificate.is_some() != tls.key.is_some() {
            self.refuse_key(&key("tls"), "must have both `certificate` and `key`, or neither");
        }
        for (index, origin) in server.cors_origins.iter().enumerate() {
            // As a browser writes it in `Origin`: nothing behind the port, and no `/`.
            let written = |url: &Url| url.origin().ascii_serialization() == *origin;
            if !Url::parse(origin).is_ok_and(|url| url.host().is_some() && written(&url)) {
                let expected = "must be an origin as browsers write it, such as `https://board.example`";
                self.refuse(&key("cors_origins").index(index), origin, expected);
            }
        }
        for (name, token) in &server.tokens {
            let path = KeyPath::from(["server", "tokens", name]);
            self.name(&path, name, "a token's name");
            if token.hash.is_some() == token.file.is_some() {
                self.refuse_key(&path, "must have either `hash` or `file`; `sluice token create` prints a hash");
            }
        }
    }
}
