//! Rules as files: the packs that ship, and folders that people write.
#![allow(clippy::unwrap_used)]

mod folders;
mod packs;
