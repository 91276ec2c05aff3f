//! The ledger of verification on a real server: what is kept, by whom, and what people read and ask.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says so"
)]

mod databases;
mod support;

#[path = "verify_ledger/books.rs"]
mod books;

#[path = "verify_ledger/keeping.rs"]
mod keeping;

#[path = "verify_ledger/asking.rs"]
mod asking;

#[path = "verify_ledger/looking.rs"]
mod looking;

#[path = "verify_ledger/suite.rs"]
mod suite;
