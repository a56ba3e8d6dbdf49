//! Which topics a filter means.
//!
//! Source: MQTT 3.1.1, 4.7. The library's own matching refuses every name that begins with `$`.

/// Whether a filter is one: `#` only at the end, wildcards only as whole levels.
pub(super) fn check(filter: &str) -> Result<(), String> {
    if filter.is_empty() || filter.len() > usize::from(u16::MAX) || filter.contains('\0') {
        return Err("is no filter: it must have 1 to 65,535 bytes, none of them NUL".to_owned());
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.len() > 1 && level.contains(['+', '#']) {
            return Err(format!("is no filter: `+` and `#` stand for whole levels, and `{level}` has one within"));
        }
        if level == "#" && levels.peek().is_some() {
            return Err("is no filter: `#` may only be its end".to_owned());
        }
    }
    Ok(())
}

/// Whether a topic is one that the filter means.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    // Names of the broker's own are only meant by filters that say so.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            // It also means the level above it.
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_mean_what_the_standard_says() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("#", "a/b", true),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/uptime", false),
            ("+/uptime", "$SYS/uptime", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("$SYS/+", "$SYS/uptime", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
        for filter in ["a/b/#", "+", "#", "/", "a//b", "a/+/b"] {
            assert_eq!(check(filter), Ok(()), "{filter}");
        }
        for filter in ["", "a#", "a/#/b", "a+/b", "\0"] {
            assert!(check(filter).is_err(), "{filter}");
        }
    }
}
