//! JSON objects that are objects.
//!
//! Derived readers of structs also take an array, by position. A proxy that filters requests by their `method` sees no method in
//! `[[7,"qbft_proposeValidatorVote"]]`, so here only an object is one.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// A struct that is read from a JSON object and from nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Object<T>, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        from.deserialize_map(Fields(PhantomData))
    }
}

/// A map of at most `N` entries: more are an error, before they are kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries<V, const N: usize>(pub(crate) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>, const N: usize> Deserialize<'de> for Entries<V, N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Counted<V, const N: usize>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>, const N: usize> Visitor<'de> for Counted<V, N> {
            type Value = Entries<V, N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {N} entries")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut kept = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    kept.insert(key, value);
                    if kept.len() > N {
                        return Err(M::Error::invalid_length(kept.len(), &self));
                    }
                }
                Ok(Entries(kept))
            }
        }
        from.deserialize_map(Counted(PhantomData))
    }
}

/// The same in the order of the text, each entry by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs<V, const N: usize>(pub(crate) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>, const N: usize> Deserialize<'de> for Pairs<V, N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Counted<V, const N: usize>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>, const N: usize> Visitor<'de> for Counted<V, N> {
            type Value = Pairs<V, N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {N} entries")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut kept = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    kept.push(entry);
                    if kept.len() > N {
                        return Err(M::Error::invalid_length(kept.len(), &self));
                    }
                }
                Ok(Pairs(kept))
            }
        }
        from.deserialize_map(Counted(PhantomData))
    }
}

/// The elements of a JSON array as text, `None` when there are more than `most`: then none is kept, so that an array of small
/// elements takes no more memory than its text.
///
/// # Errors
/// The text is no array.
pub(crate) fn elements(text: &str, most: usize) -> Result<Option<Vec<&RawValue>>, serde_json::Error> {
    struct Elements(usize);
    impl<'de> Visitor<'de> for Elements {
        type Value = Option<Vec<&'de RawValue>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
            let mut kept = Vec::new();
            while kept.len() < self.0 {
                match seq.next_element()? {
                    Some(element) => kept.push(element),
                    None => return Ok(Some(kept)),
                }
            }
            let mut more = false;
            while seq.next_element::<IgnoredAny>()?.is_some() {
                more = true;
            }
            Ok((!more).then_some(kept))
        }
    }
    let mut from = serde_json::Deserializer::from_str(text);
    let elements = from.deserialize_seq(Elements(most))?;
    from.end()?;
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Pair<'a> {
        #[serde(borrow)]
        left: &'a RawValue,
        #[serde(default)]
        right: Option<u8>,
    }

    #[test]
    fn elements_are_counted_before_they_are_kept() {
        let count = |text: &str, most: usize| elements(text, most).map(|kept| kept.map(|kept| kept.len()));
        assert_eq!(count("[]", 0).expect("an array"), Some(0));
        assert_eq!(count(" [1, [2,3], {}] ", 3).expect("an array"), Some(3));
        assert_eq!(count("[1,2,3,4]", 3).expect("an array"), None);
        for no in ["[1,2", "[1] 2", "{}", "7", "", "[1,2,3,x]"] {
            assert!(count(no, 3).is_err(), "{no}");
        }
    }

    #[test]
    fn entries_are_counted_as_they_are_read() {
        let read = |text: &str| serde_json::from_str::<Entries<u8, 2>>(text).map(|Entries(map)| map.len());
        assert_eq!(read(r#"{"a":1,"b":2,"a":3}"#).expect("two"), 2);
        assert!(read(r#"{"a":1,"b":2,"c":3}"#).is_err() && read("[]").is_err());
    }

    #[test]
    fn an_array_is_no_object() {
        let read =
            |text: &'static str| serde_json::from_str::<Object<Pair<'_>>>(text).map(|Object(pair)| (pair.left.get(), pair.right));
        assert_eq!(read(r#"{"left": [1], "right": 2}"#).expect("an object"), ("[1]", Some(2)));
        assert_eq!(read(r#"{"left":"x","other":{}}"#).expect("an object"), ("\"x\"", None));
        assert!(serde_json::from_str::<Pair<'_>>("[1,2]").is_ok(), "what this is for");
        for no in ["[1,2]", "[]", "7", "null", "\"left\"", r#"{"left":1,"left":2}"#, "{}"] {
            assert!(read(no).is_err(), "{no}");
        }
    }
}
