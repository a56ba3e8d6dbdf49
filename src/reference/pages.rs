//! What `README.md` and `docs` say, held against what is there: links, commands, runbooks, files of others' forms.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use super::{project_file, project_path};
use crate::alert::AlertKind;

/// Every file below a folder of the project, as paths from the project's root.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(project_path(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().display());
        if entry.file_type().unwrap().is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The pages that people read.
fn pages() -> Vec<String> {
    let pages = files("docs").into_iter().filter(|path| Path::new(path).extension().is_some_and(|end| end == "md"));
    ["README.md".to_owned()].into_iter().chain(pages).collect()
}

/// Lines that are prose, and those of code with what the block says it is.
fn lines(text: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let mut block = None;
    text.lines().filter_map(move |line| match (block, line.trim_start().strip_prefix("```")) {
        (None, Some(language)) => {
            block = Some(language);
            None
        }
        (Some(_), Some(_)) => {
            block = None;
            None
        }
        (block, None) => Some((block, line)),
    })
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (_, line) in lines(text).filter(|(block, line)| block.is_none() && line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|&letter| letter.is_alphanumeric() || "-_ ".contains(letter));
        let anchor: String = kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let count = counts.entry(anchor.clone()).or_default();
        found.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    found
}

/// The targets of a line's links; what is in backticks is no link.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let prose = line.split('`').step_by(2);
    prose.flat_map(|prose| prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()))
}

