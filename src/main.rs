//! The program `weir`.

use std::process::ExitCode;

/// Many threads allocate and free blocks of all sizes for months: mimalloc keeps the
/// resident size steady where the system's allocator lets it creep.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weir::cli::main()
}
