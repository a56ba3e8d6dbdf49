//! stub
use super::*;
#[derive(Debug, Default)]
pub(super) struct KrakenSpeaker;
impl KrakenSpeaker {
    pub(super) fn new(_rng: fastrand::Rng) -> Self {
        Self
    }
}
impl Speaker for KrakenSpeaker {
    fn hear(&mut self, _t: &str, _d: &mut Desk<'_>) {}
}
pub(super) fn series(_t: &str, _s: u64, _f: u64) -> Option<Box<dyn Series>> {
    None
}
