//! The instructions of the EVM: byte, operands, and the fork that brought each.

use ipe_types::fork::Fork;

/// What an instruction works on, which decides how programs try it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Takes words and gives one, by the words alone.
    Words,
    /// Gives one word by the call, the block or the machine.
    Environment,
    /// Takes one word (an account, a slot, an index, an offset) and gives one.
    Lookup,
    /// Works on memory, takes offsets and sizes.
    Memory,
    /// Has programs of its own.
    Own,
}

/// One instruction.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    /// Its byte.
    pub byte: u8,
    /// Its name.
    pub name: &'static str,
    /// Words that it takes.
    pub takes: usize,
    /// Words that it gives, 0 or 1 but for `DUP` and `SWAP`, which are tried by their own programs.
    pub gives: usize,
    /// First fork that has it.
    pub since: Fork,
    /// How it is tried.
    pub kind: Kind,
}

macro_rules! instructions {
    ($($name:ident $byte:literal $takes:literal $gives:literal $since:ident $kind:ident;)*) => {
        $(#[allow(dead_code, missing_docs, reason = "the whole list, whether a program names it or not")] pub const $name: u8 = $byte;)*
        /// All instructions of all forks, `PUSH`, `DUP`, `SWAP` and `LOG` by their first.
        pub const INSTRUCTIONS: &[Instruction] = &[$(Instruction {
            byte: $byte, name: stringify!($name), takes: $takes, gives: $gives, since: Fork::$since, kind: Kind::$kind,
        },)*];
    };
}

instructions! {
    STOP 0x00 0 0 Frontier Own;
    ADD 0x01 2 1 Frontier Words;
    MUL 0x02 2 1 Frontier Words;
    SUB 0x03 2 1 Frontier Words;
    DIV 0x04 2 1 Frontier Words;
    SDIV 0x05 2 1 Frontier Words;
    MOD 0x06 2 1 Frontier Words;
    SMOD 0x07 2 1 Frontier Words;
    ADDMOD 0x08 3 1 Frontier Words;
    MULMOD 0x09 3 1 Frontier Words;
    EXP 0x0a 2 1 Frontier Words;
    SIGNEXTEND 0x0b 2 1 Frontier Words;
    LT 0x10 2 1 Frontier Words;
    GT 0x11 2 1 Frontier Words;
    SLT 0x12 2 1 Frontier Words;
    SGT 0x13 2 1 Frontier Words;
    EQ 0x14 2 1 Frontier Words;
    ISZERO 0x15 1 1 Frontier Words;
    AND 0x16 2 1 Frontier Words;
    OR 0x17 2 1 Frontier Words;
    XOR 0x18 2 1 Frontier Words;
    NOT 0x19 1 1 Frontier Words;
    BYTE 0x1a 2 1 Frontier Words;
    SHL 0x1b 2 1 Constantinople Words;
    SHR 0x1c 2 1 Constantinople Words;
    SAR 0x1d 2 1 Constantinople Words;
    CLZ 0x1e 1 1 Osaka Words;
    KECCAK256 0x20 2 1 Frontier Memory;
    ADDRESS 0x30 0 1 Frontier Environment;
    BALANCE 0x31 1 1 Frontier Lookup;
    ORIGIN 0x32 0 1 Frontier Environment;
    CALLER 0x33 0 1 Frontier Environment;
    CALLVALUE 0x34 0 1 Frontier Environment;
    CALLDATALOAD 0x35 1 1 Frontier Lookup;
    CALLDATASIZE 0x36 0 1 Frontier Environment;
    CALLDATACOPY 0x37 3 0 Frontier Memory;
    CODESIZE 0x38 0 1 Frontier Environment;
    CODECOPY 0x39 3 0 Frontier Memory;
    GASPRICE 0x3a 0 1 Frontier Environment;
    EXTCODESIZE 0x3b 1 1 Frontier Lookup;
    EXTCODECOPY 0x3c 4 0 Frontier Own;
    RETURNDATASIZE 0x3d 0 1 Byzantium Environment;
    RETURNDATACOPY 0x3e 3 0 Byzantium Memory;
    EXTCODEHASH 0x3f 1 1 Constantinople Lookup;
    BLOCKHASH 0x40 1 1 Frontier Lookup;
    COINBASE 0x41 0 1 Frontier Environment;
    TIMESTAMP 0x42 0 1 Frontier Environment;
    NUMBER 0x43 0 1 Frontier Environment;
    PREVRANDAO 0x44 0 1 Frontier Environment;
    GASLIMIT 0x45 0 1 Frontier Environment;
    CHAINID 0x46 0 1 Istanbul Environment;
    SELFBALANCE 0x47 0 1 Istanbul Environment;
    BASEFEE 0x48 0 1 London Environment;
    BLOBHASH 0x49 1 1 Cancun Lookup;
    BLOBBASEFEE 0x4a 0 1 Cancun Environment;
    POP 0x50 1 0 Frontier Own;
    MLOAD 0x51 1 1 Frontier Memory;
    MSTORE 0x52 2 0 Frontier Memory;
    MSTORE8 0x53 2 0 Frontier Memory;
    SLOAD 0x54 1 1 Frontier Lookup;
    SSTORE 0x55 2 0 Frontier Own;
    JUMP 0x56 1 0 Frontier Own;
    JUMPI 0x57 2 0 Frontier Own;
    PC 0x58 0 1 Frontier Environment;
    MSIZE 0x59 0 1 Frontier Environment;
    GAS 0x5a 0 1 Frontier Environment;
    JUMPDEST 0x5b 0 0 Frontier Own;
    TLOAD 0x5c 1 1 Cancun Lookup;
    TSTORE 0x5d 2 0 Cancun Own;
    MCOPY 0x5e 3 0 Cancun Memory;
    PUSH0 0x5f 0 1 Shanghai Environment;
    PUSH1 0x60 0 1 Frontier Own;
    DUP1 0x80 1 2 Frontier Own;
    SWAP1 0x90 2 2 Frontier Own;
    LOG0 0xa0 2 0 Frontier Own;
    CREATE 0xf0 3 1 Frontier Own;
    CALL 0xf1 7 1 Frontier Own;
    CALLCODE 0xf2 7 1 Frontier Own;
    RETURN 0xf3 2 0 Frontier Own;
    DELEGATECALL 0xf4 6 1 Homestead Own;
    CREATE2 0xf5 4 1 Constantinople Own;
    STATICCALL 0xfa 6 1 Byzantium Own;
    REVERT 0xfd 2 0 Byzantium Own;
    INVALID 0xfe 0 0 Frontier Own;
    SELFDESTRUCT 0xff 1 0 Frontier Own;
}

/// The instructions that a fork has.
pub fn of(fork: Fork) -> impl Iterator<Item = &'static Instruction> {
    INSTRUCTIONS.iter().filter(move |instruction| instruction.since <= fork)
}

/// Whether a fork has an instruction with this byte.
pub fn has(fork: Fork, byte: u8) -> bool {
    let first = match byte {
        0x60..=0x7f => PUSH1,
        0x80..=0x8f => DUP1,
        0x90..=0x9f => SWAP1,
        0xa0..=0xa4 => LOG0,
        other => other,
    };
    of(fork).any(|instruction| instruction.byte == first)
}
