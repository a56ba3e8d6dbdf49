//! The report for people, and as rows for a table.

use super::account::{Figure, OperatingReport, Section};
use crate::report::{Cell, Chart, Mark, Report, ReportTable, short_time};
use crate::rollout::report::{TargetVerdict, percent, seconds};

impl Figure {
    /// A value of this figure's unit for people.
    fn text(&self, value: f64) -> String {
        match self.unit.as_str() {
            "share" => percent(value),
            "seconds" if value >= 120.0 => {
                humantime::format_duration(std::time::Duration::from_secs_f64(value.round())).to_string()
            }
            "seconds" => seconds(value),
            "bytes" => bytes(value),
            "bytes_per_hour" => format!("{}{} an hour", if value < 0.0 { "-" } else { "+" }, bytes(value.abs())),
            "per_second" => format!("{value:.1} a second"),
            "change" => format!("{:+.1} %", value * 100.0),
            "points" => format!("{:+.3} %", value * 100.0),
            "difference" => format!("{value:+.0}"),
            _ => format!("{value:.0}"),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size that is not negative")]
fn bytes(value: f64) -> String {
    bytesize::ByteSize(value as u64).display().iec().to_string()
}

impl OperatingReport {
    /// For people.
    pub fn report(&self) -> Report {
        let not_met = self.figures.iter().filter(|figure| figure.verdict == Some(TargetVerdict::NotMet)).count();
        let (text, mark) = match self.verdict {
            TargetVerdict::Met => ("all targets are met".to_owned(), Mark::Good),
            TargetVerdict::NotMet => (format!("{not_met} figures do not meet their target"), Mark::Bad),
            TargetVerdict::Unknown => {
                ("not all that has a target is known; what is known meets it".to_owned(), Mark::Unknown)
            }
        };
        let time = |time: &str| Cell::from(short_time(time, 0));
        let mut facts = vec![
            ("from".into(), time(&self.since)),
            ("to".into(), time(&self.until)),
            ("known from".into(), time(&self.known_from)),
            ("daemon".into(), Cell::from(if self.running { "running" } else { "not running" })),
            ("made".into(), Cell::from(format!("{} by sluice {}", short_time(&self.made, 0), self.version))),
        ];
        if let Some([from, to]) = &self.compared_with {
            facts.push(("compared with".into(), format!("{} to {}", short_time(from, 0), short_time(to, 0)).into()));
        }
        let mut tables: Vec<ReportTable> = Section::ALL.into_iter().map(|section| self.table(section)).collect();
        tables.push(self.restart_table());
        tables.push(self.hour_table());
        Report {
            title: "How Sluice did".into(),
            verdict: Cell::marked(text, mark),
            facts,
            tables,
            charts: self.charts(),
            notes: self.notes.clone(),
        }
    }

    fn table(&self, section: Section) -> ReportTable {
        let compared = self.compared_with.is_some();
        let mut columns = vec!["Figure", "Value", "Target", "Verdict", "Why"];
        if compared {
            columns.splice(2..2, ["Before", "Change"]);
        }
        let rows = self.figures.iter().filter(|figure| figure.section == section).map(|figure| {
            let value = match figure.value {
                Some(value) => Cell::from(figure.text(value)),
                None => Cell::marked("unknown", Mark::Unknown),
            };
            let mut row = vec![figure.name.replace('_', " ").into(), value];
            if compared {
                row.push(figure.before.map_or_else(|| "-".into(), |before| figure.text(before).into()));
                row.push(figure.change().into());
            }
            row.push(figure.target.clone().unwrap_or_default().into());
            row.push(
                figure.verdict.map_or_else(Cell::default, |verdict| Cell::marked(verdict.as_str(), verdict.mark())),
            );
            row.push(figure.reason.clone().unwrap_or_default().into());
            row
        });
        let heading = section.as_str().replace('_', " ");
        let heading = heading.split_at(1);
        ReportTable { heading: heading.0.to_uppercase() + heading.1, columns, rows: rows.collect() }
    }

    fn restart_table(&self) -> ReportTable {
        let rows = self.restarts.iter().map(|row| {
            vec![
                short_time(&row.down, 3).into(),
                row.ending.as_str().into(),
                short_time(&row.started, 3).into(),
                short_time(&row.ready, 3).into(),
                seconds(row.seconds_to_ready).into(),
                row.seconds_to_first_durable_event.map_or_else(|| Cell::from("-"), |span| seconds(span).into()),
            ]
        });
        ReportTable {
            heading: "Restarts".into(),
            columns: vec!["Down", "Ended", "Started", "Ready", "Recovered", "First durable event"],
            rows: rows.collect(),
        }
    }

    fn hour_table(&self) -> ReportTable {
        let known = |value: Option<f64>, shown: fn(f64) -> String| {
            value.map_or_else(|| Cell::from("-"), |value| shown(value).into())
        };
        let rows = self.hours.iter().map(|row| {
            vec![
                short_time(&row.start, 0).into(),
                row.events.to_string().into(),
                known(row.events_per_second, |rate| format!("{rate:.1}")),
                known(row.parse_rate, percent),
                row.quarantined.to_string().into(),
            ]
        });
        ReportTable {
            heading: "By hour".into(),
            columns: vec!["Hour", "Events", "Events a second", "Parse rate", "Quarantined"],
            rows: rows.collect(),
        }
    }

    fn charts(&self) -> Vec<Chart> {
        // Of one hour there is no curve.
        if self.hours.len() < 2 {
            return Vec::new();
        }
        let points = |value: &dyn Fn(&super::HourRow) -> Option<f64>| {
            self.hours.iter().map(|row| (short_time(&row.start, 0), value(row))).collect()
        };
        #[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
        let quarantined = |row: &super::HourRow| Some(row.quarantined as f64);
        vec![
            Chart {
                heading: "Events a second".into(),
                points: points(&|row| row.events_per_second),
                shown: |rate| format!("{rate:.1}"),
                target: Some(crate::rollout::report::Targets::default().throughput),
            },
            Chart {
                heading: "Parse rate".into(),
                points: points(&|row| row.parse_rate),
                shown: percent,
                target: Some(crate::rollout::report::Targets::default().parse_rate),
            },
            Chart {
                heading: "Quarantined".into(),
                points: points(&quarantined),
                shown: |count| format!("{count:.0}"),
                target: None,
            },
        ]
    }

    /// As comma-separated values: section, name, value, unit, target, verdict, and what it is compared with.
    ///
    /// # Errors
    /// When a row cannot be written, which memory never refuses.
    pub fn csv(&self) -> Result<String, csv::Error> {
        let mut rows = csv::Writer::from_writer(Vec::new());
        let compared = self.compared_with.is_some();
        let mut put = |cells: [&str; 6], before: &str| {
            let more = compared.then_some(before);
            rows.write_record(cells.into_iter().chain(more))
        };
        put(["section", "name", "value", "unit", "target", "verdict"], "before")?;
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        for figure in &self.figures {
            let value = figure.value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
            let verdict = figure.verdict.map_or("", TargetVerdict::as_str);
            let target = figure.target.as_deref().unwrap_or_default();
            let cells = [figure.section.as_str(), &figure.name, &value, &figure.unit, target, verdict];
            put(cells, &number(figure.before))?;
        }
        for row in &self.hours {
            let values = [
                ("events", row.events.to_string(), "count"),
                ("parse_rate", number(row.parse_rate), "share"),
                ("quarantined", row.quarantined.to_string(), "count"),
            ];
            for (what, value, unit) in values {
                put(["hours", &format!("{what} at {}", row.start), &value, unit, "", ""], "")?;
            }
        }
        let bytes = rows.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
        Ok(String::from_utf8(bytes).unwrap_or_default())
    }
}

impl Figure {
    /// Against what it is compared with.
    fn change(&self) -> String {
        match (self.value, self.before) {
            (Some(now), Some(before)) if self.unit == "share" => format!("{:+.3} %", (now - before) * 100.0),
            (Some(now), Some(before)) if before != 0.0 => format!("{:+.1} %", (now / before - 1.0) * 100.0),
            _ => "-".to_owned(),
        }
    }
}
