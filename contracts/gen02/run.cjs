// RBB's scenarios of its second generation on the committed artifacts of ours.
//
//   node run.cjs WORK SCENARIOS [arguments of cucumber-js]
//
// WORK is a folder with the packages of package.json installed; SCENARIOS is RBB's folder `gen02/features`, untouched. The
// contracts that the scenarios call are ours, also the few that only tests use (contracts/test); nothing of RBB's is compiled.
const { spawnSync } = require("child_process");
const fs = require("fs");
const path = require("path");

const [work, scenarios, ...rest] = process.argv.slice(2).map((argument, index) => (index < 2 ? path.resolve(argument) : argument));
const artifacts = path.join(__dirname, "..", "artifacts");
for (const folder of ["features", "artifacts", "cache", "contracts"]) fs.rmSync(path.join(work, folder), { recursive: true, force: true });
fs.cpSync(scenarios, path.join(work, "features"), { recursive: true });
fs.copyFileSync(path.join(__dirname, "hardhat.config.cjs"), path.join(work, "hardhat.config.js"));
fs.mkdirSync(path.join(work, "contracts"));
for (const file of ["", "test/"].flatMap((sub) => fs.readdirSync(path.join(artifacts, sub)).map((name) => sub + name))) {
  if (!file.endsWith(".json") || file === "lock.json") continue;
  const artifact = JSON.parse(fs.readFileSync(path.join(artifacts, file), "utf8"));
  const folder = path.join(work, "artifacts", artifact.sourceName);
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, `${artifact.contractName}.json`), JSON.stringify(artifact));
}
const cucumber = path.join(work, "node_modules", "@cucumber", "cucumber", "bin", "cucumber.js");
const ended = spawnSync(process.execPath, [cucumber, ...rest], { cwd: work, stdio: "inherit", env: { ...process.env, HARDHAT_DISABLE_TELEMETRY_PROMPT: "true" } });
process.exit(ended.status === null ? 1 : ended.status);
