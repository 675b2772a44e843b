//! What to do: the plan of one measurement.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use alloy_primitives::U256;
use thiserror::Error;

use crate::http::Url;

/// What the transactions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain value transfers, 21,000 gas.
    Transfer,
    /// Transfers of an ERC-20 token: two balances and an event, about 35,000–52,000 gas.
    Erc20,
    /// Registering a document by its hash: one slot and an event, plus the document's bytes as call data.
    Store,
    /// Deployments of the token contract, some 500,000 gas and 2 kB of code.
    Deploy,
}

impl FromStr for Kind {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        match text {
            "transfer" => Ok(Kind::Transfer),
            "erc20" => Ok(Kind::Erc20),
            "store" => Ok(Kind::Store),
            "deploy" => Ok(Kind::Deploy),
            other => Err(PlanError::Kind(other.into())),
        }
    }
}

impl Kind {
    /// As flags and reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Transfer => "transfer",
            Kind::Erc20 => "erc20",
            Kind::Store => "store",
            Kind::Deploy => "deploy",
        }
    }
}

/// When the next transaction is offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many a second, whatever comes of them (open loop).
    Rate(f64),
    /// As soon as fewer than this many are between submission and inclusion (closed loop).
    InFlight(usize),
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// JSON-RPC addresses, `http://host:port[/path]`; senders are spread over them.
    pub endpoints: Vec<String>,
    /// What the transactions do.
    pub kind: Kind,
    /// How fast.
    pub pace: Pace,
    /// How long transactions are offered.
    pub duration: Duration,
    /// The first part of `duration` that counts neither for latency nor for the sustained rate.
    pub warmup: Duration,
    /// How long to wait afterwards for what was accepted.
    pub drain: Duration,
    /// Number of senders; with `key_file` at most so many of its keys are used.
    pub senders: usize,
    /// The senders' keys are derived from this text; the same text gives the same accounts.
    pub seed: String,
    /// Senders' keys instead, one in hex a line; lines that begin with `#` are passed over.
    pub key_file: Option<PathBuf>,
    /// Secret in hex of an account that pays for what senders lack.
    pub funder: Option<String>,
    /// Wei of each transfer.
    pub value: U256,
    /// Wei per gas; `None` = what the node asks for.
    pub gas_price: Option<u128>,
    /// Length of a stored document, bytes (kind `store`).
    pub document: usize,
    /// Number of recipients of transfers.
    pub recipients: usize,
    /// Transactions in one request; 1 = no JSON-RPC batches.
    pub batch: usize,
    /// Connections to each endpoint.
    pub connections: usize,
    /// Pause between two looks for a new block.
    pub poll: Duration,
    /// Threads that sign.
    pub signers: usize,
}

impl Default for LoadPlan {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:8545".into()],
            kind: Kind::Transfer,
            pace: Pace::Rate(100.0),
            duration: Duration::from_secs(20),
            warmup: Duration::ZERO,
            drain: Duration::from_secs(30),
            senders: 500,
            seed: "ipe load".into(),
            key_file: None,
            funder: None,
            value: U256::ZERO,
            gas_price: None,
            document: 256,
            recipients: 1_000,
            batch: 20,
            connections: 4,
            poll: Duration::from_millis(20),
            signers: 1,
        }
    }
}

/// A plan contradicts itself.
#[derive(Debug, Error)]
pub enum PlanError {
    /// No such kind.
    #[error("kind is {0:?}, expected transfer, erc20, store or deploy")]
    Kind(String),
    /// Nowhere to send to.
    #[error("no endpoint is given, expected at least one such as http://127.0.0.1:8545")]
    NoEndpoint,
    /// An address cannot be read.
    #[error("endpoint {0:?} is no address of the form http://host:port/path")]
    Endpoint(String),
    /// A number that has to be positive is not.
    #[error("{what} is {got}, expected more than zero")]
    NotPositive {
        /// Name of the setting.
        what: &'static str,
        /// As given.
        got: String,
    },
    /// A number is larger than this generator handles.
    #[error("{what} is {got}, expected at most {most}")]
    TooMany {
        /// Name of the setting.
        what: &'static str,
        /// As given.
        got: usize,
        /// The bound.
        most: usize,
    },
    /// The warm-up takes all the time.
    #[error("warm-up of {warmup:?} leaves nothing of the duration of {duration:?}")]
    Warmup {
        /// As given.
        warmup: Duration,
        /// As given.
        duration: Duration,
    },
}

impl LoadPlan {
    /// Checks that the plan can be carried out.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.endpoints.is_empty() {
            return Err(PlanError::NoEndpoint);
        }
        for endpoint in &self.endpoints {
            Url::parse(endpoint).ok_or_else(|| PlanError::Endpoint(endpoint.clone()))?;
        }
        match self.pace {
            Pace::Rate(rate) if rate.is_nan() || rate <= 0.0 || rate.is_infinite() => {
                return Err(PlanError::NotPositive { what: "rate", got: rate.to_string() });
            }
            Pace::InFlight(0) => return Err(PlanError::NotPositive { what: "closed", got: "0".into() }),
            _ => {}
        }
        if self.duration.is_zero() {
            return Err(PlanError::NotPositive { what: "duration", got: "0".into() });
        }
        if self.warmup >= self.duration {
            return Err(PlanError::Warmup { warmup: self.warmup, duration: self.duration });
        }
        let bounds = [
            ("senders", self.senders, 100_000),
            ("recipients", self.recipients, 10_000_000),
            ("batch", self.batch, 1_000),
            ("connections", self.connections, 1_000),
            ("signers", self.signers, 64),
        ];
        for (what, got, most) in bounds {
            if got == 0 {
                return Err(PlanError::NotPositive { what, got: "0".into() });
            }
            if got > most {
                return Err(PlanError::TooMany { what, got, most });
            }
        }
        if self.document > 1 << 20 {
            return Err(PlanError::TooMany { what: "document", got: self.document, most: 1 << 20 });
        }
        Ok(())
    }

    /// How many transactions one sender will offer, as far as that can be known.
    pub(crate) fn per_sender(&self) -> u64 {
        match self.pace {
            Pace::Rate(rate) => (rate * self.duration.as_secs_f64() / self.senders as f64).ceil() as u64 + 2,
            Pace::InFlight(_) => (self.duration.as_secs_f64() * 10_000.0 / self.senders as f64).ceil() as u64 + 2,
        }
    }
}
