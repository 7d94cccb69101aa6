//! weir
pub mod ingest;
pub mod limits;
pub mod os;
