//! What gas costs in time: every precompiled contract and every kind of instruction at the worst that is known, as the tables
//! of docs/costs.md. `cargo bench -p ipe-chain --bench costs`; one core, a minute.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/support/order.rs"]
mod order;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, hex};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Bound, Candidate, Ledger};
use ipe_types::block::Transaction;
use ipe_types::crypto::NodeKey;
use ipe_types::extra::ExtraData;
use ipe_types::spec::ChainSpec;
use revm::precompile::{PrecompileSpecId, Precompiles};
use sha2::{Digest, Sha256};

/// Least time that one thing is measured for, ms.
const LASTING_MS: u128 = 200;
/// Gas of one run of instructions.
const GAS: u64 = 20_000_000;
const G1: &str = "0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb0000000000000000000000000000000008b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1";
const G2: &str = "00000000000000000000000000000000024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb80000000000000000000000000000000013e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e000000000000000000000000000000000ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801000000000000000000000000000000000606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be";
const BN: &str = "18b18acfb4c2c30276db5411368e7185b311dd124691610c5d3b74034e093dc9063c909c4720840cb5134cb9f59fa749755796819658d32efc0d288198f37266";
const BN2: &str = "07c2b7f58a84bd6145f00c9c2bc0bb1a187f20ff2c92963a88019e7c6a014eed06614e20c147e940f2d70da3f74c9a17df361706a4485c742bd6788478fa17d7";
const PAIR: &str = "1c76476f4def4bb94541d57ebba1193381ffa7aa76ada664dd31c16024c43f593034dd2920f673e204fee2811c678745fc819b55d3e9d294e45c9b03a76aef41209dd15ebff5d46c4bd888e51a93cf99a7329636c63514396b4a452003a35bf704bf11ca01483bfa8b34b43561848d28905960114c8ac04049af4b6315a416782bb8324af6cfc93537a2ad1a445cfd0ca2a71acd7ac41fadbf933c2a51be344d120a2a4cf30c1bf9845f20c6fe39e07ea2cce61f0c9bb048165fe5e4de877550";
const SIGNED: &str = "18c547e4f7b0f325ad1e56f57e26c745b09a3e503d86e00e5255ff7f715d3d1c000000000000000000000000000000000000000000000000000000000000001c73b1693892219d736caba55bdb67216e485557ea6b6af75f37096c9aa6a5a75feeb940b1d03b21e36b0e47e79769f095fe2ab855bd91e3a38756b7d75a9c4549";
const P256: &str = "4cee90eb86eaa050036147a12d49004b6b9c72bd725d39d4785011fe190f0b4da73bd4903f0ce3b639bbbf6e8e80d16931ff4bcf5993d58468e8fb19086e8cac36dbcd03009df8c59286b162af3bd7fcc0450c9aa81be5d10d312af6c66b1d604aebd3099c618202fcfe16ae7770b0c49ab5eadf74b754204a3bb6060e44eff37618b065f9832de4ca6ca971a7a1adc826d0f7c00181a5fb2ddf79ae00b4e10e";
const COMMITMENT: &str = "b0e7791fb972fe014159aa33a98622da3cdc98ff707965e536d8636b5fcc5ac7a91a8c46e59a00dca575af0f18fb13dc";

