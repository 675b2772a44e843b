//! Questions to a node that is not trusted: every answer is bounded and checked.

use super::text::clean;
use crate::failure::Failure;
use crate::rpc::{CallError, Client};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::SolCall;
use ipe_rules::answer::{self, AnswerError};
use ipe_rules::{catalogue, refusal};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fmt::Display;
use std::time::Duration;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most questions of one command; the longest lists take some hundreds.
const MAX_QUESTIONS: u32 = 50_000;

/// Why a contract has not answered.
#[derive(Debug)]
pub enum Unanswered {
    /// The node did not, or refused: a sentence.
    Node(String),
    /// The contract refused, with this reason.
    Reverted(Bytes),
    /// The answer is not one of that function.
    Form(AnswerError),
}

impl Unanswered {
    /// Whether the address is not such a contract, as far as this answer says.
    pub fn is_other_contract(&self) -> bool {
        !matches!(self, Unanswered::Node(_))
    }
}

impl Display for Unanswered {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unanswered::Node(sentence) => write!(out, "{sentence}"),
            Unanswered::Reverted(reason) => write!(out, "the contract refused: {}", refused(reason)),
            Unanswered::Form(error) => write!(out, "{error}"),
        }
    }
}

/// What a refusal's bytes say, by name and in words.
pub fn refused(reason: &[u8]) -> String {
    match catalogue::error(reason) {
        Ok(error) => {
            let arguments: Vec<String> = error.arguments.iter().map(|argument| super::decoded::plain(&argument.value)).collect();
            let named = format!("{}({})", error.name, arguments.join(", "));
            match refusal::explain(&error) {
                Some(why) => format!("{named}\n  rule: {}\n  next: {}", why.rule, why.next),
                None => named,
            }
        }
        Err(catalogue::Unnamed::Empty) => "no reason was given".to_owned(),
        Err(unnamed) => format!("{} ({unnamed})", clean(&hex::encode_prefixed(&reason[..reason.len().min(100)]))),
    }
}

/// A node, and the block at which it is asked.
pub struct Link {
    url: String,
    runtime: tokio::runtime::Runtime,
    client: Client,
    asked: Cell<u32>,
    /// Chain id that the node tells.
    pub chain_id: u64,
    /// Newest block when the command began.
    pub head: u64,
    /// Block after which contracts are asked.
    pub at: u64,
    /// Calls that are made before each question, on the newest block, as if they had been in one: what would be then.
    pub before: Vec<Value>,
}

/// Most calls of one simulated block.
const MAX_BATCH: usize = 100;

impl Link {
    /// Asks for chain and newest block; `at` is an older one to ask at.
    pub fn open(url: &str, at: Option<u64>) -> Result<Link, Failure> {
        let client = Client::new(PATIENCE).map_err(Failure::Failed)?;
        let mut link = Link {
            url: url.to_owned(),
            runtime: crate::node::runtime()?,
            client,
            asked: Cell::new(0),
            chain_id: 0,
            head: 0,
            at: 0,
            before: Vec::new(),
        };
        link.chain_id = link.quantity("eth_chainId", json!([]))?;
        link.head = link.quantity("eth_blockNumber", json!([]))?;
        link.at = at.unwrap_or(link.head);
        if link.at > link.head {
            return Err(Failure::Usage(format!("--block {}: the newest block of {url} is {}", link.at, link.head)));
        }
        Ok(link)
    }

    /// One question.
    pub fn ask(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let asked = self.asked.get() + 1;
        self.asked.set(asked);
        if asked > MAX_QUESTIONS {
            return Err(CallError::Unreached(format!("{}: more than {MAX_QUESTIONS} questions for one command", self.url)));
        }
        self.runtime.block_on(self.client.ask(&self.url, method, params))
    }

    /// One question whose refusal is a failure of the command.
    pub fn must(&self, method: &str, params: Value) -> Result<Value, Failure> {
        self.ask(method, params).map_err(|error| Failure::Failed(self.sentence(method, error)))
    }

    /// The error as a sentence.
    pub fn sentence(&self, method: &str, error: CallError) -> String {
        match error {
            CallError::Unreached(sentence) => clean(&sentence),
            CallError::Refused { message, .. } => format!("{} refused {method}: {}", self.url, clean(&message)),
        }
    }

    /// Address of the node, for messages.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A number in hexadecimal.
    pub fn quantity(&self, method: &str, params: Value) -> Result<u64, Failure> {
        let answer = self.must(method, params)?;
        quantity(&answer).ok_or_else(|| self.wrong(method, &answer, "a number in hexadecimal, at most 64 bits"))
    }

    /// What came instead of what was expected.
    pub fn wrong(&self, method: &str, got: &Value, expected: &str) -> Failure {
        Failure::Failed(format!("{} answered {method} with {}, expected {expected}", self.url, clean(&got.to_string())))
    }

    /// Calls a contract from nobody, after the block that was chosen.
    pub fn call<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return, Unanswered> {
        self.call_at(to, call, self.at)
    }

    /// Calls a contract from nobody, after a block.
    pub fn call_at<C: SolCall>(&self, to: Address, call: &C, block: u64) -> Result<C::Return, Unanswered> {
        let output = self.execute(Address::ZERO, to, &call.abi_encode(), block)?;
        answer::decode::<C>(&output).map_err(Unanswered::Form)
    }

