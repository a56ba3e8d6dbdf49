//! The process itself.

use metrics::gauge;

super::metrics! {
    BUILD = Gauge "sluice_build_info" ["version"]
        "1, with the version as a label";
    STARTED = Gauge "sluice_start_time_seconds" []
        "When the process started, seconds since 1970";
}

/// What stays as it is until the end.
pub(super) fn begin() {
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1);
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    gauge!(STARTED).set(since_1970.as_secs_f64());
}
