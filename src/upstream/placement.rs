//! Which link carries which topic.

use crate::config::Priority;
use crate::dialect::TopicId;

/// Topics by link, and those for which no link has room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    /// One list a link.
    pub(super) links: Vec<Vec<TopicId>>,
    /// The least important ones, where slots are short.
    pub(super) left_out: Vec<TopicId>,
}

/// How many links a pool opens for `topics`.
pub(super) fn links_wanted(topics: usize, per_link: u32, min: u32, max: u32, idle_links: bool) -> usize {
    let needed = topics.div_ceil(per_link.max(1) as usize);
    let wanted = needed.clamp(min as usize, max.max(min) as usize);
    // Where an upstream closes links that ask for nothing, one without a topic would be lost again and again.
    if idle_links { wanted.max(1) } else { wanted.min(topics).max(1) }
}

/// Gives each topic to the link with the fewest, the most important first.
pub(super) fn place(priorities: &[Priority], links: usize, per_link: u32) -> Placement {
    let mut placement = Placement { links: vec![Vec::new(); links], left_out: Vec::new() };
    let mut topics: Vec<(Priority, TopicId)> = (0..).map(TopicId).zip(priorities).map(|(id, p)| (*p, id)).collect();
    topics.sort();
    for (_, topic) in topics {
        match placement.links.iter_mut().min_by_key(|link| link.len()) {
            Some(link) if link.len() < per_link as usize => link.push(topic),
            _ => placement.left_out.push(topic),
        }
    }
    placement
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{High, Low, Medium};

    #[test]
    fn topics_go_to_the_least_loaded_link_and_the_important_ones_first() {
        let placement = place(&[Low, High, Medium, High], 2, 10);
        assert_eq!(placement.links, [[TopicId(1), TopicId(2)], [TopicId(3), TopicId(0)]]);
        assert!(placement.left_out.is_empty());
    }

    #[test]
    fn when_slots_are_short_the_least_important_stay_out() {
        let placement = place(&[Low, High, Medium, High], 1, 3);
        assert_eq!(placement.left_out, [TopicId(0)]);
    }

    #[test]
    fn a_pool_opens_what_it_needs_between_min_and_max() {
        assert_eq!(links_wanted(10, 100, 2, 3, true), 2);
        assert_eq!(links_wanted(250, 100, 2, 3, true), 3);
        assert_eq!(links_wanted(1000, 100, 2, 3, true), 3);
        assert_eq!(links_wanted(1, 100, 2, 3, true), 2);
        assert_eq!(links_wanted(1, 100, 2, 3, false), 1, "a link with nothing to ask for would be closed");
    }
}
