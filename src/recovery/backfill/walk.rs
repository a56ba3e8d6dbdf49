//! From one part of a span to the next, in every style of pages. Pure: it says what to ask, and is told what came.

use url::Url;

use super::place::{Place, Span};
use crate::config::{PageSettings, PagesBy};

/// What is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) span: Span,
    /// A raw JSON token.
    pub(super) cursor: Option<String>,
    pub(super) page: Option<u64>,
    /// The whole address, where the provider gave it.
    pub(super) url: Option<Url>,
}

/// What came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// How many items, ours or not.
    pub(super) items: usize,
    /// The least place of one.
    pub(super) least: Option<i128>,
    /// The greatest.
    pub(super) greatest: Option<i128>,
    /// The next cursor, a raw JSON token.
    pub(super) cursor: Option<String>,
    /// The next page's address.
    pub(super) url: Option<Url>,
}

/// The way through a span.
#[derive(Debug)]
pub(super) struct Walk {
    span: Span,
    limit: Option<usize>,
    grain: i128,
    descending: bool,
    at: At,
}

#[derive(Debug, PartialEq, Eq)]
enum At {
    One,
    Cursor(Option<String>),
    Number(u64),
    Item(Span),
    Split(Split),
    Link(Option<Url>),
    Done,
}

/// Parts that are still to be asked for: the one in hand is the last of `parts`, those behind it are further on.
#[derive(Debug, PartialEq, Eq)]
struct Split {
    parts: Vec<(i128, i128)>,
    /// What has not been cut yet.
    rest: Option<(i128, i128)>,
    step: i128,
    step_max: i128,
}

impl Split {
    fn cut(&mut self) {
        if let Some((from, to)) = self.rest.take() {
            let end = from.saturating_add(self.step - 1).min(to);
            self.parts.push((from, end));
            self.rest = (end < to).then(|| (end + 1, to));
        }
    }
}

impl Walk {
    /// Through `span`, of which `grain` is the least part that can be asked for.
    pub(super) fn new(span: Span, pages: Option<&PageSettings>, limit: Option<u32>, grain: i128) -> Self {
        let at = match pages.map(|pages| (pages.by, pages)) {
            None => At::One,
            Some((PagesBy::Cursor, _)) => At::Cursor(None),
            Some((PagesBy::Number, pages)) => At::Number(pages.first.unwrap_or(1)),
            Some((PagesBy::Item, _)) => At::Item(span.clone()),
            Some((PagesBy::Link, _)) => At::Link(None),
            Some((PagesBy::Split, pages)) => match (span.from.number(), span.to.number()) {
                (Some(from), Some(to)) => {
                    let time = pages.step_time.map(|step| i128::try_from(step.as_nanos()).unwrap_or(i128::MAX));
                    let step = time.or(pages.step.map(i128::from)).unwrap_or(1).max(grain);
                    let mut split =
                        Split { parts: Vec::new(), rest: (from <= to).then_some((from, to)), step, step_max: step };
                    split.cut();
                    if split.parts.is_empty() { At::Done } else { At::Split(split) }
                }
                // An end that only the provider knows cannot be cut at.
                _ => At::One,
            },
        };
        let descending = pages.is_some_and(|pages| pages.descending);
        Self { span, limit: limit.map(|limit| limit as usize), grain, descending, at }
    }

    /// What is to be asked now; none when all was.
    pub(super) fn ask(&self) -> Option<Ask> {
        let ask = Ask { span: self.span.clone(), cursor: None, page: None, url: None };
        match &self.at {
            At::Done => None,
            At::One => Some(ask),
            At::Cursor(cursor) => Some(Ask { cursor: cursor.clone(), ..ask }),
            At::Number(page) => Some(Ask { page: Some(*page), ..ask }),
            At::Item(span) => Some(Ask { span: span.clone(), ..ask }),
            At::Split(split) => {
                let (from, to) = *split.parts.last()?;
                Some(Ask { span: Span { from: Place::At(from), to: Place::At(to) }, ..ask })
            }
            At::Link(url) => Some(Ask { url: url.clone(), ..ask }),
        }
    }

