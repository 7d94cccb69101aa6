//! The real program over real sockets: started, loaded, killed, starved and fed nonsense.
//!
//! Owns one module for each kind of hardship; `harness` starts and observes the processes. What
//! only a lost power supply shows (bytes written but not synced) belongs to the simulation.

mod audit;
mod backlog;
mod bad_input;
mod bad_requests;
mod bodies;
mod crash;
mod dead_letters;
mod destination;
mod environment;
mod failing_disk;
mod fault_proxy;
mod faults;
mod firewall;
mod full_disk;
mod harness;
mod journal_tools;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_broker;
#[cfg(feature = "kafka")]
mod kafka_faults;
mod load;
mod peers;
mod presets;
mod receiver;
mod refusal;
mod relay;
mod restart;
mod rules;
mod rules_tool;
mod s3;
mod scene;
mod syslog;
mod syslog_faults;
mod systemd;
