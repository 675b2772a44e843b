"""web3.py, unchanged, against a running node: python check.py HTTP_URL PRIVATE_KEY BYTECODE_FILE

BYTECODE_FILE is JSON with "abi" and "bytecode" (written by `node contract.mjs`)."""

import json
import sys

from web3 import Web3
from web3.middleware import ExtraDataToPOAMiddleware

url, key, artifact = sys.argv[1:4]
with open(artifact, encoding="utf8") as file:
    contract = json.load(file)
w3 = Web3(Web3.HTTPProvider(url))
# A QBFT header's extra data is longer than the 32 bytes that web3.py expects; with Besu the same is needed.
w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
account = w3.eth.account.from_key(key)
failed = 0


def check(what, ok, got=None):
    """Prints a line and counts a failure."""
    global failed
    print(("ok  " if ok else "FAIL") + f" web3.py: {what}" + ("" if ok else f": got {got}"))
    failed += 0 if ok else 1


def send(transaction):
    """Signs, sends, waits."""
    transaction["nonce"] = w3.eth.get_transaction_count(account.address, "pending")
    transaction["chainId"] = w3.eth.chain_id
    if "gas" not in transaction:
        transaction["gas"] = w3.eth.estimate_gas(transaction)
    signed = account.sign_transaction(transaction)
    return w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(signed.raw_transaction), timeout=30)


price = w3.eth.gas_price
latest = w3.eth.get_block("latest")
deployed = send({"from": account.address, "data": contract["bytecode"], "gasPrice": price, "value": 0})
check("contract deployed", deployed["status"] == 1, deployed)
notes = w3.eth.contract(address=deployed["contractAddress"], abi=contract["abi"])
first = notes.functions.note("legacy").build_transaction({"from": account.address, "gasPrice": price})
receipt = send(first)
check("legacy transaction", receipt["status"] == 1, receipt)
listed = notes.functions.note("listed").build_transaction({"from": account.address, "gasPrice": price})
listed["accessList"] = []
listed["type"] = 1
check("access-list transaction", send(listed)["type"] == 1)
expected = 2
if "baseFeePerGas" in latest:
    dynamic = notes.functions.note("dynamic").build_transaction({"from": account.address})
    check("fee-market transaction", send(dynamic)["type"] == 2)
    expected += 1
check("call", notes.functions.count().call() == expected)
logs = notes.events.Noted().get_logs(from_block=deployed["blockNumber"])
check("logs", len(logs) == expected and logs[0]["args"]["text"] == "legacy", len(logs))
try:
    notes.functions.refuse(1).call()
    check("revert", False, "no error")
except Exception as error:  # noqa: BLE001  whatever the library's class is called
    check("revert reason", "not today" in str(error), error)
sys.exit(1 if failed else 0)