    /// The output of a call from an account, after a block.
    pub fn execute(&self, from: Address, to: Address, data: &[u8], block: u64) -> Result<Bytes, Unanswered> {
        if !self.before.is_empty() {
            let call = simulated_call(from, to, data);
            let last = self.simulate(&[call])?.pop();
            return last.unwrap_or_else(|| Err(Unanswered::Node("nothing was simulated".to_owned())));
        }
        let params = json!([{ "from": from, "to": to, "data": hex::encode_prefixed(data) }, format!("{block:#x}")]);
        match self.ask("eth_call", params) {
            Ok(answer) => {
                let bytes = answer.as_str().and_then(|text| text.parse::<Bytes>().ok());
                bytes.ok_or_else(|| Unanswered::Node(told(self.wrong("eth_call", &answer, "bytes in hexadecimal"))))
            }
            Err(CallError::Refused { code, message, data }) => match reverted(code, &message, data.as_deref()) {
                Some(reason) => Err(Unanswered::Reverted(reason)),
                None => Err(Unanswered::Node(format!("{} refused eth_call: {}", self.url, clean(&message)))),
            },
            Err(error) => Err(Unanswered::Node(self.sentence("eth_call", error))),
        }
    }

    /// Outputs of calls, one after the other on the newest block, after those of [`Link::before`].
    pub fn simulate(&self, calls: &[Value]) -> Result<Vec<Result<Bytes, Unanswered>>, Unanswered> {
        let mut outputs = Vec::with_capacity(calls.len());
        for part in calls.chunks(MAX_BATCH.max(1)) {
            let all: Vec<&Value> = self.before.iter().chain(part).collect();
            let params = json!([{ "blockStateCalls": [{ "calls": all }], "validation": false }, "latest"]);
            let answer =
                self.ask("eth_simulateV1", params).map_err(|error| Unanswered::Node(self.sentence("eth_simulateV1", error)))?;
            let told = answer[0]["calls"].as_array().filter(|told| told.len() == all.len());
            let told = told.ok_or_else(|| Unanswered::Node(told_wrong(self, &answer, all.len())))?;
            for one in &told[self.before.len()..] {
                outputs.push(self.simulated(one));
            }
        }
        Ok(outputs)
    }

    fn simulated(&self, told: &Value) -> Result<Bytes, Unanswered> {
        let bytes = |value: &Value| value.as_str().and_then(|text| text.parse::<Bytes>().ok());
        match quantity(&told["status"]) {
            Some(1) => bytes(&told["returnData"])
                .ok_or_else(|| Unanswered::Node(format!("{} simulated a call without an answer", self.url))),
            Some(0) => {
                let reason =
                    bytes(&told["error"]["data"]).filter(|reason| !reason.is_empty()).or_else(|| bytes(&told["returnData"]));
                Err(Unanswered::Reverted(reason.unwrap_or_default()))
            }
            _ => Err(Unanswered::Node(format!("{} simulated a call and told no status of it", self.url))),
        }
    }

    /// Answers of one contract to many questions, each with its own result.
    pub fn call_many<C: SolCall>(&self, to: Address, calls: &[C]) -> Result<Vec<Result<C::Return, Unanswered>>, Unanswered> {
        let calls: Vec<Value> = calls.iter().map(|call| simulated_call(Address::ZERO, to, &call.abi_encode())).collect();
        let outputs = self.simulate(&calls)?;
        Ok(outputs
            .into_iter()
            .map(|output| output.and_then(|output| answer::decode::<C>(&output).map_err(Unanswered::Form)))
            .collect())
    }

    /// As [`Link::call`]; what is not answered is a failure that names the contract.
    pub fn read<C: SolCall>(&self, what: &str, to: Address, call: &C) -> Result<C::Return, Failure> {
        self.call(to, call)
            .map_err(|error| Failure::Failed(format!("{what} at {to} asked {} after block {}: {error}", C::SIGNATURE, self.at)))
    }

    /// Code at an address, or none.
    pub fn code(&self, at: Address) -> Result<Bytes, Failure> {
        let answer = self.must("eth_getCode", json!([at, format!("{:#x}", self.at)]))?;
        let code = answer.as_str().and_then(|text| text.parse::<Bytes>().ok());
        code.ok_or_else(|| self.wrong("eth_getCode", &answer, "code in hexadecimal"))
    }
}

/// A call for [`Link::simulate`]. With a gas price it is a legacy transaction, which chains before London take too.
pub fn simulated_call(from: Address, to: Address, data: &[u8]) -> Value {
    json!({ "from": from, "to": to, "data": hex::encode_prefixed(data), "gasPrice": "0x0" })
}

fn told_wrong(link: &Link, answer: &Value, expected: usize) -> String {
    told(link.wrong("eth_simulateV1", answer, &format!("one block with {expected} calls")))
}

/// The reason of a call that a contract refused; `None` when the node refused for another cause. Besu and this node give code
/// 3 or −32000 with the reason as data.
pub fn reverted(code: i64, message: &str, data: Option<&str>) -> Option<Bytes> {
    let reason = data.and_then(|data| data.parse::<Bytes>().ok());
    match reason {
        Some(reason) => Some(reason),
        None if code == 3 || message.to_lowercase().contains("revert") => Some(Bytes::new()),
        None => None,
    }
}

/// A failure's sentence.
pub fn told(failure: Failure) -> String {
    match failure {
        Failure::Usage(sentence) | Failure::Failed(sentence) | Failure::Unfinished(sentence) => sentence,
        Failure::Told => "it failed".to_owned(),
    }
}

/// A number of JSON-RPC.
pub fn quantity(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok()
}

/// A hash of JSON-RPC.
pub fn hash(value: &Value) -> Option<B256> {
    value.as_str()?.parse().ok()
}

/// An address of JSON-RPC.
pub fn address(value: &Value) -> Option<Address> {
    value.as_str()?.parse().ok()
}

/// A number of a contract that counts or names blocks and organisations; what is larger than 64 bits is the largest.
pub fn small(value: U256) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
