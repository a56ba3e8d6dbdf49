//! A curve as SVG within a page: no script, nothing loaded, in the colours of the page.

use std::fmt::Write as _;

use super::Chart;

/// The drawing's own units; a page scales it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;
/// Room for what is written at the left, and below.
const LEFT: f64 = 84.0;
const BELOW: f64 = 20.0;
/// Dots beside a line are seen up to so many; beyond, they are one.
const DOTS_MAX: usize = 120;

/// The chart with its heading. `escaped` makes a text that is nothing but text.
#[expect(clippy::cast_precision_loss, reason = "places of a drawing")]
pub(super) fn draw(chart: &Chart, escaped: &dyn Fn(&str) -> String) -> String {
    let heading = escaped(&chart.heading);
    let values: Vec<f64> =
        chart.points.iter().filter_map(|(_, value)| *value).filter(|value| value.is_finite()).collect();
    let Some(last) = values.last() else { return String::new() };
    // Of a share that hardly leaves 100 % the part that is left is looked at.
    let all = || values.iter().copied().chain(chart.target);
    let (lowest, highest) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let floor = if lowest > highest * 0.5 && lowest > 0.0 && highest <= 1.0 { lowest * 0.995 } else { lowest.min(0.0) };
    let range = if highest > floor { highest - floor } else { 1.0 };
    let bottom = HEIGHT - BELOW;
    let y = |value: f64| bottom - (value - floor) / range * (bottom - 10.0);
    let steps = chart.points.len().saturating_sub(1).max(1) as f64;
    let x = |place: usize| LEFT + place as f64 / steps * (WIDTH - LEFT - 8.0);
    let (mut path, mut dots, mut pen_down) = (String::new(), String::new(), false);
    for (place, (label, value)) in chart.points.iter().enumerate() {
        let Some(value) = value.filter(|value| value.is_finite()) else {
            // Nobody knows: the line has a hole.
            pen_down = false;
            continue;
        };
        let (at, up) = (x(place), y(value));
        // A string takes whatever is written to it.
        write!(path, "{}{at:.1} {up:.1} ", if pen_down { 'L' } else { 'M' }).ok();
        pen_down = true;
        if chart.points.len() <= DOTS_MAX {
            let told = format!("{}: {}", escaped(label), escaped(&(chart.shown)(value)));
            write!(
                dots,
                "<circle class=\"point\" cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"2\"><title>{told}</title></circle>"
            )
            .ok();
        }
    }
    let line = |class: &str, up: f64| {
        format!("<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{up:.1}\" y2=\"{up:.1}\"/>", WIDTH - 8.0)
    };
    let label = |up: f64, value: f64| {
        format!(
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            up + 4.0,
            escaped(&(chart.shown)(value))
        )
    };
    let wanted = chart.target.map_or_else(String::new, |target| line("wanted", y(target)));
    let ends = |place: usize, anchor: &str, at: f64| {
        let text = chart.points.get(place).map_or_else(String::new, |(label, _)| escaped(label));
        format!("<text x=\"{at:.0}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{text}</text>", HEIGHT - 4.0)
    };
    let last = escaped(&(chart.shown)(*last));
    format!(
        "<h2>{heading}</h2>\n<svg viewBox=\"0 0 {WIDTH:.0} {HEIGHT:.0}\" role=\"img\" aria-label=\"{heading}, at last {last}\">\
         {}{}{}{wanted}<path class=\"curve\" d=\"{path}\"/>{dots}{}{}</svg>",
        line("base", bottom),
        label(bottom, floor),
        label(10.0, floor + range),
        ends(0, "start", LEFT),
        ends(chart.points.len() - 1, "end", WIDTH - 8.0),
    )
}
