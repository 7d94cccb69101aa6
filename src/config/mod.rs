//! Configuration: text in, a [`plan::Plan`] or every mistake out.

pub mod plan;
