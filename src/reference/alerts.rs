//! `docs/reference/alerts.md`, of the types of alerts.

use std::fmt::Write as _;

use super::hold_current;
use crate::alert::AlertKind;

fn alerts_page() -> String {
    let mut page = String::from(
        "# Alerts\n\nMade of the rules by `src/reference/alerts.rs`; do not edit it by hand.\n\n| type | severity |\n| --- | --- |\n",
    );
    for kind in AlertKind::ALL {
        let name = kind.as_str();
        let _ = writeln!(page, "| [`{name}`](../runbooks/{name}.md) | {} |", kind.severity().as_str());
    }
    page
}

#[test]
fn the_reference_of_alerts_has_every_type() {
    hold_current("alerts.md", &alerts_page());
}
