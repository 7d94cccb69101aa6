//! `weir journal repair`.
