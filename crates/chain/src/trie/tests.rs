use std::collections::BTreeMap;

use alloy_primitives::{B256, b256, keccak256};
use alloy_trie::HashBuilder;
use proptest::prelude::*;

use super::*;

/// A trie kept in maps: what the tables hold.
#[derive(Clone, Default)]
struct Model {
    records: BTreeMap<Nibbles, Vec<u8>>,
    leaves: BTreeMap<B256, Vec<u8>>,
    root: Option<B256>,
}

impl TrieRead for Model {
    fn record(&self, path: &Nibbles) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.records.get(path).map(|bytes| Arc::new(Record::decode(bytes).expect("own record decodes"))))
    }

    fn leaf(&self, path: &Nibbles) -> Result<Option<(Nibbles, Vec<u8>)>, StoreError> {
        let found = self.leaves.range(lowest_key(path)..).next();
        Ok(found.map(|(key, value)| (key_path(key), value.clone())))
    }
}

impl Model {
    fn apply(&mut self, changes: &BTreeMap<B256, Option<Vec<u8>>>) -> B256 {
        let list: Vec<LeafChange> = changes
            .iter()
            .map(|(key, value)| LeafChange { key: key_path(key), value: value.clone(), existed: self.leaves.contains_key(key) })
            .filter(|change| change.existed || change.value.is_some())
            .collect();
        let done = update(self, self.root.unwrap_or(EMPTY_ROOT_HASH), &list).expect("model reads");
        let mut seen = std::collections::BTreeSet::new();
        for (path, record) in done.records {
            assert!(seen.insert(path), "record {path:?} twice");
            match record {
                Some(record) => self.records.insert(path, record.encode()),
                None => Some(self.records.remove(&path).expect("only stored records are removed")),
            };
        }
        for (key, value) in changes {
            match value {
                Some(value) => self.leaves.insert(*key, value.clone()),
                None => self.leaves.remove(key),
            };
        }
        self.root = Some(done.root);
        done.root
    }

    /// The root and the records that the leaves ask for, computed from nothing.
    fn check(&self) {
        let mut builder = HashBuilder::default();
        for (key, value) in &self.leaves {
            builder.add_leaf(key_path(key), value);
        }
        assert_eq!(self.root.unwrap_or(EMPTY_ROOT_HASH), builder.root(), "{} leaves", self.leaves.len());
        let mut fresh = Model::default();
        fresh.apply_all(&self.leaves);
        assert_eq!(self.records, fresh.records);
    }

    fn apply_all(&mut self, leaves: &BTreeMap<B256, Vec<u8>>) {
        self.apply(&leaves.iter().map(|(key, value)| (*key, Some(value.clone()))).collect());
    }

    fn check_proof(&self, key: &B256) {
        let nodes = prove(self, self.root.unwrap_or(EMPTY_ROOT_HASH), &key_path(key)).expect("model reads");
        alloy_trie::proof::verify_proof(self.root.unwrap_or(EMPTY_ROOT_HASH), key_path(key), self.leaves.get(key).cloned(), &nodes)
            .unwrap_or_else(|error| panic!("proof of {key}: {error}"));
    }
}

/// Keys that collide on purpose: few nibbles vary, at the start, the middle and the end.
fn crafted(seed: u32) -> B256 {
    let mut key = B256::repeat_byte(0x11);
    key[0] = (seed % 3) as u8;
    key[1] = ((seed / 3 % 3) << 4) as u8;
    key[15] = (seed / 9 % 5) as u8;
    key[31] = (seed / 45 % 4) as u8;
    key
}

