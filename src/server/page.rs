//! `/`: the web page, and the files it is made of. They hold no data, so they are open; what they show they ask for with a token.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::problem::Problem;
use super::serve::Shown;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The page itself.
const INDEX: &str = "index.html";

/// Nothing but what this server has, no scripts within markup, and no script may make markup out of a string: what comes from a
/// feed stays text.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// A file as it goes out.
struct File {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    gzip: Bytes,
    /// What a browser asks by whether its own is still right.
    tag: HeaderValue,
}

impl File {
    fn new(name: &'static str, kind: &'static str, text: &'static str) -> Self {
        let tag = format!("\"{:08x}-{:x}\"", crc32c::crc32c(text.as_bytes()), text.len());
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        // Memory takes whatever is written.
        let gzip = gzip.write_all(text.as_bytes()).and_then(|()| gzip.finish()).unwrap_or_default();
        Self { name, kind, text, gzip: gzip.into(), tag: HeaderValue::try_from(tag).expect("hexadecimal digits") }
    }
}

/// All of them, packed when the first is asked for.
static FILES: LazyLock<[File; 17]> = LazyLock::new(|| {
    [
        File::new(INDEX, HTML, include_str!("page/index.html")),
        File::new("style.css", STYLE, include_str!("page/style.css")),
        File::new("theme.js", SCRIPT, include_str!("page/theme.js")),
        File::new("app.js", SCRIPT, include_str!("page/app.js")),
        File::new("api.js", SCRIPT, include_str!("page/api.js")),
        File::new("stream.js", SCRIPT, include_str!("page/stream.js")),
        File::new("dom.js", SCRIPT, include_str!("page/dom.js")),
        File::new("history.js", SCRIPT, include_str!("page/history.js")),
        File::new("charts.js", SCRIPT, include_str!("page/charts.js")),
        File::new("overview.js", SCRIPT, include_str!("page/overview.js")),
        File::new("views.js", SCRIPT, include_str!("page/views.js")),
        File::new("canary.js", SCRIPT, include_str!("page/canary.js")),
        File::new("alerts.js", SCRIPT, include_str!("page/alerts.js")),
        File::new("tail.js", SCRIPT, include_str!("page/tail.js")),
        File::new("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
        File::new("uPlot.iife.min.js", SCRIPT, include_str!("page/vendor/uPlot.iife.min.js")),
        File::new("uPlot.min.css", STYLE, include_str!("page/vendor/uPlot.min.css")),
    ]
});

/// Its routes. They are no part of the API, and its document has them not.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/", get(index)).route("/page/{file}", get(file))
}

async fn index(headers: HeaderMap) -> Response {
    answer(INDEX, &headers)
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

fn answer(name: &str, asked: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Problem::new(StatusCode::NOT_FOUND, format!("the page has no file `{name}`")).into_response();
    };
    let says = |name: HeaderName, what: &str| {
        let mut values = asked.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|part| part.trim().trim_start_matches("W/") == what))
    };
    let fixed = |text: &'static str| HeaderValue::from_static(text);
    let headers = [
        (header::CONTENT_TYPE, fixed(file.kind)),
        (header::ETAG, file.tag.clone()),
        // Kept, and asked about: after an upgrade nobody sees half of the old page.
        (header::CACHE_CONTROL, fixed("no-cache")),
        (header::VARY, fixed("accept-encoding")),
        (header::CONTENT_SECURITY_POLICY, fixed(CONTENT_SECURITY_POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), fixed("same-origin")),
    ];
    if file.tag.to_str().is_ok_and(|tag| says(header::IF_NONE_MATCH, tag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    if says(header::ACCEPT_ENCODING, "gzip") {
        return (headers, [(header::CONTENT_ENCODING, "gzip")], file.gzip.clone()).into_response();
    }
    (headers, file.text).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    /// The page as a whole, as it is before it is packed.
    const BYTES_MAX: usize = 200_000;

    #[test]
    fn the_page_is_small_and_every_file_of_its_folder_is_served() {
        assert!(FILES.iter().map(|file| file.text.len()).sum::<usize>() < BYTES_MAX);
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/page");
        let names = |folder: &std::path::Path| {
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
            let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
            files.map(|entry| entry.file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
        };
        let mut there = names(&folder);
        there.extend(names(&folder.join("vendor")).into_iter().filter(|name| name.starts_with("uPlot")));
        assert_eq!(FILES.iter().map(|file| file.name.to_owned()).collect::<BTreeSet<_>>(), there);
        for file in FILES.iter() {
            let mut text = String::new();
            GzDecoder::new(&*file.gzip).read_to_string(&mut text).unwrap();
            assert!(text == file.text, "{}", file.name);
        }
    }

    /// A page that asked another host for something would tell it of the operator, and not work without it.
    #[test]
    fn nothing_of_another_host_is_asked_for_and_no_markup_is_made_of_strings() {
        let ours = FILES.iter().filter(|file| !file.name.starts_with("uPlot"));
        for file in ours {
            for never in
                ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                let text = file.text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(never), "{} has {never}", file.name);
            }
        }
    }

    #[test]
    fn what_a_browser_has_already_is_not_sent_again() {
        let mut asked = HeaderMap::new();
        let first = answer(INDEX, &asked);
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].clone();
        asked.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"));
        assert_eq!(answer(INDEX, &asked).headers()[header::CONTENT_ENCODING], "gzip");
        asked.insert(
            header::IF_NONE_MATCH,
            HeaderValue::from_str(&format!("\"x\", W/{}", tag.to_str().unwrap())).unwrap(),
        );
        assert_eq!(answer(INDEX, &asked).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer("app.js", &asked).status(), StatusCode::OK);
        assert_eq!(answer("../page.rs", &asked).status(), StatusCode::NOT_FOUND);
    }
}
