//! What a file says without effect, one sentence each, as many as people read.

/// Most sentences kept of one file; of a file of millions of misspelled keys the rest is counted.
const MOST: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Warnings {
    kept: Vec<String>,
    more: u64,
}

impl Warnings {
    pub(super) fn push(&mut self, sentence: String) {
        if self.kept.len() < MOST {
            self.kept.push(sentence);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_sentences(mut self) -> Vec<String> {
        if self.more > 0 {
            self.kept.push(format!("and {} warnings more", self.more));
        }
        self.kept
    }
}
