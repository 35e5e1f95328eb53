//! Pure state: samples of requests, the state of the network, and the decisions that follow.
//!
//! Nothing here knows actix or sockets, and time is always an argument, so that every rule can be tested without
//! a runtime. The actors own the changing parts; the path reads what they publish.

pub mod answers;
pub mod binding_limit;
pub mod canary;
pub mod ceiling;
pub mod concurrency;
pub mod counters;
pub mod distribution;
pub mod evidence;
pub mod goodput;
pub mod keys;
pub mod knee;
pub mod known_lines;
pub mod level;
pub mod line;
pub mod line_budget;
pub mod origin;
pub mod origin_id;
pub mod origin_summary;
pub mod origin_window;
pub mod origins;
pub mod outliers;
pub mod peak_usage;
pub mod published;
pub mod quality;
pub mod rate;
pub mod rate_gate;
pub mod redacted;
pub mod response_times;
pub mod sample;
pub mod sizes;
pub mod summary;
pub mod token_bucket;
pub mod tolerance;
pub mod tuning;
pub mod validity;
pub mod width;
pub mod window;
