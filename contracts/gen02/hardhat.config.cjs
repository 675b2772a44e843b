// Hardhat with the committed artifacts and RBB's scenarios: nothing is compiled, the EVM is the chain's.
require("@nomicfoundation/hardhat-ethers");
require("@nomicfoundation/hardhat-chai-matchers");
const { ProviderWrapper } = require("hardhat/plugins");
const { extendProvider } = require("hardhat/config");
const { Interface } = require("ethers");
const fs = require("fs");
const path = require("path");

// The scenarios look for an error's name in the message, which Hardhat writes only about what it has compiled itself.
const errors = new Interface(
  fs
    .readdirSync(path.join(__dirname, "artifacts"), { recursive: true })
    .filter((name) => name.endsWith(".json"))
    .flatMap((name) => JSON.parse(fs.readFileSync(path.join(__dirname, "artifacts", name), "utf8")).abi)
    .filter(({ type }) => type === "error"),
);

class Naming extends ProviderWrapper {
  async request(args) {
    try {
      return await this._wrappedProvider.request(args);
    } catch (error) {
      const data = typeof error.data === "string" ? error.data : error.data?.data;
      const named = typeof data === "string" && data.length >= 10 ? errors.parseError(data) : null;
      if (named) error.message += ` (custom error '${named.name}(${named.args.join(", ")})')`;
      throw error;
    }
  }
}
extendProvider(async (provider) => new Naming(provider));

module.exports = { solidity: "0.8.28", networks: { hardhat: { hardfork: "berlin", allowUnlimitedContractSize: false } } };
