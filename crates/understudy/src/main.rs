//! The `understudy` program. Everything it does is in the library: start reading at `cli`.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// A pipeline allocates on one thread what another frees: this one is quick at that, and gives back what is no longer used.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    understudy::cli::main(std::env::args_os())
}
