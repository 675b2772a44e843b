// Unchanged clients against a running node.
//
//   CLIENTS=ethers,viem,cast node check.mjs HTTP_URL WS_URL PRIVATE_KEY
//
// The account needs a balance only where gas has a price. Exits 0 when everything was as a user expects it, and says
// what was not otherwise. Fee-market transactions are sent where the chain has a base fee.

import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ethers } from "ethers";
import {
  createPublicClient, createWalletClient, decodeErrorResult, defineChain, http, parseAbiItem, webSocket,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { compile } from "./contract.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const [httpUrl, wsUrl, key] = process.argv.slice(2);
if (!key) {
  console.error("usage: node check.mjs HTTP_URL WS_URL PRIVATE_KEY");
  process.exit(2);
}

let failed = 0;
function check(what, ok, got) {
  console.log(`${ok ? "ok  " : "FAIL"} ${what}${ok ? "" : `: got ${JSON.stringify(got, (_, v) => (typeof v === "bigint" ? `${v}` : v))}`}`);
  if (!ok) failed += 1;
}
function within(ms, promise, what) {
  const late = new Promise((_, no) => setTimeout(() => no(new Error(`${what}: nothing within ${ms} ms`)), ms));
  return Promise.race([promise, late]);
}

async function withEthers({ abi, bytecode }, market) {
  const provider = new ethers.JsonRpcProvider(httpUrl, undefined, { batchMaxCount: 10 });
  const wallet = new ethers.Wallet(key, provider);
  const block = await provider.getBlock("latest");
  const gasPrice = BigInt(await provider.send("eth_gasPrice", []));
  const contract = await new ethers.ContractFactory(abi, bytecode, wallet).deploy({ type: 0, gasPrice });
  await within(30_000, contract.waitForDeployment(), "ethers deploy");
  check("ethers: contract deployed", (await provider.getCode(await contract.getAddress())).length > 10);

  const socket = new ethers.WebSocketProvider(wsUrl);
  const heard = new Promise((yes) => socket.once("block", yes));
  const event = new Promise((yes) => new ethers.Contract(contract.target, abi, socket).once("Noted", (...a) => yes(a)));
  await new Promise((yes) => setTimeout(yes, 500));

  const legacy = await (await contract.note("legacy", { type: 0, gasPrice })).wait();
  check("ethers: legacy transaction", legacy.status === 1 && legacy.type === 0, legacy);
  const listed = await (await contract.note("listed", { type: 1, gasPrice, accessList: [{ address: contract.target, storageKeys: [ethers.ZeroHash] }] })).wait();
  check("ethers: access-list transaction", listed.status === 1 && listed.type === 1, listed);
  if (market) {
    const dynamic = await (await contract.note("dynamic", { type: 2 })).wait();
    check("ethers: fee-market transaction", dynamic.status === 1 && dynamic.type === 2, dynamic);
  }
  const expected = market ? 3n : 2n;
  check("ethers: call", (await contract.count()) === expected, await contract.count());
  const logs = await contract.queryFilter(contract.filters.Noted(wallet.address), block.number);
  check("ethers: logs", BigInt(logs.length) === expected && logs[0].args.text === "legacy", logs.length);
  const [author] = await within(15_000, event, "ethers event over WebSocket");
  check("ethers: event over WebSocket", author === wallet.address, author);
  check("ethers: block over WebSocket", Number.isInteger(await within(15_000, heard, "ethers block over WebSocket")));
  const reason = await contract.refuse(1).catch((e) => e.reason);
  check("ethers: revert reason", reason === "not today", reason);
  const custom = await contract.refuse(10).catch((e) => e.revert?.name);
  check("ethers: custom error", custom === "Refused", custom);
  const fees = await provider.getFeeData();
  check("ethers: fee data", fees.gasPrice !== null, fees);
  const history = await provider.getTransaction(legacy.hash);
  check("ethers: transaction by hash", history.blockNumber === legacy.blockNumber, history);
  await socket.destroy();
  provider.destroy();
}

async function withViem({ abi, bytecode }, market) {
  const id = Number(await new ethers.JsonRpcProvider(httpUrl).send("eth_chainId", []));
  const chain = defineChain({ id, name: "checked", nativeCurrency: { name: "c", symbol: "c", decimals: 18 }, rpcUrls: { default: { http: [httpUrl], webSocket: [wsUrl] } } });
  const account = privateKeyToAccount(key);
  const open = createPublicClient({ chain, transport: http(), pollingInterval: 300 });
  const wallet = createWalletClient({ chain, account, transport: http() });
  const gasPrice = await open.getGasPrice();
  const deployed = await open.waitForTransactionReceipt({ hash: await wallet.deployContract({ abi, bytecode, gasPrice, type: "legacy" }) });
  const address = deployed.contractAddress;
  check("viem: contract deployed", deployed.status === "success" && !!address, deployed);
  const live = createPublicClient({ chain, transport: webSocket(wsUrl) });
  const seen = new Promise((yes, no) => live.watchBlockNumber({ emitOnBegin: false, onBlockNumber: yes, onError: no }));
  const event = new Promise((yes, no) => live.watchContractEvent({ address, abi, eventName: "Noted", onLogs: yes, onError: no }));
  await new Promise((yes) => setTimeout(yes, 500));
  const kinds = [["legacy", { type: "legacy", gasPrice }], ["eip2930", { type: "eip2930", gasPrice, accessList: [] }]];
  if (market) kinds.push(["eip1559", { type: "eip1559" }]);
  for (const [name, fields] of kinds) {
    const hash = await wallet.writeContract({ address, abi, functionName: "note", args: [name], ...fields });
    const receipt = await open.waitForTransactionReceipt({ hash });
    check(`viem: ${name} transaction`, receipt.status === "success" && receipt.type === name, receipt.type);
  }
  check("viem: call", (await open.readContract({ address, abi, functionName: "notes", args: [1n] })) === "legacy");
  const logs = await open.getLogs({ address, event: parseAbiItem("event Noted(address indexed author, uint256 indexed number, string text)"), fromBlock: deployed.blockNumber });
  check("viem: logs", logs.length === kinds.length && logs[0].args.text === "legacy", logs.length);
  check("viem: block over WebSocket", typeof (await within(15_000, seen, "viem block over WebSocket")) === "bigint");
  check("viem: event over WebSocket", (await within(15_000, event, "viem event over WebSocket"))[0].args.text === "legacy");
  const refused = await open.call({ to: address, data: "0x" + new ethers.Interface(abi).encodeFunctionData("refuse", [10]).slice(2) }).catch((e) => e.walk?.((x) => x.data)?.data);
  const data = typeof refused === "string" ? refused : refused?.data;
  check("viem: custom error's data", !!data && decodeErrorResult({ abi, data }).errorName === "Refused", refused);
  const filter = await open.createBlockFilter();
  await within(15_000, (async () => { while ((await open.getFilterChanges({ filter })).length === 0) await new Promise((y) => setTimeout(y, 200)); })(), "viem block filter");
  check("viem: block filter", await open.uninstallFilter({ filter }));
  const proof = await open.getProof({ address, storageKeys: [`0x${"0".repeat(64)}`] });
  check("viem: proof", proof.storageProof[0].value === BigInt(kinds.length), proof.storageProof);
}

function withCast({ bytecode }, market) {
  // Options go first: everything after --create's code is taken for constructor arguments.
  const cast = (command, ...args) => execFileSync(join(here, "node_modules/.bin/cast"), [command, "--rpc-url", httpUrl, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
  const price = cast("gas-price");
  const fees = ["--legacy", "--gas-price", price];
  const deployed = JSON.parse(cast("send", "--json", "--private-key", key, ...fees, "--create", bytecode));
  check("cast: contract deployed", deployed.status === "0x1", deployed);
  const to = deployed.contractAddress;
  const sent = JSON.parse(cast("send", "--json", "--private-key", key, ...fees, to, "note(string)", "from cast"));
  check("cast: legacy transaction", sent.status === "0x1" && sent.logs.length === 1, sent);
  if (market) {
    const dynamic = JSON.parse(cast("send", "--json", "--private-key", key, to, "note(string)", "dynamic"));
    check("cast: fee-market transaction", dynamic.type === "0x2", dynamic.type);
  }
  check("cast: call", cast("call", to, "count()(uint256)") === (market ? "2" : "1"));
  const logs = JSON.parse(cast("logs", "--json", "--address", to, "--from-block", "0"));
  check("cast: logs", logs.length === (market ? 2 : 1), logs.length);
  check("cast: receipt", cast("receipt", sent.transactionHash, "blockNumber").length > 0);
  check("cast: block", JSON.parse(cast("block", "latest", "--json")).hash.length === 66);
  check("cast: estimate", Number(cast("estimate", to, "note(string)", "x")) > 21000);
}

async function main() {
  const wanted = (process.env.CLIENTS ?? "ethers,viem,cast").split(",");
  const contract = compile();
  const block = await new ethers.JsonRpcProvider(httpUrl).send("eth_getBlockByNumber", ["latest", false]);
  const market = block.baseFeePerGas !== undefined;
  if (wanted.includes("ethers")) await withEthers(contract, market);
  if (wanted.includes("viem")) await withViem(contract, market);
  if (wanted.includes("cast")) withCast(contract, market);
  console.log(failed === 0 ? `${wanted.join(", ")}: satisfied` : `${failed} checks failed`);
  process.exit(failed === 0 ? 0 : 1);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
