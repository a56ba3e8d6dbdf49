//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

use super::recorder::{Family, Series, Value};

/// All of them, one after another.
pub(super) fn render(families: &[Family]) -> String {
    let mut text = String::with_capacity(64 << 10);
    for family in families {
        let (name, kind) = (&family.name, family.kind.as_str());
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        // A string takes whatever is written to it, here and below.
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").ok();
        for Series { labels, value } in &family.series {
            match value {
                Value::Counter(count) => line(&mut text, name, "", labels, None, Number::Whole(*count)),
                Value::Gauge(value) => line(&mut text, name, "", labels, None, Number::Float(*value)),
                Value::Histogram { bounds, counts, sum } => {
                    let mut below = 0;
                    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
                    for (bound, count) in bounds.zip(counts) {
                        below += count;
                        line(&mut text, name, "_bucket", labels, Some(bound), Number::Whole(below));
                    }
                    line(&mut text, name, "_sum", labels, None, Number::Float(*sum));
                    line(&mut text, name, "_count", labels, None, Number::Whole(below));
                }
            }
        }
    }
    text
}

#[derive(Clone, Copy)]
enum Number {
    Whole(u64),
    Float(f64),
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &[(String, String)], bound: Option<f64>, value: Number) {
    text.push_str(name);
    text.push_str(suffix);
    if !labels.is_empty() || bound.is_some() {
        text.push('{');
        for (index, (name, value)) in labels.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(name);
            text.push_str("=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    letter => text.push(letter),
                }
            }
            text.push('"');
        }
        if let Some(bound) = bound {
            text.push_str(if labels.is_empty() { "le=\"" } else { ",le=\"" });
            float(text, bound);
            text.push('"');
        }
        text.push('}');
    }
    text.push(' ');
    match value {
        Number::Whole(value) => write!(text, "{value}").unwrap_or_default(),
        Number::Float(value) => float(text, value),
    }
    text.push('\n');
}

fn float(text: &mut String, value: f64) {
    if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        write!(text, "{value}").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Kind;

    #[test]
    fn names_labels_and_values_are_written_as_the_format_has_them() {
        let labels = vec![("of".to_owned(), "a \"b\"\\c\nd".to_owned())];
        let family =
            |name: &str, kind, series| Family { name: name.into(), kind, help: "What\nit \\ is".into(), series };
        let counts = Value::Histogram { bounds: &[0.5, 1.0], counts: vec![1, 2, 4], sum: 7.25 };
        let text = render(&[
            family("a_total", Kind::Counter, vec![Series { labels: labels.clone(), value: Value::Counter(3) }]),
            family("b", Kind::Gauge, vec![Series { labels: vec![], value: Value::Gauge(f64::NAN) }]),
            family("c_seconds", Kind::Histogram, vec![Series { labels, value: counts }]),
        ]);
        let label = r#"of="a \"b\"\\c\nd""#;
        let expected = [
            r"# HELP a_total What\nit \\ is",
            "# TYPE a_total counter",
            &format!("a_total{{{label}}} 3"),
            r"# HELP b What\nit \\ is",
            "# TYPE b gauge",
            "b NaN",
            r"# HELP c_seconds What\nit \\ is",
            "# TYPE c_seconds histogram",
            &format!("c_seconds_bucket{{{label},le=\"0.5\"}} 1"),
            &format!("c_seconds_bucket{{{label},le=\"1\"}} 3"),
            &format!("c_seconds_bucket{{{label},le=\"+Inf\"}} 7"),
            &format!("c_seconds_sum{{{label}}} 7.25"),
            &format!("c_seconds_count{{{label}}} 7"),
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
