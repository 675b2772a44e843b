//! Programs that call the precompiled contracts: valid inputs, the same cut, lengthened and changed, and the exact gas.

use super::Program;
use super::assembly::Code;
use super::instructions as op;
use super::random::Random;
use alloy_primitives::{U256, hex, keccak256};
use ipe_types::crypto::NodeKey;
use ipe_types::fork::Fork;
use sha2::{Digest, Sha256};

/// alt_bn128's pairing.
const PAIRING: u64 = 8;

/// Generator of alt_bn128's first group.
const BN_ONE: [u8; 64] = hex!(
    "0000000000000000000000000000000000000000000000000000000000000001"
    "0000000000000000000000000000000000000000000000000000000000000002"
);
/// Its negative.
const BN_MINUS: [u8; 64] = hex!(
    "0000000000000000000000000000000000000000000000000000000000000001"
    "30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd45"
);
/// Generator of alt_bn128's second group, imaginary parts first (EIP-197).
const BN_TWO: [u8; 128] = hex!(
    "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2"
    "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"
    "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b"
    "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"
);
/// Generator of BLS12-381's first group as EIP-2537 writes it.
const BLS_ONE: [u8; 128] = hex!(
    "0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
    "0000000000000000000000000000000008b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1"
);
/// Generator of BLS12-381's second group as EIP-2537 writes it.
const BLS_TWO: [u8; 256] = hex!(
    "00000000000000000000000000000000024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
    "0000000000000000000000000000000013e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
    "000000000000000000000000000000000ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801"
    "000000000000000000000000000000000606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be"
);
/// A commitment, point, value and proof that belong together: a vector of EIP-4844's public tests.
const KZG: ([u8; 48], [u8; 64], [u8; 48]) = (
    hex!("8f59a8d2a1a625a17f3fea0fe5eb8c896db3764f3185481bc22f91b4aaffcca25f26936857bc3a7c2539ea8ec3a952b7"),
    hex!(
        "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000000"
        "1522a4a7f34e1ea350ae07c29c96c7e79655aa926122e95fe69fcbd932ca49e9"
    ),
    hex!("a62ad71d14c5719385c0686f1871430475bf3a00f0aa3f7b8dd99a9abc2160744faf0070725e00b60ad9a026a15b1a8c"),
);
/// Hash, signature and key of EIP-7951's public tests.
const P256: [u8; 160] = hex!(
    "4cee90eb86eaa050036147a12d49004b6b9c72bd725d39d4785011fe190f0b4d"
    "a73bd4903f0ce3b639bbbf6e8e80d16931ff4bcf5993d58468e8fb19086e8cac"
    "36dbcd03009df8c59286b162af3bd7fcc0450c9aa81be5d10d312af6c66b1d60"
    "4aebd3099c618202fcfe16ae7770b0c49ab5eadf74b754204a3bb6060e44eff3"
    "7618b065f9832de4ca6ca971a7a1adc826d0f7c00181a5fb2ddf79ae00b4e10e"
);
/// EIP-152's fifth vector: "abc", twelve rounds.
const BLAKE: [u8; 72] = hex!(
    "0000000c48c9bdf267e6096a3ba7ca8485ae67bb2bf894fe72f36e3cf1361d5f3af54fa5"
    "d182e6ad7f520e511f6c3e2b8c68059b6bbd41fbabd9831f79217e1319cde05b61626300"
);

/// The versioned hash of a commitment (EIP-4844).
pub fn versioned(commitment: &[u8]) -> [u8; 32] {
    let mut hash: [u8; 32] = Sha256::digest(commitment).into();
    hash[0] = 1;
    hash
}

/// Input of a pairing that comes to one.
pub fn pairing() -> Vec<u8> {
    [BN_ONE.as_slice(), &BN_TWO, &BN_MINUS, &BN_TWO].concat()
}

/// Whether an address is a contract that needs a library for curves: BLS12-381, and alt_bn128's multiplication and pairing, which
/// take a good part of a block's time and more without.
pub fn needs_library(fork: Fork, address: U256) -> bool {
    address == U256::from(PAIRING - 1)
        || address == U256::from(PAIRING)
        || (fork >= Fork::Prague && (U256::from(0x0b)..=U256::from(0x11)).contains(&address))
}

/// Programs for every precompiled contract of a fork; those that need a library only where all clients have one (`native`).
pub fn programs(fork: Fork, native: bool) -> Vec<Program> {
    let mut all = Vec::new();
    for (address, since, name, inputs) in contracts() {
        if fork < since || (!native && needs_library(fork, U256::from(address))) {
            continue;
        }
        let mut random = Random(address);
        for (at, input) in inputs.iter().enumerate() {
            for (how, changed) in changes(input, &mut random) {
                all.push(program(format!("{name} {at} {how}"), address, &changed));
            }
        }
    }
    all
}

