//! A market that does not exist: prices that walk, sizes, sides and growing ids.

/// One instrument's market.
#[derive(Debug, Clone)]
pub(super) struct Market {
    pub(super) rng: fastrand::Rng,
    /// In ticks.
    price: i64,
    /// Ticks in the spread.
    spread: i64,
    decimals: u32,
    last_id: u64,
}

/// A number that depends on a text and the seed only.
pub(super) fn hash(seed: u64, text: &str) -> u64 {
    // FNV-1a, finished by a round of splitmix64: stable from build to build, which std's hashers do not promise.
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    mix(hash)
}

/// One round of splitmix64.
pub(super) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `0x` and so many bytes in hex that depend on `number` only.
pub(super) fn hex(number: u64, bytes: usize) -> String {
    let mut text = String::from("0x");
    let mut state = number;
    while text.len() < 2 + 2 * bytes {
        state = mix(state);
        let digits = format!("{state:016x}");
        text.push_str(&digits[..digits.len().min(2 + 2 * bytes - text.len())]);
    }
    text
}

impl Market {
    /// The market of `symbol` as `topic` shows it. All topics of a symbol begin at about the same price.
    pub(super) fn new(topic: &str, symbol: &str, seed: u64, first_id: u64) -> Self {
        const KNOWN: [(&str, i64, u32); 6] = [
            ("BTC", 6_183_763, 2),
            ("XBT", 6_183_763, 2),
            ("ETH", 268_450, 2),
            ("SOL", 15_537, 2),
            ("BNB", 51_230, 2),
            ("XRP", 61_240, 5),
        ];
        let upper = symbol.to_ascii_uppercase();
        let (price, decimals) = KNOWN.iter().find(|(name, ..)| upper.starts_with(name)).map_or_else(
            || (1_000 + (hash(0, &upper) % 900_000).cast_signed(), 4),
            |(_, price, decimals)| (*price, *decimals),
        );
        Self { rng: fastrand::Rng::with_seed(hash(seed, topic)), price, spread: 1, decimals, last_id: first_id }
    }

    /// The next id.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The id given last.
    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Passes over ids that are not shown; gives the first of the span that ends with the id given last.
    pub(super) fn skip_ids(&mut self, most: u64) -> u64 {
        let first = self.last_id + 1;
        self.last_id = first + self.rng.u64(0..=most);
        first
    }

    /// Moves the price a little.
    pub(super) fn step(&mut self) {
        let reach = (self.price / 20_000).max(1);
        self.price = (self.price + self.rng.i64(-reach..=reach)).max(10);
        self.spread = self.rng.i64(1..=3);
    }

    /// The price, `places` decimals long at least.
    pub(super) fn price(&self, places: u32) -> String {
        self.ticks(0, places)
    }

    /// The price of a level: 0 and up are asks, below 0 bids.
    pub(super) fn level(&self, level: i64, places: u32) -> String {
        self.ticks(if level >= 0 { self.spread + level } else { level + 1 }, places)
    }

    fn ticks(&self, offset: i64, places: u32) -> String {
        let price = (self.price + offset).max(1);
        let scale = 10_i64.pow(self.decimals);
        let (whole, part) = (price / scale, price % scale);
        let zeros = places.saturating_sub(self.decimals) as usize;
        format!("{whole}.{part:0width$}{:0<zeros$}", "", width = self.decimals as usize)
    }

    /// A size with so many decimals.
    pub(super) fn size(&mut self, places: u32) -> String {
        let scale = 10_u64.pow(places);
        // Small sizes are common, large ones rare.
        let reach = [scale / 100, scale / 10, scale, 10 * scale][self.rng.usize(0..4)].max(2);
        let size = self.rng.u64(1..reach);
        if places == 0 {
            size.to_string()
        } else {
            format!("{}.{:0width$}", size / scale, size % scale, width = places as usize)
        }
    }

    /// One of two, evenly.
    pub(super) fn coin(&mut self) -> bool {
        self.rng.bool()
    }

    /// How many trades come in one message: mostly one.
    pub(super) fn batch(&mut self) -> u64 {
        if self.rng.u8(0..10) == 0 { self.rng.u64(2..=4) } else { 1 }
    }

    /// Levels of a book: a price and a size, or a size of zero for one that is gone.
    pub(super) fn levels(&mut self, side: Side, most: i64, style: LevelStyle) -> String {
        let count = self.rng.i64(0..=most);
        self.exact_levels(side, count, style)
    }

    /// So many levels of a book.
    pub(super) fn exact_levels(&mut self, side: Side, count: i64, style: LevelStyle) -> String {
        let mut text = String::from("[");
        let mut depth = 0;
        for index in 0..count {
            depth += self.rng.i64(1..=4);
            let price = self.level(if side == Side::Ask { depth } else { -depth }, style.price_places);
            let gone = style.zeros && self.rng.u8(0..4) == 0;
            let amount = if gone { zero(style.size_places) } else { self.size(style.size_places) };
            let comma = if index > 0 { "," } else { "" };
            text.push_str(comma);
            text.push_str(&(style.write)(&price, &amount));
        }
        text.push(']');
        text
    }
}

fn zero(places: u32) -> String {
    if places == 0 { String::from("0") } else { format!("0.{:0<width$}", "", width = places as usize) }
}

/// A side of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Bid,
    Ask,
}

/// How levels are written.
#[derive(Clone, Copy)]
pub(super) struct LevelStyle {
    pub(super) price_places: u32,
    pub(super) size_places: u32,
    /// Whether levels that are gone are among them.
    pub(super) zeros: bool,
    pub(super) write: fn(&str, &str) -> String,
}

/// `["price","size"]`
pub(super) fn pair(price: &str, size: &str) -> String {
    format!(r#"["{price}","{size}"]"#)
}