fn main() {
    println!("| Precompiled contract | Fork | Input | Gas | ns a gas | s per 100 Mgas |\n|---|---|---|---|---|---|");
    precompiles();
    println!("\n| Instructions | ns a gas | s per 100 Mgas |\n|---|---|---|");
    instructions();
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// Median of the times of one run, ns.
fn nanos(mut run: impl FnMut()) -> f64 {
    let (began, mut times) = (Instant::now(), Vec::new());
    while times.len() < 5 || began.elapsed().as_millis() < LASTING_MS {
        let one = Instant::now();
        run();
        times.push(one.elapsed().as_nanos() as f64);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn precompiles() {
    let modexp = |size: usize, exponent: usize, odd: bool| {
        let word = |number: usize| U256::from(number).to_be_bytes::<32>().to_vec();
        let mut input = [word(size), word(exponent), word(size), vec![0xab; size], vec![0xff; exponent], vec![0xf3; size]].concat();
        if !odd {
            *input.last_mut().unwrap() = 0xf0;
        }
        input
    };
    let scalars = |point: &str, count: usize| {
        let mut scalar = [0xff; 32];
        scalar[0] = 0x70;
        [unhex(point), scalar.to_vec()].concat().repeat(count)
    };
    let field = [vec![0; 16], vec![0x11; 48]].concat();
    let mut hash = Sha256::digest(unhex(COMMITMENT)).to_vec();
    hash[0] = 1;
    let number = |n: u64| U256::from(n).to_be_bytes::<32>().to_vec();
    let kzg = [hash, number(3), number(5), unhex(COMMITMENT), [vec![0xc0], vec![0; 47]].concat()].concat();
    let blake = |rounds: u32| [rounds.to_be_bytes().to_vec(), vec![7; 208], vec![1]].concat();
    let berlin = [
        (5, "8 bytes, odd", modexp(8, 32, true)),
        (5, "8 bytes, even", modexp(8, 32, false)),
        (5, "32 bytes", modexp(32, 32, true)),
        (5, "256 bytes to the third", modexp(256, 1, true)),
        (5, "256 bytes", modexp(256, 256, true)),
        (5, "1,024 bytes", modexp(1_024, 1_024, true)),
    ];
    let osaka = [
        (1, "a signature", unhex(SIGNED)),
        (2, "1 MiB", vec![1; 1 << 20]),
        (3, "1 MiB", vec![1; 1 << 20]),
        (4, "1 MiB", vec![1; 1 << 20]),
        (5, "8 bytes, even", modexp(8, 32, false)),
        (5, "256 bytes to the third", modexp(256, 1, true)),
        (5, "1,024 bytes", modexp(1_024, 1_024, true)),
        (6, "two points", unhex(&[BN, BN2].concat())),
        (7, "the largest factor", [unhex(BN), vec![0xff; 32]].concat()),
        (8, "one pair", unhex(PAIR)),
        (8, "32 pairs", unhex(PAIR).repeat(32)),
        (9, "100,000 rounds", blake(100_000)),
        (10, "a proof", kzg),
        (11, "two points", unhex(G1).repeat(2)),
        (12, "one", scalars(G1, 1)),
        (12, "128", scalars(G1, 128)),
        (13, "two points", unhex(G2).repeat(2)),
        (14, "one", scalars(G2, 1)),
        (14, "128", scalars(G2, 128)),
        (15, "one pair", unhex(&[G1, G2].concat())),
        (15, "32 pairs", unhex(&[G1, G2].concat()).repeat(32)),
        (16, "an element", field.clone()),
        (17, "an element", field.repeat(2)),
        (256, "a signature", unhex(P256)),
    ];
    let forks = [("Berlin", PrecompileSpecId::BERLIN, berlin.to_vec()), ("Osaka", PrecompileSpecId::OSAKA, osaka.to_vec())];
    for (fork, spec, cases) in forks {
        let contracts = Precompiles::new(spec);
        for (number, what, input) in cases {
            let mut address = [0; 20];
            address[12..].copy_from_slice(&u64::to_be_bytes(number));
            let contract = contracts.get(&Address::from(address)).unwrap();
            let output = contract.execute(&input, u64::MAX / 2, 0).unwrap();
            assert!(output.halt_reason().is_none(), "{number} {what}: {:?}", output.halt_reason());
            let per_gas = nanos(|| drop(black_box(contract.execute(&input, u64::MAX / 2, 0)))) / output.gas_used as f64;
            println!(
                "| {number:#x} {} | {fork} | {what} | {} | {per_gas:.1} | {:.2} |",
                contract.id().name(),
                output.gas_used,
                per_gas / 10.0
            );
        }
    }
}

fn instructions() {
    let ones = format!("7f{}", "ff".repeat(32));
    let large = format!("7f{}fe", "f7".repeat(31));
    // What, code before the loop, body of the loop.
    let cases = [
        ("JUMPDEST", String::new(), String::new()),
        ("ADD", String::new(), "600160020150".into()),
        ("MULMOD of 256 bits", String::new(), format!("{large}{ones}{ones}0950")),
        ("SDIV of 256 bits", String::new(), format!("{large}{ones}0550")),
        ("EXP of 32 bytes", String::new(), format!("{ones}60030a50")),
        ("KECCAK256 of 32 bytes", String::new(), "602060002050".into()),
        ("KECCAK256 of 256 KiB", String::new(), "6204000060002050".into()),
        ("CALLDATACOPY of 4 KiB", String::new(), "6110006000600037".into()),
        ("MCOPY of 4 KiB", String::new(), "61100060006110005e".into()),
        ("EXTCODECOPY of 24 KiB", String::new(), "61600060006000303c".into()),
        ("LOG4 of 1 KiB", String::new(), "60016002600360046104006000a4".into()),
        ("SLOAD, warm", String::new(), "60005450".into()),
        ("SLOAD, cold", String::new(), "5a5450".into()),
        ("SSTORE, a new slot", String::new(), "60015a55".into()),
        ("SSTORE, warm", String::new(), "5a600055".into()),
        ("BALANCE, cold", String::new(), "5a3150".into()),
        ("EXTCODEHASH, cold", String::new(), "5a3f50".into()),
        ("TSTORE", String::new(), "5a5a5d".into()),
        ("STATICCALL of nobody, warm", String::new(), "600060006000600060ff5afa50".into()),
        ("CALL of itself, to the last gas", String::new(), "60006000600060006000305af150".into()),
        ("CREATE of nothing", String::new(), "600060006000f050".into()),
        ("CREATE2 of 48 KiB that is no code", "60fe61bfff53".into(), "5a61c00060006000f550".into()),
    ];
    for (what, begin, body) in cases {
        let code = format!("{begin}5b{body}61{:04x}56", begin.len() / 2);
        let (ledger, candidate) = ledger(&code);
        let ns = nanos(|| {
            let head = ledger.head();
            let order = order::next(&head);
            let mut once = Some(Arc::clone(&candidate));
            let built = ledger.build(&order, &mut |_| once.take(), Bound::NONE).unwrap();
            assert_eq!(built.block().header.gas_used, GAS);
        });
        ipe_types::work::take();
        let mut once = Some(Arc::clone(&candidate));
        let head = ledger.head();
        ledger.build(&order::next(&head), &mut |_| once.take(), Bound::NONE).unwrap();
        // What fails has taken all gas and has executed little.
        assert!(ipe_types::work::take().gas > GAS / 2, "{what} fails before its gas is gone");
        println!("| {what} | {:.2} | {:.2} |", ns / GAS as f64, ns / GAS as f64 / 10.0);
    }
}

fn ledger(code: &str) -> (Ledger, Arc<Candidate>) {
    let key = NodeKey::from_bytes([1; 32]).unwrap();
    let extra = ExtraData::genesis(vec![key.address()]).encode();
    let contract = Address::repeat_byte(0xcc);
    let genesis = format!(
        r#"{{"config":{{"chainId":5,"berlinBlock":0,"londonBlock":0,"zeroBaseFee":true,"shanghaiTime":0,"cancunTime":0,"pragueTime":0,
        "qbft":{{"blockperiodseconds":1}}}},"gasLimit":"0x5f5e100","difficulty":"0x1","timestamp":"1700000000","extraData":"{extra}",
        "alloc":{{"{contract}":{{"balance":"0","code":"0x{code}"}}}}}}"#
    );
    let ledger = Ledger::open(Arc::new(MemoryStore::new()), Arc::new(ChainSpec::parse(&genesis).unwrap())).unwrap();
    let to = TxKind::Call(contract);
    let tx = TxLegacy { chain_id: Some(5), nonce: 0, gas_price: 0, gas_limit: GAS, to, value: U256::ZERO, input: Bytes::new() };
    let signed = key.sign(tx.signature_hash());
    let bytes = signed.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    (ledger, Arc::new(Candidate::recover(Transaction::from(tx.into_signed(signature))).unwrap()))
}
