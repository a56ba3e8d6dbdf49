//! A report as one HTML page that needs nothing else: no script, no font, no picture. Light and dark, as the reader's system is.

use std::fmt::Write as _;

use super::chart;
use super::{Cell, Mark, Report, on_one_line};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--page:#ffffff;--faint:#5b6470;--line:#d8dde3;--good:#116329;--bad:#b3261e;--unknown:#7a5200}
@media (prefers-color-scheme: dark){:root{--ink:#e6e9ed;--page:#14171a;--faint:#9aa4b0;--line:#333a42;--good:#5bd07f;--bad:#ff8a80;--unknown:#e3b341}}
body{margin:2rem auto;max-width:72rem;padding:0 1rem;font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page)}
h1{font-size:1.4rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.verdict{font-weight:600;margin:0 0 1.5rem}.good{color:var(--good)}.bad{color:var(--bad)}.unknown{color:var(--unknown)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.5rem;margin:0}dt{color:var(--faint)}dd{margin:0}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.35rem 1rem .35rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th{color:var(--faint);font-weight:600;white-space:nowrap}td{font-variant-numeric:tabular-nums}
svg{display:block;width:100%;height:auto;max-height:14rem;overflow:visible}svg text{fill:var(--faint);font-size:11px}
.curve{fill:none;stroke:var(--ink);stroke-width:1.5}.point{fill:var(--ink)}.base{stroke:var(--line)}.wanted{stroke:var(--good);stroke-dasharray:4 4}";

/// The report as a page.
pub(super) fn render(report: &Report) -> String {
    let mut page = String::new();
    let mut put = |text: String| {
        // A string takes whatever is written to it.
        writeln!(page, "{text}").ok();
    };
    let title = escaped(&report.title);
    put("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">".to_owned());
    put("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">".to_owned());
    put("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        .to_owned());
    put(format!("<title>{title}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<h1>{title}</h1>"));
    put(format!("<p class=\"verdict\">{}</p>", marked(&report.verdict)));
    if !report.facts.is_empty() {
        put("<dl>".to_owned());
        for (name, value) in &report.facts {
            put(format!("<dt>{}</dt><dd>{}</dd>", escaped(name), marked(value)));
        }
        put("</dl>".to_owned());
    }
    for chart in &report.charts {
        put(chart::draw(chart, &escaped));
    }
    for table in report.shown_tables() {
        put(format!("<h2>{}</h2>\n<div class=\"wide\"><table>\n<thead><tr>", escaped(&table.heading)));
        table.columns.iter().for_each(|name| put(format!("<th>{}</th>", escaped(name))));
        put("</tr></thead>\n<tbody>".to_owned());
        for row in &table.rows {
            put("<tr>".to_owned());
            for cell in row {
                put(format!("<td>{}</td>", marked(cell)));
            }
            put("</tr>".to_owned());
        }
        put("</tbody>\n</table></div>".to_owned());
    }
    if !report.notes.is_empty() {
        put("<h2>Notes</h2>\n<ul>".to_owned());
        report.notes.iter().for_each(|note| put(format!("<li>{}</li>", escaped(note))));
        put("</ul>".to_owned());
    }
    put("</body>\n</html>".to_owned());
    page
}

fn marked(cell: &Cell) -> String {
    let text = escaped(&cell.text);
    match cell.mark {
        Mark::Plain => text,
        Mark::Good => format!("<span class=\"good\">{text}</span>"),
        Mark::Bad => format!("<span class=\"bad\">{text}</span>"),
        Mark::Unknown => format!("<span class=\"unknown\">{text}</span>"),
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in on_one_line(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
