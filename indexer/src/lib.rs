//! stub
pub mod checksum;
