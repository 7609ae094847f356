//! Workspaces made for real by Docker Engine.
