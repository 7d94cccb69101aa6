//! The operating system: disks, durable writes, sockets' options, clocks, signals.
//!
//! The only place (but for the codec's FFI) with unsafe code. The rest of the program sees
//! the traits and types here, so that the simulation can put a memory disk and a fake
//! clock in their place.

pub mod affinity;
pub mod allocator;
pub mod buffers;
pub mod clock;
pub mod disk;
pub mod durable;
pub mod limits;
pub mod lock_holder;
pub mod memory_disk;
pub mod overlay_disk;
pub mod priority;
pub mod real_disk;
pub mod signals;
pub mod simd;
pub mod sockets;
pub mod systemd;
