//! Lines on a terminal, drawn over those before. By cursor movement only: what scrolled by stays readable, and nothing has
//! to be put back at the end.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

/// Where there is no terminal to ask.
const WIDTH_ELSEWHERE: usize = 120;
/// Below this nothing useful fits; lines then wrap.
const WIDTH_MIN: usize = 20;

/// How a piece of text is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Strong,
    Good,
    Poor,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Poor => "\x1b[33m",
        }
    }
}

/// A line in pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line(pub(super) Vec<(Style, String)>);

impl Line {
    /// A line of one piece.
    pub(super) fn new(style: Style, text: impl Into<String>) -> Self {
        Self(vec![(style, text.into())])
    }

    /// With another piece behind it.
    #[must_use]
    pub(super) fn then(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    /// As it is printed within `width` columns, and how many it takes.
    fn render(&self, width: usize, colour: bool) -> (String, usize) {
        let whole: usize = self.0.iter().map(|(_, text)| text.chars().count()).sum();
        let mut room = if whole > width { width.saturating_sub(1) } else { width };
        let taken = whole.min(width);
        let mut out = String::new();
        for (style, text) in &self.0 {
            // A control character could move the cursor.
            let visible = text.chars().map(|character| if character.is_control() { ' ' } else { character });
            let piece: String = visible.take(room).collect();
            room -= piece.chars().count();
            if colour && *style != Style::Plain && !piece.is_empty() {
                out.extend([style.code(), &piece, "\x1b[0m"]);
            } else {
                out.push_str(&piece);
            }
        }
        if whole > width {
            out.push('…');
        }
        (out, taken)
    }
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    colour: bool,
    /// Columns of each line that stands above the cursor.
    drawn: RefCell<Vec<usize>>,
}

impl Screen {
    /// As standard output and the environment are.
    pub(super) fn of_stdout() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let terminal = io::stdout().is_terminal() && !dumb;
        Self { terminal, colour: terminal && !set("NO_COLOR"), drawn: RefCell::default() }
    }

    /// Whether lines can be drawn over.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Columns to fill.
    pub(super) fn width(&self) -> usize {
        self.size().0
    }

    fn size(&self) -> (usize, usize) {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|size| self.terminal && size.ws_col > 0);
        size.map_or((WIDTH_ELSEWHERE, usize::MAX), |size| {
            (usize::from(size.ws_col).max(WIDTH_MIN), usize::from(size.ws_row.max(2)))
        })
    }

    /// Draws lines over those drawn before.
    pub(super) fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let (width, height) = self.size();
        let mut drawn = self.drawn.borrow_mut();
        let mut out = String::new();
        // The terminal may have become narrower, and wrapped what was drawn for more columns.
        let rows: usize = drawn.iter().map(|columns| columns.div_ceil(width).max(1)).sum();
        if rows > 0 {
            // A `String` takes everything.
            write!(out, "\x1b[{}A\r", rows.min(height - 1)).ok();
        }
        drawn.clear();
        // The cursor stands below the last line. What is above the first row cannot be drawn over, so nothing may go there.
        for line in lines.iter().take(height - 1) {
            let (text, columns) = line.render(width, self.colour);
            out.push_str(&text);
            out.push_str(if self.terminal { "\x1b[K\n" } else { "\n" });
            drawn.push(columns);
        }
        if self.terminal {
            out.push_str("\x1b[J");
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(out.as_bytes())?;
        stdout.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_the_columns_there_are() {
        let line = Line::new(Style::Strong, "state").then(Style::Good, " live").then(Style::Plain, "\x1b[2J");
        assert_eq!(line.render(80, false), ("state live [2J".to_owned(), 14));
        assert_eq!(line.render(8, false), ("state l…".to_owned(), 8));
        assert_eq!(line.render(8, true), ("\x1b[1mstate\x1b[0m\x1b[32m l\x1b[0m…".to_owned(), 8));
    }
}