fn resolved(page: &str, target: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in Path::new(page).parent().unwrap_or(Path::new("")).join(target).components() {
        match part {
            Component::ParentDir => _ = path.pop(),
            part => path.push(part),
        }
    }
    path
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = project_file(&page);
        // A link's text may hold code, so links are looked for in the whole line as well.
        for (_, line) in lines(&text).filter(|(block, _)| block.is_none()) {
            let code_as_text = line.replace("`](", "](");
            for target in targets(&code_as_text).chain(targets(line)).collect::<BTreeSet<_>>() {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let path = if file.is_empty() { PathBuf::from(&page) } else { resolved(&page, file) };
                let there = project_path(&path.to_string_lossy());
                let leads = if anchor.is_empty() {
                    there.exists()
                } else {
                    fs::read_to_string(&there).is_ok_and(|text| anchors(&text).contains(anchor))
                };
                if !leads {
                    broken.push(format!("{page}: {target}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_page_can_be_reached_from_the_index() {
    let mut reached = BTreeSet::from([PathBuf::from("docs/README.md")]);
    let mut left = vec!["docs/README.md".to_owned()];
    while let Some(page) = left.pop() {
        for (_, line) in lines(&project_file(&page)).filter(|(block, _)| block.is_none()) {
            let line = line.replace('`', "");
            for target in targets(&line).filter(|target| !target.contains("://")) {
                let path = resolved(&page, target.split('#').next().unwrap_or_default());
                let is_page = path.starts_with("docs") && path.extension().is_some_and(|end| end == "md");
                if is_page && reached.insert(path.clone()) {
                    left.push(path.to_string_lossy().into_owned());
                }
            }
        }
    }
    let lost: Vec<_> =
        pages().into_iter().filter(|page| page.starts_with("docs/") && !reached.contains(Path::new(page))).collect();
    assert!(lost.is_empty(), "no way leads from docs/README.md to {lost:?}");
}

/// The commands of ours in a line of a shell, without what redirects and joins them.
fn our_commands(line: &str) -> Vec<Vec<String>> {
    let Some(words) = shlex::split(line) else { return Vec::new() };
    let ends = |word: &String| ["|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1"].contains(&word.as_str());
    let commands = words.split(ends).filter_map(|part| {
        let at = part.iter().position(|word| word == "sluice" || word.ends_with("/sluice"))?;
        // Only what may stand before a command: variables, and programs that run others.
        let before = &part[..at];
        let runs = |word: &String| {
            word.contains('=') || ["$", "sudo", "env", "exec", "nohup", "if", "!"].contains(&word.as_str())
        };
        let words = part[at..].iter().map(|word| word.trim_end_matches(';').to_owned()).filter(|word| !word.is_empty());
        before.iter().all(runs).then(|| words.collect())
    });
    commands.collect()
}

/// What a page has in its blocks for a shell, a command a line, and in backticks where that begins with our name. A `…` stands for more,
/// and what is substituted for anything.
fn shown_commands(text: &str) -> Vec<String> {
    let mut shown = Vec::new();
    let mut whole = String::new();
    for (block, line) in lines(text) {
        match block {
            Some("sh" | "bash" | "console") => {
                whole.push_str(line.strip_suffix('\\').unwrap_or(line));
                if !line.ends_with('\\') {
                    shown.push(std::mem::take(&mut whole));
                }
            }
            Some(_) => {}
            None => {
                let code = line.split('`').skip(1).step_by(2);
                shown.extend(
                    code.filter(|code| code.starts_with("sluice ") && !code.contains(['…', '|'])).map(str::to_owned),
                );
            }
        }
    }
    shown.iter().map(|line| without_substitutions(line)).collect()
}

fn without_substitutions(line: &str) -> String {
    let mut parts = line.split("$(");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| whole + "x" + part.split_once(')').map_or("", |(_, rest)| rest))
}

#[test]
fn every_command_shown_is_one_that_the_program_has() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = project_file(&page);
        for command in shown_commands(&text).iter().flat_map(|line| our_commands(line)) {
            count += 1;
            if let Err(error) = crate::cli::command().try_get_matches_from(&command)
                && error.use_stderr()
            {
                let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
                wrong.push(format!("{page}: {}\n    {reason}", command.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "commands that are none:\n{}", wrong.join("\n"));
    assert!(count > 100, "the commands of the documentation were not found");
}

#[test]
fn every_type_of_alert_has_a_runbook_and_none_is_left_over() {
    let kinds: BTreeSet<String> =
        AlertKind::ALL.iter().map(|kind| format!("docs/runbooks/{}.md", kind.as_str())).collect();
    let mut pages: BTreeSet<String> = files("docs/runbooks").into_iter().collect();
    assert!(pages.remove("docs/runbooks/README.md"), "there is no index of the runbooks");
    assert_eq!(pages, kinds);
    let index = project_file("docs/runbooks/README.md");
    for kind in AlertKind::ALL {
        let name = kind.as_str();
        assert!(index.contains(&format!("[`{name}`]({name}.md)")), "{name} is not in the index");
        let page = project_file(&format!("docs/runbooks/{name}.md"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        let wanted = ["What it means", "Impact", "Look", "Mend", "Silence", "Tune"];
        let parts: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(parts, wanted, "{name}");
        assert!(page.contains(&format!("Severity: {}", kind.severity().as_str())), "{name} says another severity");
    }
}

#[test]
fn the_examples_for_build_servers_are_of_their_form() {
    for path in files("docs/ci") {
        let text = project_file(&path);
        match Path::new(&path).extension().and_then(|end| end.to_str()) {
            Some("yml" | "yaml") => {
                for event in saphyr_parser::Parser::new_from_str(&text) {
                    event.unwrap_or_else(|error| panic!("{path}: {error}"));
                }
            }
            Some("md") => {}
            _ if text.starts_with("#!/usr/bin/env bash\n") => {
                let outcome = Command::new("bash").arg("-n").arg(project_path(&path)).output().expect("bash");
                assert!(outcome.status.success(), "{path}: {}", String::from_utf8_lossy(&outcome.stderr));
            }
            _ => assert!(path.ends_with("/Jenkinsfile"), "nobody checks {path}"),
        }
    }
    let pipeline = project_file("docs/ci/Jenkinsfile");
    let count = |mark: char| pipeline.chars().filter(|&letter| letter == mark).count();
    assert_eq!(count('{'), count('}'), "braces of docs/ci/Jenkinsfile");
    assert!(pipeline.starts_with("pipeline {") || pipeline.contains("\npipeline {"));
}
