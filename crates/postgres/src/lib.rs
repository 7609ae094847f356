//! PostgreSQL: reaching a server the way libpq does, and reading from it without being able to change it.
//!
//! [`conninfo`] understands connection strings, [`connect`] opens a bounded session, [`failure`] says in a DBA's
//! words why something did not work, [`tls`] is the one TLS stack, and [`guard`] decides which SQL a person or a
//! model may run as a read.

pub mod connect;
pub mod conninfo;
pub mod evidence;
pub mod failure;
pub mod guard;
pub mod tls;
pub mod tools;
