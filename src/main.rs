//! The daemon's door: what was asked is parsed, done, and answered for by an exit code.

use std::process::ExitCode;

use clap::Parser;
use pinflow::cli::{self, Cli, exit};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    stop_on_panic();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; they are no mistake.
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            let printed = error.print();
            return if printed.is_ok() { code.into() } else { exit::IO.into() };
        }
    };
    cli::main(cli).into()
}

/// A panic in any thread ends the process: the last checkpoint is the recovery, and a worker that
/// is missing would leave results standing still.
fn stop_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::exit(exit::SOFTWARE.into());
    }));
}
