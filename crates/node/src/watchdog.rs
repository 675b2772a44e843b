//! A watch over two threads: the replica's, where everything that a node decides is decided, one input after the other, and the
//! executor's, which builds, checks and writes blocks for it, one job after the other. An input or a job that never ends stops the
//! node while its interfaces go on answering. So somebody else counts how long each thread has been busy with one of them. When it
//! is too long, health and readiness say so, and later the process ends with an exit code of its own, for a supervisor to start it
//! again. A proposal that did this is remembered in a file, and not executed for a vote again: the peers will hand it out again at
//! once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ipe_engine::{StatusCell, Work, WorkKind};
use ipe_types::B256;

/// Exit code of a node that ended itself because its replica did not return: `EX_TEMPFAIL` of sysexits.h, "try again".
pub const EXIT_STUCK: i32 = 75;

/// Name of the file of suspect proposals in the data folder.
pub const SUSPECTS: &str = "suspect-proposals";

/// Suspects that are kept, the newest: each cost a restart, and one height has few.
const MAX_SUSPECTS: usize = 64;

/// Bytes of the file that are read: [`MAX_SUSPECTS`] lines with room to spare.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// How long a thread may be busy with one input or job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How often it is looked at.
    pub(crate) look: Duration,
    /// When health and readiness go DOWN and the log says why. An honest block takes a fraction of the request timeout, which
    /// is some seconds; a slow disk may take some more for its commit.
    pub(crate) tell: Duration,
    /// When the process ends over a proposal, a block of its own, or an input of the replica, which executes nothing. By then every
    /// round that a vote could count in is over.
    pub(crate) end: Duration,
    /// When it ends over a block that is to become final. One that a quorum sealed has to be executed whatever it takes, and would be
    /// executed again after a restart; only what certainly does not end is worth one.
    pub(crate) end_sealed: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(1),
            tell: Duration::from_secs(20),
            end: Duration::from_secs(60),
            end_sealed: Duration::from_secs(15 * 60),
        }
    }
}

/// How many inputs or jobs a thread has begun and ended: odd while it is busy. Costs two additions each.
#[derive(Debug, Default)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    /// An input begins.
    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// It ended.
    pub(crate) fn end(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What is watched, and what is done about it.
pub(crate) struct Watch {
    pub(crate) replica: Arc<Pulse>,
    pub(crate) executor: Arc<Pulse>,
    pub(crate) status: StatusCell,
    pub(crate) data_dir: PathBuf,
    pub(crate) limits: Limits,
    /// Called at every look after which the process goes on: a supervisor that hears nothing more starts it again.
    pub(crate) beat: Box<dyn Fn() + Send>,
}

/// How long a thread has been seen busy with the same thing.
#[derive(Clone, Copy, Default)]
struct Seen {
    pulse: u64,
    looks: u32,
}

impl Seen {
    /// Looks again, and answers how often in a row it was busy with this.
    fn look(&mut self, pulse: &Pulse) -> u32 {
        let now = pulse.read();
        self.looks = if now != self.pulse || now.is_multiple_of(2) { 0 } else { self.looks.saturating_add(1) };
        self.pulse = now;
        self.looks
    }
}

/// Starts the watching thread. It ends with the last other holder of the pulse, or calls `end` once; in a node that ends the
/// process.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn start(watch: Watch, end: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        if watch.run() {
            end();
        }
    })
}

impl Watch {
    /// True when the process should end; false when there is nothing left to watch.
    fn run(&self) -> bool {
        let Limits { look, tell, end, end_sealed } = self.limits;
        let (mut replica, mut executor, mut told) = (Seen::default(), Seen::default(), false);
        // Own looks are counted, and no clock is read: in a process that was stopped or on a machine that slept all threads
        // stood still, and nothing was stuck.
        while Arc::strong_count(&self.replica) > 1 {
            std::thread::sleep(look);
            let looks = [replica.look(&self.replica), executor.look(&self.executor)];
            if looks == [0, 0] {
                (self.beat)();
                if told {
                    told = false;
                    self.status.set_stuck(None);
                    tracing::warn!("the replica works again");
                }
                continue;
            }
            // What the executor does is known; of the replica only that it is busy with one input.
            let work = self.status.work().filter(|_| looks[1] >= looks[0]);
            let busy = look.saturating_mul(looks[0].max(looks[1]));
            if busy >= tell && !told {
                told = true;
                let why = told_of(work, busy);
                tracing::error!("{why}");
                self.status.set_stuck(Some(why));
                if let Some(Work { kind: WorkKind::Proposal, height, hash }) = work {
                    remember(&self.data_dir, height, hash);
                }
            }
            let most = match work {
                Some(Work { kind: WorkKind::Sealed, .. }) => end_sealed,
                // The replica executes nothing: no input takes that long.
                Some(Work { kind: WorkKind::Proposal | WorkKind::Build, .. }) | None => end,
            };
            if busy >= most {
                tracing::error!("{}; the process ends with exit code {EXIT_STUCK} and is to be started again", told_of(work, busy));
                return true;
            }
            // A block that a quorum sealed may take longer than a supervisor waits; whether it takes too long is judged above.
            (self.beat)();
        }
        false
    }
}

