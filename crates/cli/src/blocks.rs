//! `ipe blocks`: moving chains as files of concatenated block RLP, Besu's format.

use crate::failure::{Failure, Outcome};
use alloy_primitives::Bytes;
use clap::{Args, Subcommand};
use ipe_chain::{BulkError, BulkStep, Ledger, LedgerError};
use ipe_store::{DiskSettings, FjallStore};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Most bytes of one block in a file. Besu's frames end at 16 MiB and EIP-7934 at 10 MiB, so nothing valid is larger,
/// and a damaged length cannot ask for all memory.
const MAX_BLOCK_BYTES: u64 = 32 * 1024 * 1024;

/// How often progress is printed.
const PROGRESS: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub enum BlocksCommand {
    /// Import a file; goes on where an earlier import stopped, ends at the first invalid block and keeps all before it.
    Import(ImportArgs),
    /// Export blocks to a file.
    Export(ExportArgs),
}

#[derive(Args)]
pub struct ImportArgs {
    #[command(flatten)]
    place: Place,
    /// File of blocks; - = standard input.
    file: PathBuf,
    /// Wait for the disk after every block, as a running node does, instead of once at the end.
    #[arg(long)]
    durable: bool,
}

#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    place: Place,
    /// File to write; - = standard output. Never overwrites.
    file: PathBuf,
    /// First block.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Last block, the newest when absent.
    #[arg(long)]
    to: Option<u64>,
}

#[derive(Args)]
pub struct Place {
    /// Genesis file of the chain.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Data folder of a node that is not running.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Place {
    fn open(&self, durable: bool) -> Result<(Ledger, Arc<FjallStore>), Failure> {
        let spec = crate::genesis::load(&self.genesis)?;
        for warning in spec.warnings() {
            eprintln!("warning: {}: {warning}", self.genesis.display());
        }
        let folder = self.data_dir.join("database");
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Failed(format!("could not open the chain in {}: {error}", self.data_dir.display()))
        };
        std::fs::create_dir_all(&self.data_dir).map_err(|error| failed(&error))?;
        let settings = DiskSettings { durable, ..DiskSettings::default() };
        let store = Arc::new(FjallStore::open(&folder, settings).map_err(|error| failed(&error))?);
        let ledger = Ledger::open(store.clone(), Arc::new(spec)).map_err(|error| failed(&error))?;
        Ok((ledger, store))
    }
}

pub fn run(command: BlocksCommand) -> Outcome {
    match command {
        BlocksCommand::Import(arguments) => import(&arguments),
        BlocksCommand::Export(arguments) => export(&arguments),
    }
}

/// Set on Ctrl-C, so that a long import ends after the block in hand.
fn stop_on_interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = crate::node::runtime()?;
    let interrupted = runtime.block_on(async { crate::node::interrupted() })?;
    std::thread::spawn(move || {
        runtime.block_on(interrupted);
        flag.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

fn import(arguments: &ImportArgs) -> Outcome {
    let (ledger, store) = arguments.place.open(arguments.durable)?;
    let (input, total): (Box<dyn Read + Send>, Option<u64>) = if arguments.file == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(&arguments.file)
            .map_err(|error| Failure::failed(format!("could not open {}", arguments.file.display()), error))?;
        let total = file.metadata().ok().map(|metadata| metadata.len());
        (Box::new(file), total)
    };
    let stop = stop_on_interrupt()?;
    let began = Instant::now();
    let mut shown = began;
    let (mut skipped, mut imported, mut transactions, mut gas) = (0_u64, 0_u64, 0_u64, 0_u64);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    let result = ledger.import_stream(BlockReader::new(input), now_ms, &mut |step| {
        let height = match step {
            BulkStep::Skipped { number } => {
                skipped += 1;
                *number
            }
            BulkStep::Imported(done) => {
                imported += 1;
                transactions += done.block.body.transactions.len() as u64;
                gas += done.block.header.gas_used;
                done.number()
            }
        };
        if shown.elapsed() >= PROGRESS {
            shown = Instant::now();
            let rate = transactions as f64 / began.elapsed().as_secs_f64();
            eprintln!("block {height}: {imported} imported, {skipped} already here, {transactions} transactions, {rate:.0}/s");
        }
        !stop.load(Ordering::Relaxed)
    });
    store.sync().map_err(|error| Failure::failed("could not make the imported blocks durable", error))?;
    let seconds = began.elapsed().as_secs_f64();
    let head = ledger.head();
    let interrupted = result.is_ok() && stop.load(Ordering::Relaxed);
    let (error, rule) = match &result {
        Ok(()) => (None, None),
        Err(error) => (Some(error.to_string()), broken_rule(error)),
    };
    if arguments.place.json {
        let told = json!({
            "file": arguments.file,
            "fileBytes": total,
            "number": head.number,
            "hash": head.hash,
            "stateRoot": head.header.state_root,
            "imported": imported,
            "skipped": skipped,
            "transactions": transactions,
            "gas": gas,
            "seconds": seconds,
            "transactionsPerSecond": transactions as f64 / seconds.max(1e-9),
            "interrupted": interrupted,
            "error": error,
            "rule": rule,
        });
        println!("{told:#}");
    } else {
        println!(
            "{imported} blocks imported, {skipped} already here, {transactions} transactions in {seconds:.2} s ({:.0}/s)",
            transactions as f64 / seconds.max(1e-9)
        );
        println!("block {} {} state {}", head.number, head.hash, head.header.state_root);
    }
    match error {
        None if interrupted => Err(Failure::Failed("interrupted; run the same command to go on".to_owned())),
        None => Ok(()),
        Some(_) if arguments.place.json => Err(Failure::Told),
        Some(error) => Err(Failure::Failed(format!("{}: {error}", arguments.file.display()))),
    }
}

/// Name of the rule that a block broke, when that is why the import ended.
fn broken_rule(error: &BulkError<io::Error>) -> Option<&'static str> {
    match error {
        BulkError::Ledger(LedgerError::Invalid { reason, .. }) => Some(reason.rule()),
        BulkError::Decode { .. } => Some("decoding"),
        BulkError::OtherChain { .. } => Some("other_chain"),
        BulkError::Source { .. } => Some("reading"),
        BulkError::Ledger(_) | BulkError::NoThread => None,
    }
}

