//! The command-line reference, `docs/cli.md`, made from the definitions that parse the command line; a test keeps both equal.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// The whole reference as Markdown: a section a command, its usage, its arguments and options.
fn markdown(mut root: Command) -> String {
    root.build();
    let mut out = String::from(
        "# Command line\n\n\
         Generated from the definitions of the commands (`crates/cli/src`); a test keeps both equal. `ipe COMMAND --help` says \
         the same. Exit codes: 0 done, 1 tried and failed, 2 wrong use, 3 a transaction that was sent and \
         is in no block when the wait is over.\n",
    );
    section(&root, root.get_name(), &mut out);
    out
}

fn section(command: &Command, path: &str, out: &mut String) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = write!(out, "\n## `{path}`\n\n{}\n\n```text\n{usage}\n```\n", about.trim());
    let arguments: Vec<&Arg> =
        command.get_arguments().filter(|arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")).collect();
    if !arguments.is_empty() {
        out.push_str("\n| Argument or option | Meaning |\n|---|---|\n");
        for arg in arguments {
            let _ = writeln!(out, "| `{}` | {} |", form(arg), meaning(arg));
        }
    }
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        section(below, &format!("{path} {}", below.get_name()), out);
    }
}

/// `--rate <N>`, or `<FILE>` of an argument by position.
fn form(arg: &Arg) -> String {
    let values = if arg.get_action().takes_values() {
        arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ")
    } else {
        String::new()
    };
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long} {values}"),
        (None, Some(long)) => format!("--{long} {values}"),
        (Some(short), None) => format!("-{short} {values}"),
        (None, None) => values,
    }
    .trim_end()
    .to_owned()
}

/// The help text, then what it may be, its default and its variable.
fn meaning(arg: &Arg) -> String {
    let text = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if arg.get_action().takes_values() {
        let possible: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if !possible.is_empty() {
            let _ = write!(text, " [possible values: {}]", possible.join(", "));
        }
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !defaults.is_empty() {
            let _ = write!(text, " [default: {}]", defaults.join(" "));
        }
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " [env: {}]", variable.to_string_lossy());
    }
    if arg.is_required_set() && arg.get_long().is_some() {
        text.push_str(" [required]");
    }
    text.replace('|', "\\|").replace('<', "\\<")
}

#[test]
fn the_documented_command_line_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    let wanted = markdown(<crate::Cli as clap::CommandFactory>::command());
    if std::env::var_os("IPE_BLESS").is_some() {
        std::fs::write(path, &wanted).expect("docs/cli.md is writable");
    }
    let documented = std::fs::read_to_string(path).unwrap_or_default();
    assert!(documented == wanted, "docs/cli.md is not up to date; run this test with IPE_BLESS=1");
}
