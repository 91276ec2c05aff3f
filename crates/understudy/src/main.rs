//! The `understudy` program. Everything it does is in the library: start reading at `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    understudy::cli::main(std::env::args_os())
}