fn export(arguments: &ExportArgs) -> Outcome {
    let (ledger, _) = arguments.place.open(true)?;
    let head = ledger.head().number;
    let last = arguments.to.unwrap_or(head);
    if arguments.from > last || last > head {
        return Err(Failure::Usage(format!(
            "--from {} --to {last}: expected a range inside 0 to {head}, the newest block in {}",
            arguments.from,
            arguments.place.data_dir.display()
        )));
    }
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("could not write {}: {error}", arguments.file.display()));
    let mut output: Box<dyn Write> = if arguments.file == Path::new("-") {
        Box::new(BufWriter::new(io::stdout().lock()))
    } else {
        let file = File::options().write(true).create_new(true).open(&arguments.file).map_err(|error| failed(&error))?;
        Box::new(BufWriter::new(file))
    };
    let mut shown = Instant::now();
    let mut bytes = 0;
    for number in arguments.from..=last {
        let block = ledger
            .block(number)
            .map_err(|error| Failure::failed(format!("could not read block {number}"), error))?
            .ok_or_else(|| Failure::Failed(format!("block {number} is not in {}", arguments.place.data_dir.display())))?;
        let rlp = block.to_rlp();
        bytes += rlp.len() as u64;
        output.write_all(&rlp).map_err(|error| failed(&error))?;
        if shown.elapsed() >= PROGRESS {
            shown = Instant::now();
            eprintln!("block {number} of {last}, {bytes} bytes");
        }
    }
    output.flush().map_err(|error| failed(&error))?;
    let told = json!({ "from": arguments.from, "to": last, "bytes": bytes, "file": arguments.file });
    match (arguments.place.json, arguments.file == Path::new("-")) {
        (true, false) => println!("{told:#}"),
        (false, false) => println!("blocks {} to {last}, {bytes} bytes, to {}", arguments.from, arguments.file.display()),
        (_, true) => eprintln!("blocks {} to {last}, {bytes} bytes", arguments.from),
    }
    Ok(())
}

/// Cuts a stream of RLP lists into its items without decoding them.
struct BlockReader<R> {
    input: BufReader<R>,
    at: u64,
    over: bool,
}

impl<R: Read> BlockReader<R> {
    fn new(input: R) -> Self {
        BlockReader { input: BufReader::with_capacity(1 << 20, input), at: 0, over: false }
    }

    /// The next whole item; `None` at the end between two items.
    fn next_item(&mut self) -> io::Result<Option<Bytes>> {
        let mut first = [0];
        if self.input.read(&mut first)? == 0 {
            return Ok(None);
        }
        let mut item = vec![first[0]];
        let length = match first[0] {
            0xc0..=0xf7 => u64::from(first[0] - 0xc0),
            0xf8..=0xff => {
                let mut digits = [0; 8];
                let count = usize::from(first[0] - 0xf7);
                self.input.read_exact(&mut digits[8 - count..]).map_err(|_| self.cut_off())?;
                item.extend_from_slice(&digits[8 - count..]);
                u64::from_be_bytes(digits)
            }
            _ => return Err(self.damaged("a list of RLP begins with c0 to ff")),
        };
        if length > MAX_BLOCK_BYTES {
            return Err(self.damaged(&format!("it has {length} bytes, at most {MAX_BLOCK_BYTES} are read")));
        }
        let header = item.len();
        // Bounded above; read in full or fail.
        let read = (&mut self.input).take(length).read_to_end(&mut item)?;
        if (read as u64) < length {
            return Err(self.cut_off());
        }
        self.at += (header as u64) + length;
        Ok(Some(item.into()))
    }

    fn cut_off(&self) -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("the block at byte {} is cut off by the end of the file", self.at))
    }

    fn damaged(&self, why: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("no block at byte {}: {why}", self.at))
    }
}

impl<R: Read> Iterator for BlockReader<R> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.over {
            return None;
        }
        let item = self.next_item().transpose();
        self.over = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(bytes: &[u8]) -> Vec<Result<usize, String>> {
        BlockReader::new(bytes).map(|item| item.map(|bytes| bytes.len()).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn a_stream_is_cut_into_its_lists() {
        let mut long = vec![0xf8, 60];
        long.extend([0x01; 60]);
        let stream = [&[0xc0][..], &[0xc2, 1, 2], &long].concat();
        assert_eq!(items(&stream), [Ok(1), Ok(3), Ok(62)]);
        assert!(items(&[]).is_empty());
    }

    #[test]
    fn damage_is_an_error_with_its_place() {
        let cut = items(&[0xc0, 0xc5, 1]);
        assert!(cut[1].as_ref().is_err_and(|error| error.contains("byte 1") && error.contains("cut off")), "{cut:?}");
        assert!(items(&[0x80])[0].as_ref().is_err_and(|error| error.contains("byte 0")));
        assert!(items(&[0xff; 20])[0].as_ref().is_err_and(|error| error.contains("at most")));
        assert!(items(&[0xf9])[0].as_ref().is_err_and(|error| error.contains("cut off")));
    }
}
