#!/usr/bin/env node
// The compiler of npm's package `solc`, spoken to as forge speaks to a native solc: `--version`, and `--standard-json` with
// the input on stdin. Forge would download a native one otherwise.
const { readFileSync } = require("node:fs");
const solc = require("solc");

const [option] = process.argv.slice(2);
if (option === "--version") {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
} else if (process.argv.includes("--standard-json")) {
  process.stdout.write(solc.compile(readFileSync(0, "utf8")));
} else {
  console.error(`solc.cjs knows --version and --standard-json, not: ${process.argv.slice(2).join(" ")}`);
  process.exit(2);
}