/// An input and what is made of it.
fn changes(input: &[u8], random: &mut Random) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![("whole".to_owned(), input.to_vec())];
    for cut in [1, 32] {
        all.push((format!("cut by {cut}"), input[..input.len().saturating_sub(cut)].to_vec()));
    }
    all.push(("and a byte".to_owned(), [input, &[0xff]].concat()));
    if !input.is_empty() {
        for change in 0..5 {
            let mut changed = input.to_vec();
            let at = random.below(changed.len());
            changed[at] ^= 1 << random.below(8);
            all.push((format!("changed {change}"), changed));
        }
        let mut changed = input.to_vec();
        let word = random.below(changed.len().div_ceil(32)) * 32;
        let end = changed.len().min(word + 32);
        changed[word..end].fill(0xff);
        all.push(("with a word of ones".to_owned(), changed));
    }
    all
}

/// Calls the contract with plenty of gas, then with one less than it took, just that, and one more; gives everything that it
/// answers.
fn program(name: String, address: u64, input: &[u8]) -> Program {
    let build = |offset: usize| {
        let [high, low] = u16::try_from(offset).unwrap_or(u16::MAX).to_be_bytes();
        let (length, base) = (input.len() as u64, input.len().next_multiple_of(32));
        let arguments = |code: Code| code.push(0u64).push(0u64).push(length).push(0u64).push(address);
        let code = Code::new().push(length).op(&[op::PUSH1 + 1, high, low]).push(0u64).op(&[op::CODECOPY, op::GAS]);
        let code = arguments(code).push(plenty(address)).op(&[op::STATICCALL, op::GAS, op::SWAP1]).store(base);
        let code = code.op(&[op::SWAP1, op::SUB]).store(base + 32).op(&[op::RETURNDATASIZE]).store(base + 64);
        let code = code.op(&[op::RETURNDATASIZE]).push(0u64).push((base + 192) as u64).op(&[op::RETURNDATACOPY]);
        // What was measured has six pushes, the call's own hundred and a GAS in it.
        let own = 6 * 3 + 100 + 2;
        let code = [own + 1, own, own - 1].into_iter().enumerate().fold(code, |code, (at, less)| {
            let gas = Code::new().push(less as u64).push((base + 32) as u64).op(&[op::MLOAD, op::SUB]);
            arguments(code).op(&gas.0).op(&[op::STATICCALL]).store(base + 96 + at * 32)
        });
        code.op(&[op::MSIZE]).push(base as u64).op(&[op::DUP1, op::SWAP1 + 1, op::SUB, op::SWAP1, op::RETURN])
    };
    let code = build(build(0).0.len()).op(input);
    Program { name, code: code.0 }
}

/// Gas for a first call: what any valid input here needs, and so little that the others are still called after a failure.
fn plenty(address: u64) -> u64 {
    match address {
        PAIRING | 0x0f => 330_000,
        5 => 150_000,
        _ => 80_000,
    }
}