fn told_of(work: Option<Work>, busy: Duration) -> String {
    let what = match work {
        Some(Work { kind: WorkKind::Proposal, height, hash }) => format!("the proposal {hash} for height {height}"),
        Some(Work { kind: WorkKind::Sealed, height, hash }) => format!("the sealed block {height} ({hash})"),
        Some(Work { kind: WorkKind::Build, height, .. }) => format!("building block {height}"),
        None => "one input".to_owned(),
    };
    let (who, result) = match work {
        Some(_) => ("the executor", "nothing else is executed"),
        None => ("the replica", "it answers nothing"),
    };
    format!("{who} has been busy with {what} for {} s, and {result}", busy.as_secs())
}

/// Adds a proposal to the file. Written when it is found out and not before each execution: nothing is paid for blocks that end.
fn remember(data_dir: &Path, height: u64, hash: B256) {
    let mut all = suspects(data_dir, 0);
    all.retain(|(_, known)| *known != hash);
    all.push((height, hash));
    let from = all.len().saturating_sub(MAX_SUSPECTS);
    let text: String = all[from..].iter().map(|(height, hash)| format!("{height} {hash}\n")).collect();
    let path = data_dir.join(SUSPECTS);
    let next = data_dir.join(format!("{SUSPECTS}.next"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, &path)
    };
    if let Err(error) = write() {
        tracing::error!(file = %path.display(), "the suspect proposal could not be written down: {error}; after a restart it may be executed again");
    }
}

