//! A request's body, read whole before a handler sees it: bounded as it comes and unpacked, and in time.

use std::io::Read as _;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::problem::Problem;

/// What is held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// Bytes, both as they come and unpacked.
    pub(super) bytes_max: usize,
    /// The longest it may take to come.
    pub(super) timeout: Duration,
}

pub(super) async fn whole(State(limits): State<BodyLimits>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    match read(&parts.headers, body, limits).await {
        Ok(body) => {
            parts.headers.remove(header::CONTENT_ENCODING);
            parts.headers.remove(header::TRANSFER_ENCODING);
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            next.run(Request::from_parts(parts, Body::from(body))).await
        }
        Err(refusal) => {
            let mut response = refusal.into_response();
            // What is left of the body is not waited for.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

async fn read(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Bytes, Problem> {
    let BodyLimits { bytes_max, timeout } = limits;
    let too_large = || {
        let detail = format!("the body is larger than the {bytes_max} bytes of `server.body_max`");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).with("bytes_max", bytes_max)
    };
    let unsupported = |detail: &str| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    let gzip = match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(_) => return unsupported("bodies are taken as they are or packed by gzip; see `Content-Encoding`"),
    };
    if let Some(media) = headers.get(header::CONTENT_TYPE) {
        let media = media.to_str().unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if media != "application/json" && !media.ends_with("+json") {
            return unsupported("bodies are JSON; send `Content-Type: application/json`");
        }
    }
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let packed = match tokio::time::timeout(timeout, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(packed)) => packed.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => {
            let detail = format!("the body cannot be read: {error}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
        Err(_) => {
            let detail = format!("the body did not come within the {} s of `server.body_timeout`", timeout.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
        }
    };
    if !gzip {
        return Ok(packed);
    }
    // At most as much as a body may be: a millisecond or two.
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(&packed[..]).take(bytes_max as u64 + 1).read_to_end(&mut unpacked);
    read.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not whole gzip: {error}")))?;
    if unpacked.len() > bytes_max { Err(too_large()) } else { Ok(unpacked.into()) }
}
