//! `docs/reference/commands.md`, of the command line's own tree.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use super::{cell, hold_current};

const HEAD: &str = "# Commands\n\n\
    Made of the program's own command line by `src/reference/commands.rs`; do not edit it by hand.\n\n\
    Each command also takes `--config FILE` (else `config/sluice.toml`, else `/etc/sluice/sluice.toml`), `--set KEY=VALUE`, which may be \
    repeated, and `--help`, which says more. Exit codes that all share are in [exit codes](../guide/commands.md#exit-codes).\n";

fn command_page(root: Command) -> String {
    let mut page = String::from(HEAD);
    let mut root = root;
    root.build();
    let _ = write!(page, "\n| command | does |\n| --- | --- |\n");
    for command in visible(&root) {
        let name = format!("sluice {}", command.get_name());
        let _ = writeln!(page, "| [`{name}`](#{}) | {} |", name.replace(' ', "-"), cell(&about(command)));
    }
    for command in visible(&root) {
        section(&mut page, "sluice", command);
    }
    page
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
}

fn about(command: &Command) -> String {
    command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default()
}

fn section(page: &mut String, above: &str, command: &Command) {
    let name = format!("{above} {}", command.get_name());
    let _ = write!(page, "\n## {name}\n\n{}.\n", about(command).trim_end_matches('.'));
    let aliases: Vec<String> = command.get_visible_aliases().map(|alias| format!("`{above} {alias}`")).collect();
    if !aliases.is_empty() {
        let _ = write!(page, "\nAlso {}.\n", aliases.join(", "));
    }
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .filter(|argument| !["config", "set", "help", "version"].contains(&argument.get_id().as_str()))
        .collect();
    if !own.is_empty() {
        let _ = write!(page, "\n| argument | means | default |\n| --- | --- | --- |\n");
    }
    for argument in own {
        let _ = writeln!(page, "| `{}` | {} | {} |", written(argument), cell(&meaning(argument)), default(argument));
    }
    for inner in visible(command) {
        section(page, &name, inner);
    }
}

/// As it is typed: `--since TIME`, `[MONITOR]...`.
fn written(argument: &Arg) -> String {
    let takes = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let values: Vec<String> = argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let values = if takes { values.join(" ") } else { String::new() };
    match (argument.get_long(), argument.get_short()) {
        (Some(long), None) => format!("--{long} {values}").trim_end().to_owned(),
        (Some(long), Some(short)) => format!("-{short}, --{long} {values}").trim_end().to_owned(),
        (None, Some(short)) => format!("-{short} {values}").trim_end().to_owned(),
        (None, None) if argument.is_required_set() => values,
        (None, None) => format!("[{values}]"),
    }
}

fn meaning(argument: &Arg) -> String {
    let mut text = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let takes = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    if takes && !values.is_empty() {
        let _ = write!(text, ": {}", values.join(", "));
    }
    text
}

fn default(argument: &Arg) -> String {
    let takes = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let values: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if takes { values.join(" ") } else { String::new() }
}

#[test]
fn the_reference_of_commands_is_what_the_command_line_takes() {
    hold_current("commands.md", &command_page(crate::cli::command()));
}