/// The proposals that earlier runs did not get through, for heights above `head`, oldest first. The file is no more than a hint:
/// lines that it cannot have written are passed over, and a file that is too large is not read.
pub(crate) fn suspects(data_dir: &Path, head: u64) -> Vec<(u64, B256)> {
    let path = data_dir.join(SUSPECTS);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(file = %path.display(), "suspect proposals could not be read: {error}");
            return Vec::new();
        }
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        tracing::warn!(file = %path.display(), "more than {MAX_FILE_BYTES} bytes: the file is not this node's and is not read");
        return Vec::new();
    }
    let line = |line: &str| -> Option<(u64, B256)> {
        let (height, hash) = line.split_once(' ')?;
        Some((height.parse().ok()?, hash.trim_end().parse().ok()?))
    };
    let found: Vec<(u64, B256)> =
        String::from_utf8_lossy(&bytes).lines().filter_map(line).filter(|(height, _)| *height > head).collect();
    found[found.len().saturating_sub(MAX_SUSPECTS)..].to_vec()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;

    const FAST: Limits = Limits {
        look: Duration::from_millis(2),
        tell: Duration::from_millis(10),
        end: Duration::from_millis(40),
        end_sealed: Duration::from_secs(3_600),
    };
    const LONG: Duration = Duration::from_secs(30);

    struct Watched {
        replica: Arc<Pulse>,
        pulse: Arc<Pulse>,
        status: StatusCell,
        dir: tempfile::TempDir,
        ended: std::sync::mpsc::Receiver<()>,
        beats: Arc<AtomicU64>,
    }

    fn watched(limits: Limits) -> Watched {
        let (pulse, status, dir) = (Arc::new(Pulse::default()), StatusCell::default(), tempfile::tempdir().expect("a folder"));
        let (tell, ended) = channel();
        let (replica, beats) = (Arc::new(Pulse::default()), Arc::new(AtomicU64::new(0)));
        let watch = Watch {
            replica: replica.clone(),
            executor: pulse.clone(),
            status: status.clone(),
            data_dir: dir.path().to_owned(),
            limits,
            beat: {
                let beats = beats.clone();
                Box::new(move || {
                    beats.fetch_add(1, Ordering::Relaxed);
                })
            },
        };
        start(watch, move || tell.send(()).expect("somebody waits")).expect("a thread");
        Watched { replica, pulse, status, dir, ended, beats }
    }

    /// One proposal kept every validator busy for more than a day, while health said UP and a restart did not help.
    #[test]
    fn a_proposal_that_does_not_end_is_told_remembered_and_ends_the_process() {
        let Watched { replica: _replica, pulse, status, dir, ended, .. } = watched(FAST);
        let hash = B256::repeat_byte(7);
        let _working = status.works_on(WorkKind::Proposal, 12, hash);
        pulse.begin();
        ended.recv_timeout(LONG).expect("the process is to end");
        let why = status.stuck().expect("health says why");
        assert!(why.contains("height 12") && why.contains(&hash.to_string()), "{why}");
        assert_eq!(suspects(dir.path(), 11), [(12, hash)]);
        assert_eq!(suspects(dir.path(), 12), [], "nobody proposes for a height that is decided");
    }

    #[test]
    fn a_slow_block_of_a_quorum_is_told_and_does_not_end_the_process() {
        let Watched { replica, pulse, status, dir, ended, .. } = watched(FAST);
        let working = status.works_on(WorkKind::Sealed, 12, B256::repeat_byte(7));
        pulse.begin();
        while status.stuck().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(ended.recv_timeout(Duration::from_millis(200)), Err(RecvTimeoutError::Timeout));
        drop(working);
        pulse.end();
        while status.stuck().is_some() {
            std::thread::yield_now();
        }
        assert!(suspects(dir.path(), 0).is_empty());
        // The watch ends with the replica.
        drop(replica);
        assert_eq!(ended.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }

    /// A block under way in the executor does not hide that the replica has stopped, nor is it blamed for it.
    #[test]
    fn an_input_that_does_not_end_is_not_taken_for_the_work_of_the_executor() {
        let Watched { replica, pulse, status, dir, ended, .. } = watched(FAST);
        let _working = status.works_on(WorkKind::Proposal, 12, B256::repeat_byte(7));
        replica.begin();
        while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            pulse.begin();
            pulse.end();
            std::thread::yield_now();
        }
        let why = status.stuck().expect("health says why");
        assert!(why.contains("the replica") && why.contains("one input"), "{why}");
        assert!(suspects(dir.path(), 0).is_empty());
    }

    /// A supervisor's own limit is shorter than what a sealed block may take, and ends a process that no longer judges itself.
    #[test]
    fn a_supervisor_hears_of_a_process_that_goes_on_and_no_more_of_one_that_ends() {
        let Watched { replica, pulse, status, dir: _dir, ended, beats } = watched(FAST);
        let heard = |more: u64| {
            let from = beats.load(Ordering::Relaxed);
            while beats.load(Ordering::Relaxed) < from + more {
                std::thread::yield_now();
            }
        };
        heard(3);
        let sealed = status.works_on(WorkKind::Sealed, 12, B256::repeat_byte(7));
        pulse.begin();
        while status.stuck().is_none() {
            std::thread::yield_now();
        }
        heard(3);
        drop(sealed);
        let _working = status.works_on(WorkKind::Proposal, 13, B256::repeat_byte(8));
        ended.recv_timeout(LONG).expect("the process is to end");
        let last = beats.load(Ordering::Relaxed);
        drop(replica);
        // The thread is gone with its sender.
        assert_eq!(ended.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        assert_eq!(beats.load(Ordering::Relaxed), last);
    }

    #[test]
    fn many_inputs_are_not_one_long_input() {
        let Watched { replica: _replica, pulse, status, ended, .. } =
            watched(Limits { tell: Duration::from_secs(2), end: Duration::from_secs(4), ..FAST });
        for _ in 0..100 {
            pulse.begin();
            assert_eq!(ended.recv_timeout(Duration::from_millis(3)), Err(RecvTimeoutError::Timeout));
            pulse.end();
        }
        assert!(status.stuck().is_none());
    }

    #[test]
    fn the_file_of_suspects_is_only_a_hint() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(SUSPECTS);
        let hash = |n: u64| B256::left_padding_from(&n.to_be_bytes());
        for n in 0..200 {
            remember(dir.path(), n, hash(n));
            remember(dir.path(), n, hash(n));
        }
        let all = suspects(dir.path(), 0);
        assert_eq!((all.len(), all.first(), all.last()), (64, Some(&(136, hash(136))), Some(&(199, hash(199)))));
        let mixed = format!("x y\n\n-1 {0}\n7 0x12\n7 {0} {0}\n99999999999999999999 {0}\n\u{0}\u{feff}\n8 {0}\n", hash(8));
        std::fs::write(&path, mixed).expect("written");
        assert_eq!(suspects(dir.path(), 0), [(8, hash(8))]);
        std::fs::write(&path, vec![0xff; 64]).expect("written");
        assert!(suspects(dir.path(), 0).is_empty());
        std::fs::write(&path, format!("8 {}\n", hash(8)).repeat(1_000)).expect("written");
        assert!(suspects(dir.path(), 0).is_empty(), "too large to be ours");
        remember(dir.path(), 9, hash(9));
        assert_eq!(suspects(dir.path(), 0), [(9, hash(9))]);
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("a folder in its place");
        assert!(suspects(dir.path(), 0).is_empty());
        remember(dir.path(), 9, hash(9));
    }
}
