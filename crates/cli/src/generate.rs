//! Shell completions and man pages, made from the definition that parses the command line.

use crate::failure::{Failure, Outcome};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

#[derive(Args)]
pub struct ManualArgs {
    /// Folder that gets one file a command, as `ipe-node-run.1`; it is made when absent.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Prints the script that completes `ipe` in a shell.
pub fn completions(arguments: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Cli::command(), "ipe", &mut script);
    println!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

/// Writes the pages of every command.
pub fn manual(arguments: &ManualArgs) -> Outcome {
    let failed = |error| Failure::failed(format!("could not write man pages to {}", arguments.folder.display()), error);
    std::fs::create_dir_all(&arguments.folder).map_err(failed)?;
    let mut root = crate::Cli::command().disable_help_subcommand(true).version(crate::version::short());
    root.build();
    page(&root, "ipe", &arguments.folder).map_err(failed)
}

/// The page of a command, then those of the commands below it.
fn page(command: &Command, name: &str, folder: &Path) -> std::io::Result<()> {
    let mut text = Vec::new();
    // No date: the same version gives the same bytes.
    clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .source(format!("ipe {}", crate::version::short()))
        .render(&mut text)?;
    std::fs::write(folder.join(format!("{name}.1")), text)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        page(below, &format!("{name}-{}", below.get_name()), folder)?;
    }
    Ok(())
}
