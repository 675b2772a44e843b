//! That programs cover what they say.

use super::instructions::{self, INSTRUCTIONS};
use super::random::program;
use ipe_types::fork::Fork;

/// Bytes of code that are instructions, not data of a push.
fn instructions_of(code: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = code.get(at) {
        found.push(byte);
        at += 1 + if (0x60..=0x7f).contains(&byte) { usize::from(byte - 0x5f) } else { 0 };
    }
    found
}

#[test]
fn every_byte_is_run_and_every_precompiled_contract_called() {
    for fork in [Fork::Cancun, Fork::Osaka] {
        let programs = super::all(fork, true);
        let mut run = [0usize; 256];
        for program in &programs {
            for byte in instructions_of(&program.code) {
                run[usize::from(byte)] += 1;
            }
        }
        let never: Vec<usize> = (0..256).filter(|byte| run[*byte] == 0).collect();
        assert_eq!(never, Vec::<usize>::new(), "{fork}: bytes that no program has as an instruction");
        let precompiled = if fork == Fork::Osaka { 18 } else { 10 };
        let names: std::collections::BTreeSet<&str> =
            programs.iter().filter_map(|program| program.name.strip_suffix(" 0 whole")).collect();
        assert_eq!(names.len(), precompiled, "{fork}: {names:?}");
        assert!(programs.iter().all(|program| program.code.len() < 20_000), "programs fit a transaction");
    }
}

#[test]
fn random_programs_never_take_from_an_empty_stack() {
    for index in 0..2_000 {
        let code = program(Fork::Osaka, true, index).code;
        assert_eq!(code, program(Fork::Osaka, true, index).code, "the same in every run");
        let mut depth = 0usize;
        for byte in instructions_of(&code) {
            let (takes, gives) = match byte {
                0x60..=0x7f => (0, 1),
                0x80..=0x8f => (usize::from(byte - 0x7f), usize::from(byte - 0x7f) + 1),
                0x90..=0x9f => (usize::from(byte - 0x8e), usize::from(byte - 0x8e)),
                0xa0..=0xa4 => (2 + usize::from(byte - 0xa0), 0),
                other => INSTRUCTIONS.iter().find(|known| known.byte == other).map_or((0, 0), |known| (known.takes, known.gives)),
            };
            assert!(depth >= takes, "program {index}: {byte:#04x} takes {takes} of {depth}");
            depth = depth - takes + gives;
        }
        assert!(depth <= 1_024, "program {index} leaves {depth} words");
    }
}

#[test]
fn an_instruction_is_a_fork_s_from_its_fork_on() {
    assert!(!instructions::has(Fork::Cancun, instructions::CLZ) && instructions::has(Fork::Osaka, instructions::CLZ));
    assert!(instructions::has(Fork::Berlin, 0x7f) && !instructions::has(Fork::Berlin, instructions::PUSH0));
    assert!(instructions::has(Fork::Osaka, 0xa4) && !instructions::has(Fork::Osaka, 0xa5));
}
