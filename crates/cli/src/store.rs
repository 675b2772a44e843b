//! `ipe store`: looking at a node's folder without starting the node.

use crate::failure::{Failure, Outcome};
use clap::{Args, Subcommand};
use ipe_chain::kv::REMEDY;
use ipe_engine::journal;
use ipe_node::{key_file, signing_journal};
use ipe_store::check::{self, CheckError, Depth, Report};
use ipe_types::journal::{Frames, chain::Ending};
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Subcommand)]
pub enum StoreCommand {
    /// Say whether the files of a stopped node are what was written: 0 when they are, 1 when some are damaged. Reads everything once
    /// and changes nothing.
    Check(CheckArgs),
}

#[derive(Args)]
pub struct CheckArgs {
    /// The node's data folder, or a copy of its folder `database`.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Longest journal that is read: they are rewritten long before.
const MOST_JOURNAL: u64 = 256 << 20;

pub fn run(command: StoreCommand) -> Outcome {
    match command {
        StoreCommand::Check(arguments) => check(&arguments),
    }
}

fn check(arguments: &CheckArgs) -> Outcome {
    let folder = &arguments.folder;
    let inside = folder.join("database");
    let database = if inside.is_dir() { &inside } else { folder };
    let began = Instant::now();
    let report = check::check(database, Depth::Rows(u64::MAX)).map_err(|error| match error {
        CheckError::Absent { .. } => Failure::Usage(error.to_string()),
        other => Failure::Failed(other.to_string()),
    })?;
    let beside = if inside.is_dir() { beside(folder) } else { Vec::new() };
    let damaged = !report.findings.is_empty() || beside.iter().any(|file| file.damage.is_some());
    if arguments.json {
        println!("{:#}", as_json(database, &report, &beside, damaged));
    } else {
        tell(database, &report, &beside, began.elapsed().as_secs_f64());
    }
    if damaged { Err(Failure::Failed(remedy(&report, &beside))) } else { Ok(()) }
}

/// A file of the data folder that is not the database's.
struct Beside {
    name: &'static str,
    /// What there is to say of it when it is sound.
    what: &'static str,
    damage: Option<String>,
}

/// Looks at the key and at the journals.
fn beside(folder: &Path) -> Vec<Beside> {
    let mut files = Vec::new();
    let key = folder.join("key");
    if key.exists() {
        files.push(Beside { name: "key", what: "a key", damage: key_file::read(&key).err().map(|error| error.to_string()) });
    }
    let mut journal = |name: &'static str, what: &'static str, judge: fn(&[u8]) -> Option<String>| {
        let path = folder.join(name);
        if !path.exists() {
            return;
        }
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(MOST_JOURNAL).read_to_end(&mut bytes));
        let damage = match read {
            Err(error) => Some(format!("the disk does not give it back: {error}")),
            Ok(_) => judge(&bytes),
        };
        files.push(Beside { name, what, damage });
    };
    journal(signing_journal::SIGNING_JOURNAL, "whole", |bytes| match journal::ending(bytes) {
        Some(Ending::Whole | Ending::Torn) => None,
        Some(Ending::Damaged) => Some("records that were acknowledged may be lost".to_owned()),
        // Up to 0.1.0 its records were in the framing of the other journal.
        None if Frames::new(bytes).next().is_some() => None,
        None => Some("it does not begin as a signing journal".to_owned()),
    });
    journal("local-transactions.journal", "whole, or with a write at its end that was not finished", |bytes| {
        let mut frames = Frames::new(bytes);
        let records = frames.by_ref().count();
        let rest = bytes.get(frames.sound_len()..).unwrap_or_default();
        let lost = rest.len() > 8 && Frames::new(rest.get(8..).unwrap_or_default()).next().is_some();
        (lost || (records == 0 && rest.iter().any(|byte| *byte != 0)))
            .then(|| "transactions that clients gave to this node may be lost".to_owned())
    });
    files
}

fn remedy(report: &Report, beside: &[Beside]) -> String {
    let mut said = Vec::new();
    if !report.findings.is_empty() {
        said.push(format!("the database is damaged. {REMEDY}"));
    }
    for file in beside.iter().filter(|file| file.damage.is_some()) {
        said.push(match file.name {
            "key" => {
                "the key file is damaged: put back a copy of it; the node's address cannot be made again without it".to_owned()
            }
            signing_journal::SIGNING_JOURNAL => {
                "the signing journal is damaged: leave it where it is; the validator notices, abstains until that is safe, and \
                 'ipe journal show' says so. An older copy must not be put back"
                    .to_owned()
            }
            _ => "the journal of local transactions is damaged: the node starts without what is lost in it; clients can send again"
                .to_owned(),
        });
    }
    said.join("\n")
}

fn tell(database: &Path, report: &Report, beside: &[Beside], seconds: f64) {
    println!("database  {}", database.display());
    println!("read      {} files, {} bytes in {seconds:.1} s", report.files, report.bytes);
    for finding in &report.findings {
        println!("damaged   {finding}");
    }
    if report.more > 0 {
        println!("damaged   {} more files", report.more);
    }
    for note in &report.notes {
        println!("note      {note}");
    }
    if report.findings.is_empty() {
        println!("database  sound: every file is what was written");
    }
    for file in beside {
        match &file.damage {
            None => println!("{:<9} {}", "sound", format_args!("{}: {}", file.name, file.what)),
            Some(damage) => println!("{:<9} {}", "damaged", format_args!("{}: {damage}", file.name)),
        }
    }
}

fn as_json(database: &Path, report: &Report, beside: &[Beside], damaged: bool) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| json!({ "file": finding.file, "table": finding.table, "what": finding.what }))
        .collect();
    let beside: Vec<_> = beside.iter().map(|file| json!({ "file": file.name, "damage": file.damage })).collect();
    json!({
        "database": database,
        "sound": !damaged,
        "files": report.files,
        "bytes": report.bytes,
        "damaged": findings,
        "moreDamaged": report.more,
        "notes": report.notes,
        "beside": beside,
    })
}
