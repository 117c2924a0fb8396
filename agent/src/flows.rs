//! Connections that were denied or allowed, as they happen, and why. Allowed ones: `allowed`.
//!
//! ```text
//! kernel --NFLOG--> listener --Observation--> recorder --merged, named--> store --> readers (observe, status, metrics)
//!                                              |   ^
//!                                              |   | Judgement
//!                                        Batch v   |
//!                                         inbox -> loop (judgement)
//! ```
//!
//! The listener only reads, so that the kernel's queue stays short. The recorder has the loop judge what is not known yet: the
//! loop alone has the program and the objects behind it, a copy of which would be as large as the cluster, and it knows what the
//! kernel does not hold yet. What that costs the loop is bounded: one batch at a time, as large as the loop judges in some
//! milliseconds, and between two batches the loop is left alone for some times as long (`pace`). A repeat of what was judged at
//! the same revision asks nothing of the loop, and of the others those of new kinds come first.
//!
//! Nothing is lost in silence: what the rules did not log, what the socket, the queue and the store had no room for, and what a
//! reader was too slow for are counted each by itself ([`counts::FlowCounts`]).

pub mod allowed;
pub mod counts;
pub mod filter;
pub mod flow;
pub mod hits;
pub mod judgement;
mod listener;
pub mod observation;
mod pace;
pub mod recorder;
mod ring;
pub mod store;
pub mod totals;
mod waiting;
