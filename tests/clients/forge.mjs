// forge against a running node: create, a script that broadcasts, and tests on a fork of the chain.
//
//   node forge.mjs HTTP_URL PRIVATE_KEY
//
// The project is in forge/, its contract is Notes.sol. Exits 0 when everything was as a user expects it.

import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const [url, key] = process.argv.slice(2);
if (!key) {
  console.error("usage: node forge.mjs HTTP_URL PRIVATE_KEY");
  process.exit(2);
}

function forge(args, env = {}) {
  const options = { cwd: join(here, "forge"), encoding: "utf8", env: { ...process.env, ...env }, maxBuffer: 1 << 26, timeout: 120_000 };
  return execFileSync(join(here, "node_modules/.bin/forge"), args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
}
function check(what, ok, got) {
  console.log(`${ok ? "ok  " : "FAIL"} ${what}${ok ? "" : `: got ${JSON.stringify(got)}`}`);
  if (!ok) process.exitCode = 1;
}

try {
  const signed = ["--rpc-url", url, "--private-key", key, "--legacy", "--broadcast", "--json"];
  const created = JSON.parse(forge(["create", "--gas-price", "0", ...signed, "src/Notes.sol:Notes"]));
  check("forge: create", /^0x[0-9a-fA-F]{40}$/.test(created.deployedTo), created);

  const lines = forge(["script", "Deploy", "--with-gas-price", "0", ...signed]).split("\n").filter((line) => line.startsWith("{"));
  const receipts = lines.map((line) => JSON.parse(line)).filter((line) => line.tx_hash);
  check("forge: script broadcasts three transactions", receipts.length === 3 && receipts.every((r) => r.status === "success"), receipts);
  const notes = receipts.find((receipt) => receipt.contract_address)?.contract_address;

  const suites = Object.values(JSON.parse(forge(["test", "--fork-url", url, "--json"], { NOTES: notes })));
  const results = suites.flatMap((suite) => Object.values(suite.test_results)).map((result) => result.status);
  check("forge: tests on a fork of the chain", results.length === 2 && results.every((status) => status === "Success"), results);
} catch (error) {
  check("forge", false, `${error.message}\n${error.stderr ?? ""}`.slice(0, 2_000));
}
console.log(process.exitCode ? "forge: not satisfied" : "forge: satisfied");
