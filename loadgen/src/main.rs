//! loadgen
mod clock;
mod http1;
mod procfs;
mod send;
mod event;
mod units;
fn main() {}
