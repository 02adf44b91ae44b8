//! The program `unistream`.

mod early;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(unistream_cli::run(std::env::args_os().skip(1), early::streams()))
}
