// Compiles contracts/src and contracts/test with the solc of package-lock.json.
//
//   node build.cjs MODULES            writes artifacts/
//   node build.cjs MODULES --check    compares with artifacts/ byte for byte; exit code 1 on a difference
//
// MODULES is the node_modules folder that holds solc. Nothing else is read, nothing is downloaded.
const { createHash } = require("crypto");
const fs = require("fs");
const path = require("path");

const [modules, mode] = process.argv.slice(2);
const solc = require(path.resolve(modules, "solc"));
const root = __dirname;
const settings = {
  evmVersion: "berlin",
  optimizer: { enabled: true, runs: 200 },
  outputSelection: {
    "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences", "storageLayout"] },
  },
};

const sources = {};
for (const folder of ["src", "test"]) {
  for (const file of fs.readdirSync(path.join(root, folder)).filter((name) => name.endsWith(".sol")).sort()) {
    sources[`${folder}/${file}`] = { content: fs.readFileSync(path.join(root, folder, file), "utf8") };
  }
}
const sha256 = (text) => createHash("sha256").update(text).digest("hex");

const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
const said = (output.errors || []).filter((error) => !(mode === undefined && process.env.QUIET));
for (const error of said) console.error(error.formattedMessage);
if (said.length > 0) process.exit(1); // a warning is a fault as well

// Type names of the storage layout carry numbers of the syntax tree, which say nothing.
const layout = (storage) => ({
  storage: storage.storage.map(({ label, offset, slot, type }) => ({ label, offset, slot, type: plain(type) })),
  types: Object.fromEntries(
    Object.entries(storage.types || {}).map(([name, type]) => [
      plain(name),
      {
        encoding: type.encoding,
        label: type.label,
        numberOfBytes: type.numberOfBytes,
        ...(type.base && { base: plain(type.base) }),
        ...(type.key && { key: plain(type.key), value: plain(type.value) }),
        ...(type.members && { members: type.members.map(({ label, offset, slot, type }) => ({ label, offset, slot, type: plain(type) })) }),
      },
    ]),
  ),
});
const plain = (type) => type.replace(/\)\d+/g, ")");

const files = {};
const hashes = {};
for (const [source, contracts] of Object.entries(output.contracts)) {
  for (const [name, contract] of Object.entries(contracts)) {
    const bytecode = contract.evm.bytecode.object;
    if (bytecode === "" || !contract.abi.some(({ type }) => type === "function")) continue;
    const folder = source.startsWith("test/") ? "test/" : "";
    files[`${folder}${name}.json`] = {
      _format: "hh-sol-artifact-1",
      contractName: name,
      sourceName: source,
      abi: contract.abi,
      bytecode: `0x${bytecode}`,
      deployedBytecode: `0x${contract.evm.deployedBytecode.object}`,
      linkReferences: {},
      deployedLinkReferences: {},
      immutableReferences: contract.evm.deployedBytecode.immutableReferences || {},
      ...(folder === "" && { storageLayout: layout(contract.storageLayout) }),
    };
  }
}
const texts = {};
for (const [name, artifact] of Object.entries(files)) {
  texts[name] = `${JSON.stringify(artifact, null, 1)}\n`;
  hashes[name] = sha256(texts[name]);
}
const lock = {
  compiler: { name: "solc", version: solc.version(), evmVersion: settings.evmVersion, optimizer: settings.optimizer },
  sources: Object.fromEntries(Object.entries(sources).map(([name, { content }]) => [name, sha256(content)])),
  artifacts: hashes,
};
texts["lock.json"] = `${JSON.stringify(lock, null, 1)}\n`;

const folder = path.join(root, "artifacts");
const present = fs.existsSync(folder)
  ? ["", "test/"].flatMap((sub) => (fs.existsSync(path.join(folder, sub)) ? fs.readdirSync(path.join(folder, sub)).filter((name) => name.endsWith(".json")).map((name) => sub + name) : []))
  : [];
let faults = 0;
for (const name of present.filter((name) => !(name in texts))) {
  if (mode === "--check") { console.error(`artifacts/${name}: no source makes it`); faults += 1; }
  else fs.rmSync(path.join(folder, name));
}
for (const [name, text] of Object.entries(texts)) {
  const file = path.join(folder, name);
  if (mode === "--check") {
    if (!fs.existsSync(file) || fs.readFileSync(file, "utf8") !== text) { console.error(`artifacts/${name}: not what the sources compile to`); faults += 1; }
  } else {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }
}
if (mode !== "--check") {
  for (const [name, artifact] of Object.entries(files)) {
    if (!name.startsWith("test/")) console.log(`${artifact.contractName}: ${(artifact.deployedBytecode.length - 2) / 2} bytes`);
  }
}
if (faults > 0) process.exit(1);
console.log(`${Object.keys(files).length} artifacts by solc ${solc.version()}, ${mode === "--check" ? "byte for byte as committed" : "written"}`);
