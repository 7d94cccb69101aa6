//! What touches the machine directly. The only folder with unsafe code.
pub mod simd;