fn value(seed: u8) -> Vec<u8> {
    // Short values make nodes below 32 bytes, which are embedded in their parent.
    vec![seed.max(1); 1 + usize::from(seed % 50)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_updates_agree_with_a_full_rebuild(
        blocks in prop::collection::vec(
            prop::collection::vec((0u32..180, prop::option::weighted(0.6, any::<u8>()), any::<bool>()), 1..60),
            1..8,
        )
    ) {
        let mut model = Model::default();
        for block in blocks {
            let changes = block
                .into_iter()
                .map(|(seed, value_seed, hashed)| {
                    let key = if hashed { keccak256(seed.to_be_bytes()) } else { crafted(seed) };
                    (key, value_seed.map(value))
                })
                .collect();
            model.apply(&changes);
            model.check();
        }
        for seed in 0..180 {
            model.check_proof(&crafted(seed));
        }
    }
}

#[test]
fn large_updates_run_in_parallel_and_agree() {
    let key = |n: u32| keccak256(n.to_be_bytes());
    let mut model = Model::default();
    model.apply(&(0..5_000).map(|n| (key(n), Some(value(n as u8)))).collect());
    model.check();
    model.apply(&(2_500..7_500).map(|n| (key(n), (n % 3 != 0).then(|| value((n / 7) as u8)))).collect());
    model.check();
    for n in (0..7_500).step_by(97) {
        model.check_proof(&key(n));
    }
    model.apply(&(0..7_500).map(|n| (key(n), None)).collect());
    assert_eq!(model.root, Some(EMPTY_ROOT_HASH));
    assert!(model.records.is_empty());
}

#[test]
fn records_survive_their_encoding_and_bad_bytes_are_refused() {
    let mut model = Model::default();
    model.apply(&(0..180).map(|n| (crafted(n), Some(value(n as u8)))).collect());
    for (path, bytes) in &model.records {
        let record = Record::decode(bytes).expect("decodes");
        assert_eq!(record.encode(), *bytes);
        assert_eq!(decode_path(&encode_path(b"", path)), Some(*path));
        for cut in 0..bytes.len() {
            assert!(Record::decode(&bytes[..cut]).is_err(), "cut at {cut} of {}", bytes.len());
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Record::decode(&longer).is_err());
    }
}

#[test]
fn a_missing_record_or_row_is_an_error() {
    let mut model = Model::default();
    let keys: Vec<B256> = (0..40u32).map(|n| keccak256(n.to_be_bytes())).collect();
    model.apply(&keys.iter().map(|key| (*key, Some(vec![7; 40]))).collect());
    let root = model.root.expect("has a root");
    let (path, _) = model.records.iter().rfind(|(path, _)| !path.is_empty()).expect("a lower record");
    let path = *path;
    model.records.remove(&path);
    let changes: Vec<LeafChange> = keys
        .iter()
        .map(key_path)
        .filter(|key| key.starts_with(&path))
        .map(|key| LeafChange { key, value: Some(vec![8; 40]), existed: true })
        .take(1)
        .collect();
    assert!(matches!(update(&model, root, &changes), Err(StoreError::Corrupt { .. })));
}

/// A proof is right or an error, whatever is damaged: never a list of nodes that proves nothing.
#[test]
fn a_proof_from_a_damaged_trie_is_an_error() {
    let mut model = Model::default();
    let keys: Vec<B256> = (0..40u32).map(|n| keccak256(n.to_be_bytes())).collect();
    model.apply(&keys.iter().map(|key| (*key, Some(vec![7; 40]))).collect());
    let root = model.root.expect("has a root");
    let proves = |model: &Model, key: &B256| prove(model, root, &key_path(key));
    let refused = |model: &Model, what: &str, below: &Nibbles| {
        for key in keys.iter().filter(|key| key_path(key).starts_with(below)) {
            assert!(matches!(proves(model, key), Err(StoreError::Corrupt { .. })), "{what} at {below:?}: {key}");
        }
    };
    for path in model.records.keys() {
        let mut damaged = model.clone();
        damaged.records.remove(path);
        refused(&damaged, "record missing", path);
        let mut record = Record::decode(&model.records[path]).expect("decodes");
        record.references[0] = record.references[1].clone();
        damaged.records.insert(*path, record.encode());
        refused(&damaged, "another record", path);
    }
    for key in &keys {
        let mut damaged = model.clone();
        damaged.leaves.remove(key);
        refused(&damaged, "row missing", &key_path(key));
        damaged.leaves.insert(*key, vec![8; 40]);
        refused(&damaged, "another row", &key_path(key));
        model.check_proof(key);
    }
    // Nor does a root come from a trie whose own root record is missing.
    let mut damaged = model.clone();
    damaged.records.remove(&Nibbles::new());
    let new = LeafChange { key: key_path(&keccak256("new")), value: Some(vec![7; 40]), existed: false };
    assert!(matches!(update(&damaged, root, &[new]), Err(StoreError::Corrupt { .. })));
}

#[test]
fn known_roots() {
    // Roots of the secure tries "dogs" and "singleItem" of the public TrieTests.
    let mut model = Model::default();
    for (key, value) in [("doe", "reindeer"), ("dog", "puppy"), ("dogglesworth", "cat")] {
        model.apply(&BTreeMap::from([(keccak256(key), Some(value.as_bytes().to_vec()))]));
    }
    assert_eq!(model.root, Some(b256!("d4cd937e4a4368d7931a9cf51686b7e10abb3dce38a39000fd7902a092b64585")));
    let mut model = Model::default();
    model.apply(&BTreeMap::from([(keccak256("A"), Some(vec![b'a'; 50]))]));
    assert_eq!(model.root, Some(b256!("e9e2935138352776cad724d31c9fa5266a5c593bb97726dd2a908fe6d53284df")));
}

/// The public vectors with hashed keys. (Those with plain keys have keys of several lengths, which a state trie has not.)
#[test]
fn public_trie_vectors() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/ethereum-tests/TrieTests");
    let bytes = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits).expect("vector is hex"),
        None => text.as_bytes().to_vec(),
    };
    let mut ran = 0;
    for file in ["trietest_secureTrie.json", "trieanyorder_secureTrie.json", "hex_encoded_securetrie_test.json"] {
        let Ok(text) = std::fs::read_to_string(format!("{folder}/{file}")) else {
            eprintln!("not run: {folder}/{file} is absent");
            continue;
        };
        let vectors: serde_json::Value = serde_json::from_str(&text).expect("vector file is JSON");
        for (name, vector) in vectors.as_object().expect("an object of vectors") {
            let steps: Vec<(Vec<u8>, Option<Vec<u8>>)> = match &vector["in"] {
                serde_json::Value::Array(steps) => {
                    steps.iter().map(|step| (bytes(step[0].as_str().expect("a key")), step[1].as_str().map(bytes))).collect()
                }
                serde_json::Value::Object(pairs) => {
                    pairs.iter().map(|(key, value)| (bytes(key), value.as_str().map(bytes))).collect()
                }
                other => panic!("{name}: unexpected input {other}"),
            };
            let mut one_by_one = Model::default();
            let mut at_once = BTreeMap::new();
            for (key, value) in steps {
                let value = value.filter(|value| !value.is_empty());
                one_by_one.apply(&BTreeMap::from([(keccak256(&key), value.clone())]));
                at_once.insert(keccak256(&key), value);
            }
            let mut whole = Model::default();
            whole.apply(&at_once);
            let root = vector["root"].as_str().expect("a root");
            assert_eq!(one_by_one.root.expect("a root").to_string(), root, "{file} {name}");
            assert_eq!(whole.root.expect("a root").to_string(), root, "{file} {name} at once");
            one_by_one.check();
            ran += 1;
        }
    }
    eprintln!("{ran} public trie vectors ran");
}
