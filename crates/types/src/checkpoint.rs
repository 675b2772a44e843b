//! A block that an operator knows to be of the chain: height and hash, from a source that is trusted outside of the
//! network. A node that is told one takes no history that lacks it, whoever has sealed it.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::B256;

/// Height and hash of one block, written `<height>:<0x and 64 hex digits>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Height, at least 1: the genesis is pinned by the genesis file.
    pub number: u64,
    /// Hash of the block as JSON-RPC shows it.
    pub hash: B256,
}

/// The text is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a height from 1 on, a colon and a block hash: 1200000:0x<64 hex digits>")]
pub struct CheckpointError;

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let (number, hash) = text.split_once(':').ok_or(CheckpointError)?;
        let digits = hash.strip_prefix("0x").filter(|digits| digits.len() == 64).ok_or(CheckpointError)?;
        let number: u64 = number.parse().map_err(|_| CheckpointError)?;
        let hash = digits.parse().map_err(|_| CheckpointError)?;
        if number == 0 || number == u64::MAX {
            return Err(CheckpointError);
        }
        Ok(Self { number, hash })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.number, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_and_other_texts_are_refused() {
        let hash = format!("0x{}", "ab".repeat(32));
        let text = format!("1200000:{hash}");
        let checkpoint: Checkpoint = text.parse().expect("sound");
        assert_eq!((checkpoint.number, checkpoint.to_string()), (1_200_000, text));
        for wrong in [
            "",
            "5",
            ":",
            "5:",
            "5:0x",
            &format!("0:{hash}"),
            &format!("-1:{hash}"),
            &format!("5:{}", "ab".repeat(32)),
            &format!("5:{hash}00"),
        ] {
            assert_eq!(wrong.parse::<Checkpoint>(), Err(CheckpointError), "{wrong}");
        }
    }
}