    /// Whether an answer that has none of the span at all cannot be right.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self.at, At::One | At::Split(_))
    }

    /// Up to where everything has been asked for, where that is known.
    pub(super) fn reached(&self) -> Option<i128> {
        match &self.at {
            At::Split(split) => split.parts.last().map(|(from, _)| *from),
            At::Item(span) if !self.descending => span.from.number(),
            _ => None,
        }
    }

    /// Goes on behind what came. The error says why that is not possible.
    pub(super) fn took(&mut self, page: Page) -> Result<(), String> {
        let is_last = page.items == 0 || self.limit.is_some_and(|limit| page.items < limit);
        let is_past = self.is_past(&page);
        match &mut self.at {
            At::Done => {}
            At::One => self.at = At::Done,
            At::Cursor(cursor) => match page.cursor {
                Some(next) if page.items > 0 && !is_past => {
                    if cursor.as_ref() == Some(&next) {
                        return Err("the next cursor is the one that was asked with".into());
                    }
                    *cursor = Some(next);
                }
                _ => self.at = At::Done,
            },
            At::Number(number) => {
                if is_last || is_past {
                    self.at = At::Done;
                } else {
                    *number += 1;
                }
            }
            At::Link(url) => match page.url {
                Some(next) if !is_past => {
                    if url.as_ref() == Some(&next) {
                        return Err("the next page is the one that was asked for".into());
                    }
                    *url = Some(next);
                }
                _ => self.at = At::Done,
            },
            At::Item(span) => {
                let (asked, last) =
                    if self.descending { (&mut span.to, page.least) } else { (&mut span.from, page.greatest) };
                let (Some(last), false, false) = (last, is_last, is_past) else {
                    self.at = At::Done;
                    return Ok(());
                };
                let is_further =
                    asked.number().is_none_or(|asked| if self.descending { last < asked } else { last > asked });
                if !is_further {
                    // Without a limit nobody says which page is the last one: it is the one with nothing new.
                    if self.limit.is_none() {
                        self.at = At::Done;
                        return Ok(());
                    }
                    return Err("a full page goes no further than the one before; raise `limit`".into());
                }
                // The last place once more: others may stand at it, and what comes twice is told by its id.
                *asked = Place::At(last);
                if span.from.number().zip(span.to.number()).is_some_and(|(from, to)| from > to) {
                    self.at = At::Done;
                }
            }
            At::Split(split) => {
                if self.limit.is_some_and(|limit| page.items >= limit) {
                    return self.too_long();
                }
                split.parts.pop();
                if split.parts.is_empty() {
                    // What was too long once need not be so further on.
                    split.step = split.step.saturating_mul(2).min(split.step_max);
                    split.cut();
                }
                if split.parts.is_empty() {
                    self.at = At::Done;
                }
            }
        }
        Ok(())
    }

    /// What was asked for is more than an answer may have. The error says why it cannot be less.
    pub(super) fn too_long(&mut self) -> Result<(), String> {
        let At::Split(split) = &mut self.at else {
            return Err(
                "more was asked for than an answer may have, and it is not declared how to ask for less (`pages`)"
                    .into(),
            );
        };
        let Some((from, to)) = split.parts.pop() else { return Ok(()) };
        if to - from < self.grain {
            return Err("even the shortest part of the span has more than an answer may have".into());
        }
        let middle = from + (to - from) / 2;
        split.parts.push((middle + 1, to));
        split.parts.push((from, middle));
        // The next parts are likely to be as full.
        split.step = (split.step / 2).max(self.grain);
        Ok(())
    }

    /// Whether everything that is still to come lies beyond the span.
    fn is_past(&self, page: &Page) -> bool {
        if self.descending {
            page.greatest.zip(self.span.from.number()).is_some_and(|(greatest, from)| greatest < from)
        } else {
            page.least.zip(self.span.to.number()).is_some_and(|(least, to)| least > to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i128, to: i128) -> Span {
        Span { from: Place::At(from), to: Place::At(to) }
    }

    fn pages(toml: &str) -> PageSettings {
        toml::from_str(toml).unwrap()
    }

    /// A provider that has an item at each of these places, and gives at most so many at once.
    fn walk_over(mut walk: Walk, places: &[i128], most: usize) -> (Vec<i128>, usize) {
        let (mut got, mut asked) = (Vec::new(), 0);
        while let Some(ask) = walk.ask() {
            asked += 1;
            assert!(asked < 100, "it ends: {walk:?}");
            let within = |at: &&i128| ask.span.has(&Place::At(**at), 1);
            let mut found: Vec<i128> = places.iter().filter(within).copied().collect();
            if walk.descending {
                found.reverse();
            }
            found.truncate(most);
            walk.took(Page {
                items: found.len(),
                least: found.iter().min().copied(),
                greatest: found.iter().max().copied(),
                ..Page::default()
            })
            .unwrap();
            got.extend(found);
        }
        got.sort_unstable();
        got.dedup();
        (got, asked)
    }

    #[test]
    fn pages_by_the_last_item_give_everything_in_both_orders_and_end_with_the_last_page() {
        let places: Vec<i128> = (0..20).collect();
        for descending in ["", "descending = true"] {
            let settings = pages(&format!("by = \"item\"\n{descending}"));
            let walk = Walk::new(span(3, 16), Some(&settings), Some(4), 1);
            assert_eq!(walk_over(walk, &places, 4), ((3..=16).collect(), 5), "{descending}");
            let walk = Walk::new(span(3, 16), Some(&settings), None, 1);
            assert_eq!(
                walk_over(walk, &places, 4).0,
                (3..=16).collect::<Vec<_>>(),
                "without a limit: until nothing is new"
            );
        }
        let mut stuck = Walk::new(span(3, 16), Some(&pages("by = \"item\"")), Some(2), 1);
        let same = Page { items: 2, least: Some(3), greatest: Some(3), ..Page::default() };
        assert!(stuck.took(same).unwrap_err().contains("raise `limit`"));
    }

    #[test]
    fn a_span_is_split_until_its_parts_are_short_enough_and_nothing_is_left_out() {
        let places: Vec<i128> = [vec![1, 2, 9], (20..30).collect(), vec![99]].concat();
        let settings = pages("by = \"split\"\nstep = 50");
        let walk = Walk::new(span(0, 100), Some(&settings), Some(4), 1);
        let (got, asked) = walk_over(walk, &places, 4);
        assert_eq!(got, places);
        assert!(asked > 5, "{asked}");
        let mut walk = Walk::new(span(7, 7), Some(&settings), None, 1);
        assert!(walk.too_long().unwrap_err().contains("even the shortest"));
        let mut walk = Walk::new(span(0, 100), Some(&settings), None, 1);
        walk.took(Page::default()).unwrap();
        assert_eq!((walk.ask().unwrap().span, walk.reached()), (span(50, 99), Some(50)));
        let mut open =
            Walk::new(Span { from: Place::At(1), to: Place::Text("latest".into()) }, Some(&settings), None, 1);
        assert!(open.ask().is_some() && open.too_long().is_err());
    }

    #[test]
    fn cursors_numbers_and_links_end_where_the_provider_says_and_never_go_in_a_circle() {
        let mut walk = Walk::new(span(0, 9), Some(&pages("by = \"cursor\"\nnext = \"/n\"")), None, 1);
        assert_eq!(walk.ask().unwrap().cursor, None);
        let page = |cursor: Option<&str>| Page { items: 1, cursor: cursor.map(str::to_owned), ..Page::default() };
        walk.took(page(Some("\"a\""))).unwrap();
        assert_eq!(walk.ask().unwrap().cursor.as_deref(), Some("\"a\""));
        assert!(walk.took(page(Some("\"a\""))).is_err());
        walk.took(page(None)).unwrap();
        assert_eq!(walk.ask(), None);

        let mut walk = Walk::new(span(0, 9), Some(&pages("by = \"number\"\nfirst = 0")), None, 1);
        let asked = |walk: &Walk| walk.ask().map(|ask| ask.page.unwrap());
        assert_eq!(asked(&walk), Some(0));
        walk.took(page(None)).unwrap();
        assert_eq!(asked(&walk), Some(1));
        walk.took(Page::default()).unwrap();
        assert_eq!(asked(&walk), None, "an empty page is the last");

        let url = |text: &str| Some(Url::parse(text).unwrap());
        let mut walk = Walk::new(span(0, 9), Some(&pages("by = \"link\"")), None, 1);
        walk.took(Page { items: 1, url: url("http://a/2"), ..Page::default() }).unwrap();
        assert_eq!(walk.ask().unwrap().url, url("http://a/2"));
        assert!(walk.took(Page { items: 1, url: url("http://a/2"), ..Page::default() }).is_err());
        walk.took(Page { items: 1, ..Page::default() }).unwrap();
        assert_eq!(walk.ask(), None);
    }

    #[test]
    fn pages_that_lie_beyond_the_span_are_the_last() {
        let settings = pages("by = \"cursor\"\nnext = \"/n\"\ndescending = true");
        let mut walk = Walk::new(span(10, 20), Some(&settings), None, 1);
        let page = |least, greatest| Page {
            items: 2,
            least: Some(least),
            greatest: Some(greatest),
            cursor: Some(format!("{least}")),
            url: None,
        };
        walk.took(page(21, 30)).unwrap();
        assert!(walk.ask().is_some(), "it has not begun");
        walk.took(page(5, 12)).unwrap();
        walk.took(page(1, 4)).unwrap();
        assert_eq!(walk.ask(), None);
    }
}
