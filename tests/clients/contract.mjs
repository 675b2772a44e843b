// Compiles Notes.sol to {abi, bytecode}; as a program writes them to a file: node contract.mjs OUT.json

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));

export function compile() {
  const input = {
    language: "Solidity",
    sources: { "Notes.sol": { content: readFileSync(join(here, "Notes.sol"), "utf8") } },
    // The oldest fork in use among the networks this is for.
    settings: { evmVersion: "berlin", optimizer: { enabled: true }, outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const { abi, evm } = output.contracts["Notes.sol"].Notes;
  return { abi, bytecode: `0x${evm.bytecode.object}` };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(process.argv[2], JSON.stringify(compile()));
