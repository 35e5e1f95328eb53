//! The tier as the store uses it: real files, real faults, a real `kill -9`.

mod bench;
mod bounds;
mod crash;
mod damage;
mod keeping;
mod purges;
mod trouble;
