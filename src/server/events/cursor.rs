//! Where the next page begins: a word that clients hand back as it is.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::query::EventQuery;
use crate::journal::Offset;
use crate::server::problem::Problem;

/// What a cursor of this version begins with.
const VERSION: u8 = 1;

/// The cursor of what follows from `next` on.
pub(super) fn write(query: &EventQuery, next: Offset) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(next.0.to_be_bytes());
    bytes.extend(query.sum().to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Where it says that the page begins.
pub(super) fn read(text: &str, query: &EventQuery) -> Result<Offset, Problem> {
    let unknown = || Problem::parameter("cursor", "`cursor` is the `next` of an answer, as it is");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| unknown())?;
    let bytes: [u8; 13] = bytes.try_into().map_err(|_| unknown())?;
    let [version, rest @ ..] = bytes;
    let (offset, sum) = rest.split_at(8);
    let (Ok(offset), Ok(sum)) = (offset.try_into(), sum.try_into()) else { return Err(unknown()) };
    if version != VERSION {
        return Err(unknown());
    }
    if u32::from_be_bytes(sum) != query.sum() {
        let detail = "`cursor` is of another question; ask with the filters that it came with, or without it";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail).with("parameter", "cursor"));
    }
    Ok(Offset(u64::from_be_bytes(offset)))
}
