// Hardhat 2, unchanged, against a running node; the contract is compiled by ../contract.mjs, so nothing is downloaded.
module.exports = {
  solidity: "0.8.30",
  networks: { checked: { url: process.env.HTTP_URL, accounts: [process.env.PRIVATE_KEY] } },
};
