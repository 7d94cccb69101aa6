//! Control: what operators see and change of a running node.

pub mod observed;
