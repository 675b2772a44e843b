#!/bin/sh
# Cargo calls this in place of rustc for the crates of the workspace (RUSTC_WORKSPACE_WRAPPER) while `cargo xtask fuzz` builds:
# our own code tells libFuzzer which edges it took, the libraries stay as they are compiled for everything else.
case "$*" in
*build_script_build* | *"--crate-type proc-macro"* | *"--crate-name ___"*) exec "$@" ;;
esac
exec "$@" -C codegen-units=1 -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares
