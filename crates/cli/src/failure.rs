//! How a command ends when it does not succeed: a sentence and an exit code.

use std::fmt::Display;
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command line or a settings file is wrong: exit code 2.
    Usage(String),
    /// It was tried and failed: exit code 1.
    Failed(String),
    /// It was begun and is not at its end when the wait is over: exit code 3.
    Unfinished(String),
    /// It failed and has already said so (as JSON, say): exit code 1.
    Told,
}

impl Failure {
    /// Prints the sentence and gives the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Failure::Usage(message) => {
                eprintln!("ipe: {message}");
                ExitCode::from(2)
            }
            Failure::Failed(message) => {
                eprintln!("ipe: {message}");
                ExitCode::from(1)
            }
            Failure::Unfinished(message) => {
                eprintln!("ipe: {message}");
                ExitCode::from(3)
            }
            Failure::Told => ExitCode::from(1),
        }
    }

    /// A failed attempt: what was done, and what came of it.
    pub fn failed(doing: impl Display, error: impl Display) -> Failure {
        Failure::Failed(format!("{doing}: {error}"))
    }
}

/// The result of a command.
pub type Outcome = Result<(), Failure>;

impl From<ipe_node::config::ConfigError> for Failure {
    fn from(error: ipe_node::config::ConfigError) -> Failure {
        Failure::Usage(error.to_string())
    }
}

/// Prints to standard output; a reader that has gone away (`ipe lab status | head`) is no failure.
pub fn print(text: &str) -> Outcome {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed("could not write to standard output", error))
        }
        _ => Ok(()),
    }
}

/// Prints a line; what nobody reads any more is not missed, and what went wrong with the output shows in the exit code
/// of whoever reads it.
pub fn say(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
