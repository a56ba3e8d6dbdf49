//! What is made from the command line: completions and the manual.

use std::collections::BTreeSet;

use crate::support::Workplace;

/// Commands that `--help` lists.
fn listed(place: &Workplace, command: &[String]) -> Vec<String> {
    let help = place.run(command.iter().map(String::as_str).chain(["--help"]));
    assert_eq!(help.code, Some(0), "{help:?}");
    let commands = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| line.starts_with("  "));
    // Descriptions that go on in the next line are further to the right.
    let names = commands.filter_map(|line| line.strip_prefix("  ").filter(|name| !name.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Every command with those that it is inside of.
fn commands(place: &Workplace) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = listed(place, &[]).into_iter().map(|name| vec![name]).collect();
    assert!(all.len() > 20, "{all:?}");
    let mut at = 0;
    while at < all.len() {
        let command = all[at].clone();
        let inner = listed(place, &command).into_iter();
        all.extend(inner.map(|name| [command.clone(), vec![name]].concat()));
        at += 1;
    }
    all
}

#[test]
fn each_command_has_a_page_in_the_manual_and_is_completed_by_each_shell() {
    let place = Workplace::new();
    let commands = commands(&place);
    assert!(commands.iter().any(|command| *command == ["journal", "stat"]), "{commands:?}");

    let written = place.run(["man", "pages"]);
    assert_eq!(written.code, Some(0), "{written:?}");
    let pages = std::fs::read_dir(place.path("pages")).unwrap();
    let pages: BTreeSet<String> = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    let wanted = commands.iter().map(|command| format!("sluice-{}.1", command.join("-")));
    let wanted: BTreeSet<String> = wanted.chain(["sluice.1".to_owned()]).collect();
    assert_eq!(pages, wanted);
    for page in &pages {
        let text = std::fs::read_to_string(place.path("pages").join(page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    let stat = std::fs::read_to_string(place.path("pages/sluice-journal-stat.1")).unwrap();
    assert!(stat.contains("sluice\\-journal\\-stat") && stat.contains("\\-\\-output"), "{stat}");

    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(["completions", shell]);
        assert_eq!(script.code, Some(0), "{shell}: {}", script.stderr);
        for name in commands.iter().flatten() {
            assert!(script.stdout.contains(name.as_str()), "{shell} does not know {name}");
        }
    }
    assert_eq!(place.run(["completions", "tcsh"]).code, Some(2));
}
