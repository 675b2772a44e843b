//! The long run: libFuzzer on one target, which `IPE_FUZZ_TARGET` names. `cargo xtask fuzz` builds and calls it.
//!
//! With `IPE_FUZZ_SEEDS` it writes the target's seeds into that folder and ends.

// libFuzzer calls a function by its name; the macro exports it.
#![allow(unsafe_code)]
#![no_main]

use std::sync::LazyLock;

use ipe_fuzz::Target;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("IPE_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = ipe_fuzz::target(&name) else {
        eprintln!("IPE_FUZZ_TARGET is {name:?}, which is no target; see `cargo xtask fuzz --list`");
        std::process::exit(2);
    };
    if let Ok(folder) = std::env::var("IPE_FUZZ_SEEDS") {
        for (index, seed) in (target.seeds)().into_iter().enumerate() {
            if let Err(error) = std::fs::write(std::path::Path::new(&folder).join(format!("seed-{index:04}")), seed) {
                eprintln!("could not write a seed into {folder}: {error}");
                std::process::exit(2);
            }
        }
        std::process::exit(0);
    }
    target
});

libfuzzer_sys::fuzz_target!(
    init: {
        LazyLock::force(&TARGET);
    },
    |input: &[u8]| {
        if input.len() <= TARGET.longest {
            TARGET.check(input);
        }
    }
);
