//! (described by its first commit)
