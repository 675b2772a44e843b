//! "Why is this transaction not mined?", answered in the languages of those who ask.

use alloy_primitives::{Address, B256, U256};

use super::DropReason;

/// What a transaction waits for, or what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Never seen here, or so long ago that it is forgotten.
    Unknown,
    /// It is in a block; told by the ledger, not by the pool.
    Mined {
        /// Height.
        block: u64,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// A lower nonce of its sender is not here.
    NonceMissing {
        /// Its nonce.
        nonce: u64,
        /// The lowest nonce that is missing.
        missing: u64,
        /// Its sender.
        sender: Address,
    },
    /// It offers less than this node includes.
    BelowMinimumPrice {
        /// Wei per gas offered.
        price: U256,
        /// Least price.
        least: u128,
    },
    /// It, or an earlier one of its sender, offers less than the base fee.
    BelowBaseFee {
        /// Wei per gas offered.
        price: U256,
        /// Base fee of the next block.
        base_fee: u64,
        /// Nonce of the transaction that offers too little.
        nonce: u64,
    },
    /// The builder could not include it, or an earlier one of its sender, and will try again.
    PutOff {
        /// The builder's words (sender cannot pay, not permitted, …).
        reason: String,
        /// Height from which it is tried again.
        again_at: u64,
        /// How many of the sender's transactions come before it.
        before: u64,
    },
    /// It waits its turn.
    Turn {
        /// 1 = next.
        position: usize,
        /// How many could be included now.
        of: usize,
        /// When it came, ms of the steady clock: unix time, unless the clock was set since the process started.
        since: u64,
    },
    /// It left the pool.
    Dropped {
        /// When, ms of the steady clock: unix time, unless the clock was set since the process started.
        at: u64,
        /// Why.
        reason: DropReason,
    },
}

impl Why {
    /// Stable name of the case, for programs.
    pub fn label(&self) -> &'static str {
        match self {
            Why::Unknown => "unknown",
            Why::Mined { .. } => "mined",
            Why::NonceMissing { .. } => "nonce_missing",
            Why::BelowMinimumPrice { .. } => "below_minimum_price",
            Why::BelowBaseFee { .. } => "below_base_fee",
            Why::PutOff { .. } => "put_off",
            Why::Turn { .. } => "waiting",
            Why::Dropped { .. } => "dropped",
        }
    }

    /// What is the matter and what to do, in English.
    pub fn english(&self) -> String {
        match self {
            Why::Unknown => "this node does not know the transaction: it was never sent here, was refused when it was sent, \
                 or left the pool too long ago; send it again"
                .into(),
            Why::Mined { block, succeeded: true } => format!("it is in block {block} and succeeded"),
            Why::Mined { block, succeeded: false } => {
                format!("it is in block {block} and its execution failed; trace it to see why")
            }
            Why::NonceMissing { nonce, missing, sender } => {
                format!("it has nonce {nonce}, but nonce {missing} of {sender} is not here; send that transaction first")
            }
            Why::BelowMinimumPrice { price, least } => format!(
                "it offers {price} wei per gas and this node includes nothing below {least}; send it again with the same nonce \
                 and a higher price"
            ),
            Why::BelowBaseFee { price, base_fee, nonce } => format!(
                "the transaction with nonce {nonce} offers {price} wei per gas and the base fee is {base_fee}; wait for it to \
                 fall or send that nonce again with a higher price"
            ),
            Why::PutOff { reason, again_at, before: 0 } => {
                format!("it could not be included ({reason}); it is tried again from block {again_at} on")
            }
            Why::PutOff { reason, again_at, before } => format!(
                "{before} earlier transaction(s) of its sender come first, and the first of them could not be included \
                 ({reason}); it is tried again from block {again_at} on"
            ),
            Why::Turn { position, of, .. } => {
                format!("it waits its turn: position {position} of {of} that could be included now")
            }
            Why::Dropped { reason, .. } => format!("it left the pool: {}", reason.english()),
        }
    }

    /// What is the matter and what to do, in Portuguese.
    pub fn portuguese(&self) -> String {
        match self {
            Why::Unknown => "este nó não conhece a transação: ela nunca foi enviada a ele, foi recusada no envio ou saiu da fila \
                 há muito tempo; envie-a de novo"
                .into(),
            Why::Mined { block, succeeded: true } => format!("está no bloco {block} e teve sucesso"),
            Why::Mined { block, succeeded: false } => {
                format!("está no bloco {block} e sua execução falhou; rastreie-a para ver o motivo")
            }
            Why::NonceMissing { nonce, missing, sender } => {
                format!("tem nonce {nonce}, mas falta o nonce {missing} de {sender}; envie antes aquela transação")
            }
            Why::BelowMinimumPrice { price, least } => format!(
                "oferece {price} wei por gás e este nó não inclui nada abaixo de {least}; envie de novo com o mesmo nonce e \
                 preço maior"
            ),
            Why::BelowBaseFee { price, base_fee, nonce } => format!(
                "a transação de nonce {nonce} oferece {price} wei por gás e a taxa base é {base_fee}; espere que ela caia ou \
                 envie de novo aquele nonce com preço maior"
            ),
            Why::PutOff { reason, again_at, before: 0 } => {
                format!("não pôde ser incluída ({reason}); nova tentativa a partir do bloco {again_at}")
            }
            Why::PutOff { reason, again_at, before } => format!(
                "{before} transação(ões) anterior(es) do mesmo remetente vêm antes, e a primeira delas não pôde ser incluída \
                 ({reason}); nova tentativa a partir do bloco {again_at}"
            ),
            Why::Turn { position, of, .. } => {
                format!("aguarda a vez: posição {position} de {of} que já poderiam ser incluídas")
            }
            Why::Dropped { reason, .. } => format!("saiu da fila: {}", reason.portuguese()),
        }
    }
}

