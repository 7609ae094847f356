//! Drivers against the real thing: bubblewrap and a Docker Engine.
