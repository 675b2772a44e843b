//! JSON objects that are objects.
//!
//! Derived readers of structs also take an array, by position. A proxy that filters requests by their `method` sees no method in
//! `[[7,"qbft_proposeValidatorVote"]]`, so here only an object is one.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    #[derive(Debug, Deserialize)]
    struct Pair<'a> {
        #[serde(borrow)]
        left: &'a RawValue,
        #[serde(default)]
        right: Option<u8>,
    }

    #[test]
    fn an_array_is_no_object() {
        let read = |text: &'static str| serde_json::from_str::<Object<Pair<'_>>>(text).map(|Object(pair)| (pair.left.get(), pair.right));
        assert_eq!(read(r#"{"left": [1], "right": 2}"#).expect("an object"), ("[1]", Some(2)));
        assert_eq!(read(r#"{"left":"x","other":{}}"#).expect("an object"), ("\"x\"", None));
        assert!(serde_json::from_str::<Pair<'_>>("[1,2]").is_ok(), "what this is for");
        for no in ["[1,2]", "[]", "7", "null", "\"left\"", r#"{"left":1,"left":2}"#, "{}"] {
            assert!(read(no).is_err(), "{no}");
        }
    }
}
