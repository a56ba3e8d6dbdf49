use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as TheirAny;
use opentelemetry_proto::tonic::metrics::v1::metric::Data as TheirData;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as TheirNumber;

use super::*;
use crate::telemetry::metrics::Kind;

const STARTED: UnixNanos = UnixNanos(1_000);
const NOW: UnixNanos = UnixNanos(2_000);

fn family(name: &str, kind: Kind, values: Vec<Value>) -> Family {
    let labels = |index: usize| vec![("monitor".to_owned(), format!("m{index}"))];
    let series = values.into_iter().enumerate().map(|(index, value)| Series { labels: labels(index), value }).collect();
    Family { name: name.into(), kind, help: "What it is".into(), series }
}

fn decoded(request: &MetricsRequest) -> Vec<opentelemetry_proto::tonic::metrics::v1::Metric> {
    let mut request = ExportMetricsServiceRequest::decode(&request.encode_to_vec()[..]).unwrap();
    let mut resource = request.resource_metrics.remove(0);
    assert_eq!(resource.resource.unwrap().attributes[0].key, "service.name");
    resource.scope_metrics.remove(0).metrics
}

#[test]
fn what_opentelemetry_s_own_types_read_is_what_was_measured() {
    let histogram = Value::Histogram { bounds: &[0.5, 1.0], counts: vec![1, 2, 4], sum: 7.25 };
    let families = [
        family("sluice_a_bytes_total", Kind::Counter, vec![Value::Counter(3), Value::Counter(4)]),
        family("sluice_b", Kind::Gauge, vec![Value::Gauge(f64::NAN), Value::Gauge(-1.5)]),
        family("sluice_c_seconds", Kind::Histogram, vec![histogram]),
        family("sluice_d", Kind::Gauge, vec![Value::Gauge(f64::NAN)]),
    ];
    let requests = requests(&families, STARTED, NOW);
    assert_eq!(requests.len(), 1);
    let metrics = decoded(&requests[0]);
    assert_eq!(
        metrics.iter().map(|metric| &metric.name[..]).collect::<Vec<_>>(),
        ["sluice_a_bytes_total", "sluice_b", "sluice_c_seconds"]
    );
    assert_eq!((&metrics[0].unit[..], &metrics[0].description[..]), ("By", "What it is"));
    let Some(TheirData::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    assert_eq!((sum.data_points[1].start_time_unix_nano, sum.data_points[1].time_unix_nano), (1_000, 2_000));
    assert_eq!(sum.data_points[1].value, Some(TheirNumber::AsInt(4)));
    assert_eq!(sum.data_points[1].attributes[0].key, "monitor");
    let Some(TheirData::Gauge(gauge)) = &metrics[1].data else { panic!("{metrics:?}") };
    assert_eq!(gauge.data_points.len(), 1, "what is not known is left out");
    assert_eq!(gauge.data_points[0].value, Some(TheirNumber::AsDouble(-1.5)));
    let Some(TheirData::Histogram(histogram)) = &metrics[2].data else { panic!("{metrics:?}") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum), (7, Some(7.25)));
    assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[1, 2, 4][..], &[0.5, 1.0][..]));
    assert_eq!(&metrics[2].unit, "s");
}

#[test]
fn a_request_holds_a_bounded_number_of_points() {
    let families = [family("sluice_a_total", Kind::Counter, (0..12_000).map(Value::Counter).collect())];
    let requests = requests(&families, STARTED, NOW);
    let points = requests.iter().map(|request| match &decoded(request)[0].data {
        Some(TheirData::Sum(sum)) => sum.data_points.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(points.collect::<Vec<_>>(), [5_000, 5_000, 2_000]);
}

#[test]
fn an_own_event_is_a_log_record_with_its_text_as_it_stands_in_the_journal() {
    let event = OwnEvent {
        offset: 7,
        monitor: "gaps".into(),
        topic: "gap".into(),
        at: UnixNanos(1_500),
        text: r#"{"cause":"lost"}"#.into(),
    };
    let request = logs(&[event], NOW);
    let request = ExportLogsServiceRequest::decode(&request.encode_to_vec()[..]).unwrap();
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (1_500, 2_000));
    assert_eq!(
        (record.severity_number, &record.severity_text[..], &record.event_name[..]),
        (13, "WARN", "sluice.gaps")
    );
    let body = record.body.as_ref().and_then(|body| body.value.clone());
    assert_eq!(body, Some(TheirAny::StringValue(r#"{"cause":"lost"}"#.into())));
    let offset = record.attributes.iter().find(|attribute| attribute.key == "sluice.offset").unwrap();
    assert_eq!(offset.value.as_ref().and_then(|value| value.value.clone()), Some(TheirAny::IntValue(7)));
}
