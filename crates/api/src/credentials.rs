//! The file of users in Besu's format: for each a bcrypt hash of the password, and permissions.
//!
//! ```toml
//! [Users.ana]
//! password = "$2a$10$…"
//! permissions = ["eth:*", "net:version"]
//! ```
//!
//! A password is checked in equal time whether the user is there or not, and whatever the cost of the user's hash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::watched::{Unusable, Watched};

/// Bytes of a file of users.
const MAX_FILE: u64 = 1 << 20;
/// Most that a hash may cost, as the binary logarithm of bcrypt's rounds: about a second of one core. Besu's `password hash` makes 10.
const MAX_COST: u32 = 14;
/// What a check takes at least: what Besu's `password hash` makes.
const LEAST_COST: u32 = 10;
/// Bytes of all permissions of one user, so that a token with them fits into a header.
const MAX_PERMISSIONS: usize = 4 << 10;

/// The users of one reading of the file.
#[derive(Default)]
pub(crate) struct Users {
    by_name: BTreeMap<String, User>,
    /// The highest cost of their hashes, which every check takes.
    cost: u32,
}

struct User {
    hash: String,
    cost: u32,
    permissions: Vec<String>,
}

impl std::fmt::Debug for Users {
    /// Without hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}

impl Users {
    /// Reads the text of a file. No error shows anything of it but names of users and permissions.
    ///
    /// # Errors
    /// What is wrong, and what was expected.
    fn read(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8 text".to_owned())?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            // Only where: the error's own text quotes the line.
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("line {line} is not TOML")
        })?;
        let none = toml::Table::new();
        let users = match table.get("Users") {
            None => &none,
            Some(users) => users.as_table().ok_or("Users is no table; expected one [Users.name] for each user")?,
        };
        let mut out = Self { by_name: BTreeMap::new(), cost: LEAST_COST };
        for (name, user) in users {
            let user = read_user(name, user)?;
            out.cost = out.cost.max(user.cost);
            out.by_name.insert(name.clone(), user);
        }
        if out.by_name.is_empty() {
            return Err("it has no users; expected a table [Users.name] with password and permissions for each".to_owned());
        }
        Ok(out)
    }

    /// The permissions of a user whose password this is. Takes the time of the dearest hash in the file, whoever asks for whom.
    pub(crate) fn check(&self, name: &str, password: &str) -> Option<&[String]> {
        let user = self.by_name.get(name);
        let good = user.is_some_and(|user| bcrypt::verify(password, &user.hash).unwrap_or(false));
        for cost in self.rest(user.map(|user| user.cost)) {
            drop(std::hint::black_box(bcrypt::hash_with_salt(password, cost, [0; 16])));
        }
        user.filter(|_| good).map(|user| &*user.permissions)
    }

    /// Costs of the hashes that are made besides the user's own, so that all together cost as much for everybody:
    /// 2^c + (2^c + … + 2^(max-1)) = 2^max.
    fn rest(&self, own: Option<u32>) -> std::ops::Range<u32> {
        match own {
            Some(own) => own..self.cost,
            None => self.cost..self.cost + 1,
        }
    }
}

fn read_user(name: &str, user: &toml::Value) -> Result<User, String> {
    let user = user.as_table().ok_or_else(|| format!("user {name}: expected a table [Users.{name}]"))?;
    let hash = user.get("password").and_then(toml::Value::as_str).unwrap_or_default();
    let parts: bcrypt::HashParts = hash.parse().map_err(|_| {
        format!(
            "user {name}: password is no bcrypt hash; expected what besu password hash or htpasswd -nB prints: $2a$, $2b$ or $2y$"
        )
    })?;
    let cost = parts.get_cost();
    if !(4..=MAX_COST).contains(&cost) {
        return Err(format!("user {name}: the hash costs {cost}, expected 4 to {MAX_COST}; hash the password again with 10 to 12"));
    }
    let permissions: Vec<String> = match user.get("permissions") {
        None => Vec::new(),
        Some(value) => {
            value.as_array().and_then(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect()).ok_or_else(|| {
                format!("user {name}: permissions is no array of texts; expected such as [\"eth:*\", \"net:version\"]")
            })?
        }
    };
    if permissions.iter().map(|one| one.len() + 3).sum::<usize>() > MAX_PERMISSIONS {
        return Err(format!(
            "user {name}: permissions have more than {MAX_PERMISSIONS} bytes; expected groups (\"eth:*\") in place of methods"
        ));
    }
    if let Some(vain) =
        permissions.iter().find(|one| !one.split_once(':').is_some_and(|(group, method)| !group.is_empty() && !method.is_empty()))
    {
        tracing::warn!(
            user = name,
            permission = vain,
            "this permission permits nothing; expected such as eth:*, net:version or *:*"
        );
    }
    Ok(User { hash: hash.to_owned(), cost, permissions })
}

