//! P256VERIFY (EIP-7951) on the library that is linked for it, beside another one: whether a signature holds is consensus.

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::PrimeField;
use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use p256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar, U256};
use proptest::prelude::*;
use revm::precompile::secp256r1::verify_impl;

/// Order of the group, and of the field.
const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const P: &str = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";

/// Hash, r, s, x, y: 32 bytes each.
type Input = [[u8; 32]; 5];

fn words(hex: &str) -> [u8; 32] {
    hex::decode(hex).expect("hex").try_into().expect("32 bytes")
}

fn other_library(input: &Input) -> bool {
    let [hash, r, s, x, y] = input;
    let Ok(signature) = Signature::from_scalars(*r, *s) else { return false };
    let point = EncodedPoint::from_affine_coordinates(x.into(), y.into(), false);
    VerifyingKey::from_encoded_point(&point).is_ok_and(|key| key.verify_prehash(hash, &signature).is_ok())
}

/// The verdict of both, which is the same.
fn verdict(input: &Input) -> bool {
    let ours = verify_impl(&input.concat());
    assert_eq!(ours, other_library(input), "{}", hex::encode(input.concat()));
    ours
}

fn signed(secret: u8, hash: [u8; 32]) -> Input {
    let key = SigningKey::from_bytes(&[secret.clamp(1, 0xfe); 32].into()).expect("in range");
    let signature: Signature = key.sign_prehash(&hash).expect("signs");
    let point = key.verifying_key().to_encoded_point(false);
    let (r, s) = signature.split_bytes();
    [hash, r.into(), s.into(), (*point.x().expect("affine")).into(), (*point.y().expect("affine")).into()]
}

fn negated(s: [u8; 32]) -> [u8; 32] {
    (-Scalar::from_repr(s.into()).expect("in range")).to_repr().into()
}

fn plus(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
    let mut sum = [0; 32];
    let mut carry = 0;
    for at in (0..32).rev() {
        let digit = u16::from(a[at]) + u16::from(b[at]) + carry;
        sum[at] = digit as u8;
        carry = digit >> 8;
    }
    sum
}

#[test]
fn a_signature_holds_in_both_of_its_forms_and_for_any_hash() {
    for hash in [[0; 32], [1; 32], [0xff; 32], words(N), words(P)] {
        for secret in [1, 2, 0x7f, 0xc0] {
            let mut input = signed(secret, hash);
            assert!(verdict(&input));
            input[2] = negated(input[2]);
            assert!(verdict(&input), "EIP-7951 takes a high s");
        }
    }
}

#[test]
fn numbers_out_of_range_and_points_off_the_curve_do_not() {
    let good = signed(3, [7; 32]);
    let changed = |at: usize, word: [u8; 32]| {
        let mut input = good;
        input[at] = word;
        input
    };
    for word in [[0; 32], [0xff; 32], words(N), words(P), plus(words(N), good[1])] {
        assert!(!verdict(&changed(1, word)));
        assert!(!verdict(&changed(2, word)));
        assert!(!verdict(&changed(3, word)));
        assert!(!verdict(&changed(4, word)));
    }
    // The same numbers written otherwise, where 256 bits hold them.
    for (at, of) in [(1, N), (2, N), (3, P), (4, P)] {
        assert!(!verdict(&changed(at, plus(good[at], words(of)))));
    }
    assert!(!verdict(&[good[0], good[1], good[2], [0; 32], [0; 32]]), "the point at infinity");
    let input = good.concat();
    assert!(!verify_impl(&input[..159]) && !verify_impl(&[input.as_slice(), &[0]].concat()) && !verify_impl(&[]));
}

/// r is x of a point, reduced by the order of the group: some x are above it.
#[test]
fn an_x_above_the_order_of_the_group_is_reduced() {
    let found = (1..=64u8).find_map(|k| {
        let mut low = [0; 32];
        low[31] = k;
        let x = plus(words(N), low);
        // The compressed form, with an even y.
        let point = EncodedPoint::from_bytes([&[2], x.as_slice()].concat()).ok()?;
        let point: Option<AffinePoint> = AffinePoint::from_encoded_point(&point).into();
        Some((low, point?))
    });
    let (r, point) = found.expect("every second number is an x");
    let scalar = |word: [u8; 32]| <Scalar as Reduce<U256>>::reduce_bytes(&FieldBytes::from(word));
    let (hash, s) = ([9; 32], [5; 32]);
    let inverse = Option::<Scalar>::from(scalar(r).invert()).expect("not zero");
    let key = (ProjectivePoint::from(point) * scalar(s) - ProjectivePoint::GENERATOR * scalar(hash)) * inverse;
    let key = key.to_affine().to_encoded_point(false);
    let coordinate = |word: Option<&FieldBytes>| -> [u8; 32] { (*word.expect("affine")).into() };
    assert!(verdict(&[hash, r, s, coordinate(key.x()), coordinate(key.y())]));
}

proptest! {
    #[test]
    fn whatever_is_asked_both_say_the_same(secret: u8, hash: [u8; 32], at in 0usize..5, word: [u8; 32], bit in 0usize..256, whole: bool) {
        let mut input = signed(secret, hash);
        prop_assert!(verdict(&input));
        if whole { input[at] = word } else { input[at][bit / 8] ^= 1 << (bit % 8) }
        verdict(&input);
    }
}
