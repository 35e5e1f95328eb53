//! The disk tier as the store uses it: with real files, real errors and a real `kill -9`.

mod bench;
mod bounds;
mod crash;
mod damage;
mod keeping;
mod purges;
mod trouble;