/// A file of users, read again when it has changed.
#[derive(Debug)]
pub(crate) struct Credentials {
    file: Mutex<Watched>,
    users: Mutex<Arc<Users>>,
}

impl Credentials {
    /// # Errors
    /// The file cannot be read, or says something wrong.
    pub(crate) fn open(path: &Path) -> Result<Self, Unusable> {
        let mut file = Watched::new("credentials", vec![(PathBuf::from(path), MAX_FILE)]);
        let users = file.first(|contents| Users::read(&contents[0]))?;
        Ok(Self { file: Mutex::new(file), users: Mutex::new(Arc::new(users)) })
    }

    /// The users as the file has them now; those of before when it cannot be used. Reads a file: not for async threads.
    pub(crate) fn users(&self) -> Arc<Users> {
        if let Some(users) = self.file.lock().changed(|contents| Users::read(&contents[0])) {
            *self.users.lock() = Arc::new(users);
        }
        self.users.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(users: &[(&str, u32, &str)]) -> String {
        let table = |(name, cost, permissions): &(&str, u32, &str)| {
            let hash = bcrypt::hash(format!("of {name}"), *cost).unwrap();
            format!("[Users.{name}]\npassword = \"{hash}\"\npermissions = {permissions}\n")
        };
        users.iter().map(table).collect()
    }

    #[test]
    fn users_are_checked_by_their_own_passwords() {
        let users = Users::read(file(&[("ana", 4, "[\"eth:*\"]"), ("rui", 5, "[]")]).as_bytes()).unwrap();
        assert_eq!(users.check("ana", "of ana").unwrap(), ["eth:*".to_owned()]);
        assert!(users.check("rui", "of rui").unwrap().is_empty());
        for (name, password) in [("ana", "of rui"), ("ana", ""), ("eva", "of ana"), ("", ""), ("Users.ana", "of ana")] {
            assert!(users.check(name, password).is_none(), "{name} {password}");
        }
        // A hash of Besu's `password hash`.
        let besu = "[Users.ana]\npassword = \"$2a$10$l3GA7K8g6rJ/Yv.YFSygCuI9byngpEzxgWS9qEg5emYDZomQW7fGC\"\ngroups = [\"a\"]\nroles = [\"b\"]\nprivacyPublicKey = \"c\"\n";
        assert!(Users::read(besu.as_bytes()).unwrap().check("ana", "pegasys").is_some());
    }

    #[test]
    fn what_is_wrong_is_named_and_no_hash_is_shown() {
        let hash = "$2a$10$l3GA7K8g6rJ/Yv.YFSygCuI9byngpEzxgWS9qEg5emYDZomQW7fGC";
        for (text, words) in [
            ("", "has no users"),
            ("[Users]\n", "has no users"),
            ("Users = 3", "Users is no table"),
            ("[Users]\nana = 3", "user ana"),
            ("[Users.ana]\npassword = \"secret\"", "no bcrypt hash"),
            ("[Users.ana]\n", "no bcrypt hash"),
            (&format!("[Users.ana]\npassword = \"{}\"", hash.replace("$10$", "$31$")), "costs 31, expected 4 to 14"),
            (&format!("[Users.ana]\npassword = \"{}\"", hash.replace("$10$", "$15$")), "costs 15"),
            (&format!("[Users.ana]\npassword = \"{hash}\"\npermissions = \"*:*\""), "no array"),
            (&format!("[Users.ana]\npassword = \"{hash}\"\npermissions = [1]"), "no array"),
            (&format!("[Users.ana]\npassword = \"{hash}\"\npermissions = [\"{}\"]", "a".repeat(5000)), "4096 bytes"),
            (&format!("[Users.ana]\npassword = {hash}"), "line 2 is not TOML"),
        ] {
            let error = Users::read(text.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("l3GA7K8g") && !error.contains("secret"), "{error}");
        }
        assert!(!format!("{:?}", Users::read(file(&[("ana", 4, "[]")]).as_bytes()).unwrap()).contains('$'));
    }

    /// Counted in rounds of bcrypt, which are its time: a clock would say the same, less surely.
    #[test]
    fn nobody_learns_from_the_time_who_is_there() {
        for text in [file(&[("cheap", 4, "[]"), ("dear", 12, "[]")]), file(&[("cheap", 4, "[]")])] {
            let users = Users::read(text.as_bytes()).unwrap();
            let rounds = |name: &str| {
                let own = users.by_name.get(name).map(|user| user.cost);
                own.into_iter().chain(users.rest(own)).map(|cost| 1_u64 << cost).sum::<u64>()
            };
            assert_eq!(rounds("cheap"), 1 << users.cost);
            assert!(["dear", "nobody", ""].iter().all(|name| rounds(name) == rounds("cheap")));
            assert!(users.check("cheap", "of cheap").is_some() && users.check("nobody", "of cheap").is_none());
        }
    }
}
