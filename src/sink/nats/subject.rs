//! The subjects that a sink publishes to.

use super::escape;
use crate::journal::Event;

/// The longest subject. The server's limit for subject, answer's subject and sizes together is 4,096 bytes
/// (`max_control_line`), and a longer line closes the connection.
pub(super) const SUBJECT_BYTES_MAX: usize = 2048;

/// The longest template; so a subject can only be too long by what events put into it.
pub(super) const TEMPLATE_BYTES_MAX: usize = 512;

/// A subject with places for what differs from event to event: `sluice.bus.{domain}.{monitor}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SubjectTemplate {
    /// Whole tokens that all subjects begin with: `sluice.bus`.
    prefix: String,
    /// What follows: pieces of text and places between them.
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Domain,
    Monitor,
    Key,
}

impl SubjectTemplate {
    /// What is used where the settings say nothing.
    pub(super) fn of_sink(sink: &str) -> Self {
        let mut prefix = "sluice.".to_owned();
        escape::token(sink, &mut prefix);
        let dot = || Piece::Text(".".into());
        Self { prefix, pieces: vec![dot(), Piece::Domain, dot(), Piece::Monitor] }
    }

    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(template: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            let (text, place) = rest.split_at(open);
            let close = place.find('}').ok_or("a `{` has no `}`")?;
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            }
            pieces.push(match &place[1..close] {
                "domain" => Piece::Domain,
                "monitor" => Piece::Monitor,
                "key" => Piece::Key,
                other => {
                    return Err(format!("`{{{other}}}` is no place; there are {{domain}}, {{monitor}} and {{key}}"));
                }
            });
            rest = &place[close + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        check_tokens(template)?;

        // The whole tokens before the first place.
        let mut prefix = match pieces.first() {
            Some(Piece::Text(text)) => text.clone(),
            _ => String::new(),
        };
        if pieces.len() > 1 {
            prefix.truncate(prefix.rfind('.').unwrap_or(0));
        }
        if prefix.is_empty() {
            return Err(
                "it must begin with a fixed token, such as `sluice.`, so that the stream takes nothing else".into()
            );
        }
        if prefix.starts_with('$') || prefix == "_INBOX" || prefix.starts_with("_INBOX.") {
            return Err("subjects that begin with `$` or `_INBOX` are the server's own".into());
        }
        if let Some(Piece::Text(text)) = pieces.first_mut() {
            text.drain(..prefix.len());
            if text.is_empty() {
                pieces.remove(0);
            }
        }
        Ok(Self { prefix, pieces })
    }

    /// The same below another prefix.
    pub(super) fn moved_to(&self, prefix: String) -> Self {
        Self { prefix, pieces: self.pieces.clone() }
    }

    /// What the stream takes: everything below the prefix.
    pub(super) fn pattern(&self) -> String {
        if self.pieces.is_empty() { self.prefix.clone() } else { format!("{}.>", self.prefix) }
    }

    /// The subject of an event.
    pub(super) fn of(&self, event: &Event<'_>) -> String {
        let mut subject = String::with_capacity(96);
        subject.push_str(&self.prefix);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => subject.push_str(text),
                Piece::Domain => escape::token(event.domain, &mut subject),
                Piece::Monitor => escape::token(event.monitor, &mut subject),
                Piece::Key => escape::token(event.key().as_deref().unwrap_or_default(), &mut subject),
            }
        }
        subject
    }
}

fn check_tokens(template: &str) -> Result<(), String> {
    if template.len() > TEMPLATE_BYTES_MAX {
        return Err(format!("it must have at most {TEMPLATE_BYTES_MAX} characters"));
    }
    if template.split('.').any(str::is_empty) {
        return Err("no token between its dots may be empty".into());
    }
    if !template.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>')) {
        return Err("spaces, `*`, `>` and what is not ASCII cannot stand in it".into());
    }
    Ok(())
}

/// Whether every subject of the pattern `inner` is one of the pattern `outer`; both may have `*` and end with `>`.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_takes_what_is_below_the_fixed_tokens() {
        let pattern = |template: &str| SubjectTemplate::parse(template).map(|template| template.pattern());
        assert_eq!(pattern("sluice.bus.{domain}.{monitor}").as_deref(), Ok("sluice.bus.>"));
        assert_eq!(pattern("a.b-{key}.c").as_deref(), Ok("a.>"));
        assert_eq!(pattern("events").as_deref(), Ok("events"));
        assert_eq!(pattern("events.all").as_deref(), Ok("events.all"));
        assert_eq!(SubjectTemplate::of_sink("a.b").pattern(), "sluice.a%2Eb.>");
        let default = SubjectTemplate::parse("sluice.bus.{domain}.{monitor}");
        assert_eq!(default, Ok(SubjectTemplate::of_sink("bus")));
    }

    #[test]
    fn a_template_that_makes_no_subject_of_ours_is_refused() {
        for template in [
            "",
            "{domain}.x",
            "x-{domain}",
            "a..b",
            "a.*",
            "a.>",
            "a b",
            "$JS.{key}",
            "_INBOX.x",
            "a.{nonsense}",
            "a.{key",
        ] {
            assert!(SubjectTemplate::parse(template).is_err(), "{template}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_admits() {
        for (outer, inner) in
            [("a.>", "a.b.>"), ("a.>", "a.>"), ("a.b", "a.b"), (">", "a"), ("a.*", "a.b"), ("a.*.>", "a.b.>")]
        {
            assert!(covers(outer, inner), "{outer} {inner}");
        }
        for (outer, inner) in
            [("a.b.>", "a.>"), ("a.>", "a"), ("a", "a.b"), ("a.*", "a.>"), ("a.*", "a.b.c"), ("b.>", "a.>")]
        {
            assert!(!covers(outer, inner), "{outer} {inner}");
        }
    }
}