impl DropReason {
    /// In English.
    pub fn english(&self) -> String {
        match self {
            DropReason::Replaced { by } => replaced("replaced by", by),
            DropReason::NonceUsed { nonce } => format!("its nonce {nonce} was used by another transaction in a block"),
            DropReason::GapExpired { missing } => {
                format!("nonce {missing} of its sender did not come in time; send both again")
            }
            DropReason::Expired => "it waited longer than this node keeps transactions; send it again".into(),
            DropReason::Evicted => "the pool was full and others came first; send it again later or offer more".into(),
            DropReason::BelowMinimumPrice { least } => {
                format!("this node includes nothing below {least} wei per gas any more; send it again with a higher price")
            }
            DropReason::NotPermitted => {
                "its sender is no longer on this node's list of permitted accounts; ask the operator".into()
            }
            DropReason::AgainstRules { reason } => {
                format!("{reason}; ask the administrator of the sender's organisation, and send it again when it is permitted")
            }
            DropReason::TooDear { reason } => format!(
                "executing it takes more than this node gives to one transaction ({reason}), and it is not taken again; split the \
                 work into several transactions"
            ),
            DropReason::ByOperator => "the operator of this node dropped it, and it is not taken again".into(),
            DropReason::Unbuildable { reason } => format!("it could not be included in several blocks ({reason})"),
        }
    }

    /// In Portuguese.
    pub fn portuguese(&self) -> String {
        match self {
            DropReason::Replaced { by } => replaced("substituída por", by),
            DropReason::NonceUsed { nonce } => format!("seu nonce {nonce} foi usado por outra transação em um bloco"),
            DropReason::GapExpired { missing } => {
                format!("o nonce {missing} do remetente não chegou a tempo; envie as duas de novo")
            }
            DropReason::Expired => "esperou mais do que este nó guarda transações; envie-a de novo".into(),
            DropReason::Evicted => "a fila estava cheia e outras vieram antes; envie-a de novo mais tarde ou ofereça mais".into(),
            DropReason::BelowMinimumPrice { least } => {
                format!("este nó não inclui mais nada abaixo de {least} wei por gás; envie-a de novo com preço maior")
            }
            DropReason::NotPermitted => "o remetente saiu da lista de contas permitidas deste nó; procure o operador".into(),
            DropReason::AgainstRules { reason } => format!(
                "as regras na cadeia não a permitem ({reason}); procure o administrador da organização do remetente e envie-a de novo \
                 quando for permitida"
            ),
            DropReason::TooDear { reason } => format!(
                "executá-la custa mais do que este nó dá a uma transação ({reason}), e ela não é aceita de novo; divida o trabalho \
                 em várias transações"
            ),
            DropReason::ByOperator => "o operador deste nó a descartou, e ela não é aceita de novo".into(),
            DropReason::Unbuildable { reason } => format!("não pôde ser incluída em vários blocos ({reason})"),
        }
    }
}

fn replaced(words: &str, by: &B256) -> String {
    format!("{words} {by}")
}