type Contract = (u64, Fork, &'static str, Vec<Vec<u8>>);

/// The contracts with inputs, most of them valid.
fn contracts() -> Vec<Contract> {
    let word = |value: u64| U256::from(value).to_be_bytes::<32>().to_vec();
    let text = |length: usize| (0..length).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect::<Vec<u8>>();
    let hashed = vec![Vec::new(), text(1), text(55), text(64), text(200)];
    let bn_pair = [BN_ONE.as_slice(), &BN_TWO].concat();
    let bls_pair = [BLS_ONE.as_slice(), &BLS_TWO].concat();
    let kzg_infinity = {
        let mut infinity = [0u8; 48];
        infinity[0] = 0xc0;
        [versioned(&infinity).to_vec(), word(5), word(0), infinity.to_vec(), infinity.to_vec()].concat()
    };
    let (commitment, values, proof) = KZG;
    let scalar = keccak256("a scalar").to_vec();
    vec![
        (1, Fork::Frontier, "ECRECOVER", signed()),
        (2, Fork::Frontier, "SHA256", hashed.clone()),
        (3, Fork::Frontier, "RIPEMD160", hashed.clone()),
        (4, Fork::Frontier, "identity", hashed),
        (5, Fork::Byzantium, "MODEXP", powers()),
        (6, Fork::Byzantium, "bn128 addition", vec![[BN_ONE, BN_ONE].concat(), [BN_ONE, BN_MINUS].concat(), vec![0; 128], vec![]]),
        (
            7,
            Fork::Byzantium,
            "bn128 multiplication",
            vec![[BN_ONE.to_vec(), scalar.clone()].concat(), [BN_ONE.to_vec(), vec![0xff; 32]].concat(), vec![0; 96]],
        ),
        (PAIRING, Fork::Byzantium, "bn128 pairing", vec![Vec::new(), bn_pair.clone(), pairing(), vec![0; 192]]),
        (9, Fork::Istanbul, "BLAKE2F", {
            let whole = |rounds: u32, last: u8| {
                let mut input = [BLAKE.as_slice(), &[0; 141]].concat();
                input[..4].copy_from_slice(&rounds.to_be_bytes());
                input[196] = 3;
                input[212] = last;
                input
            };
            vec![whole(12, 1), whole(12, 0), whole(0, 1), whole(12, 2), whole(2_000, 1)]
        }),
        (0x0a, Fork::Cancun, "KZG", vec![[versioned(&commitment).as_slice(), &values, &commitment, &proof].concat(), kzg_infinity]),
        (0x0b, Fork::Prague, "BLS12 G1ADD", vec![[BLS_ONE, BLS_ONE].concat(), vec![0; 256], [BLS_ONE, [0; 128]].concat()]),
        (
            0x0c,
            Fork::Prague,
            "BLS12 G1MSM",
            vec![
                [BLS_ONE.as_slice(), &scalar].concat(),
                [BLS_ONE.as_slice(), &scalar, &BLS_ONE, &[0xff; 32]].concat(),
                vec![0; 160],
            ],
        ),
        (0x0d, Fork::Prague, "BLS12 G2ADD", vec![[BLS_TWO, BLS_TWO].concat(), vec![0; 512]]),
        (0x0e, Fork::Prague, "BLS12 G2MSM", vec![[BLS_TWO.as_slice(), &scalar].concat(), vec![0; 288]]),
        (0x0f, Fork::Prague, "BLS12 PAIRING", vec![bls_pair.clone(), [bls_pair.as_slice(), &bls_pair].concat(), vec![0; 384]]),
        (0x10, Fork::Prague, "BLS12 MAP FP", vec![vec![0; 64], BLS_ONE[..64].to_vec()]),
        (0x11, Fork::Prague, "BLS12 MAP FP2", vec![vec![0; 128], BLS_TWO[..128].to_vec()]),
        (0x100, Fork::Osaka, "P256VERIFY", vec![P256.to_vec(), vec![0; 160]]),
    ]
}

/// A signature that recovers, with its recovery number in both parities and out of range, and with the greater `s`.
fn signed() -> Vec<Vec<u8>> {
    let Ok(key) = NodeKey::from_bytes(keccak256("a key").0) else { return Vec::new() };
    let hash = keccak256("a message");
    let signature = key.sign(hash);
    let bytes = signature.as_slice();
    let input = |v: U256, s: U256| [hash.as_slice(), &v.to_be_bytes::<32>(), &bytes[..32], &s.to_be_bytes::<32>()].concat();
    let s = U256::from_be_slice(&bytes[32..64]);
    let order = U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let good = U256::from(27 + bytes[64]);
    let other = U256::from(28 - bytes[64]);
    let wide = (U256::from(1) << 200) + good;
    vec![input(good, s), input(other, s), input(good, order - s), input(U256::from(29), s), input(wide, s), input(good, order)]
}

/// Lengths and numbers for MODEXP: nothing, small, odd and even modulus, long, and lengths that no input has.
fn powers() -> Vec<Vec<u8>> {
    let power = |lengths: [U256; 3], rest: &[u8]| {
        let lengths = lengths.map(|length| length.to_be_bytes::<32>()).concat();
        [lengths.as_slice(), rest].concat()
    };
    let small = |base: u64, exponent: u64, modulus: u64, rest: &[u8]| power([base, exponent, modulus].map(U256::from), rest);
    let long: Vec<u8> = (0..300u32).map(|at| u8::try_from(at * 7 % 255 + 1).unwrap_or(1)).collect();
    vec![
        Vec::new(),
        small(0, 0, 0, &[]),
        small(0, 0, 1, &[5]),
        small(1, 1, 1, &[3, 5, 7]),
        small(1, 2, 1, &[3, 1, 0, 6]),
        small(1, 1, 1, &[3, 0, 1]),
        small(1, 1, 1, &[3, 5, 0]),
        small(32, 32, 32, &long),
        small(96, 3, 96, &long),
        small(100, 40, 64, &long),
        small(1, 1, 1_024, &long),
        small(1_024, 1, 1, &long),
        small(1_025, 1, 1, &long),
        small(1, 1, 1_025, &long),
        small(1, 1_025, 1, &long),
        power([U256::from(u64::MAX), U256::from(1), U256::from(1)], &long),
        power([U256::from(1), U256::MAX, U256::from(1)], &long),
        power([U256::ZERO, U256::MAX, U256::ZERO], &long),
        power([U256::ZERO, U256::from(1) << 64, U256::from(1)], &long),
        power([U256::from(1) << 128, U256::ZERO, U256::ZERO], &long),
    ]
}
