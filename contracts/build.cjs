// Compiles a contract and prints its artifact. Needs the npm package solc of the version named in the source's pragma
// where Node finds it:
//   npm install --no-save solc@0.8.37
//   node build.cjs ExecEscrow.sol > ExecEscrow.json
//   node build.cjs test/Token.sol > test/Token.json
const fs = require("fs");
const path = require("path");
const solc = require(require.resolve("solc", { paths: [process.cwd(), __dirname] }));

const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: "cancun",
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};
const file = process.argv[2];
const name = path.basename(file, ".sol");
const content = fs.readFileSync(path.join(__dirname, file), "utf8");
const input = { language: "Solidity", sources: { [file]: { content } }, settings };
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const problems = output.errors || [];
if (problems.length > 0) {
  process.stderr.write(problems.map((problem) => problem.formattedMessage).join("\n"));
  process.exit(1);
}
const contract = output.contracts[file][name];
const { outputSelection, ...recorded } = settings;
const artifact = {
  contract: name,
  compiler: `solc ${solc.version()}`,
  settings: recorded,
  creationBytecode: "0x" + contract.evm.bytecode.object,
  runtimeBytecode: "0x" + contract.evm.deployedBytecode.object,
  abi: contract.abi,
};
process.stdout.write(JSON.stringify(artifact, null, 1) + "\n");
