//! Why a request was not done, for clients.
//!
//! A problem becomes `application/problem+json` (RFC 9457). The set is closed, the HTTP status of each is fixed here,
//! and every one has a page under `docs/problems/`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// What kind of problem it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ProblemCode { $($(#[$doc])* $name,)* }

        impl ProblemCode {
            /// Every problem.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable code that clients compare.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
            /// A short summary, the same every time.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

problems! {
    /// A body, header, parameter or identifier cannot be read.
    BadRequest = "bad_request", 400, "The request cannot be read";
    /// No credentials, or wrong ones.
    Unauthenticated = "unauthenticated", 401, "You have not said who you are";
    /// The caller lacks the permission.
    Forbidden = "forbidden", 403, "You may not do this";
    /// Policy says no.
    PolicyDenied = "policy_denied", 403, "Policy denies this";
    /// An approver may not approve their own act.
    OwnRequest = "own_request", 403, "Someone else must decide about your own request";
    /// There is no such thing, or not for this caller.
    NotFound = "not_found", 404, "There is no such thing";
    /// The method does not fit the path.
    MethodNotAllowed = "method_not_allowed", 405, "The method does not fit the path";
    /// The state has moved on.
    Conflict = "conflict", 409, "It is no longer in the state you expect";
    /// The approval no longer fits the act.
    Stale = "stale", 409, "The approval no longer fits the act";
    /// The same idempotency key came with another request.
    IdempotencyMismatch = "idempotency_mismatch", 409, "The idempotency key was used for another request";
    /// The body is too large.
    TooLarge = "too_large", 413, "The request is too large";
    /// The body's type is not understood.
    UnsupportedMediaType = "unsupported_media_type", 415, "The content type is not understood";
    /// The tool was run and failed.
    ToolFailed = "tool_failed", 422, "The tool failed";
    /// The arguments do not fit the tool.
    InvalidArguments = "invalid_arguments", 400, "The arguments do not fit the tool";
    /// The target is not in the inventory.
    UnknownTarget = "unknown_target", 404, "The target is not in the inventory";
    /// A guide's client left a field out, or sent one that cannot be what it says.
    Unprocessable = "unprocessable", 422, "A field is missing or wrong";
    /// A line for a shell holds what strict mode refuses.
    CommandBlocked = "command_blocked", 400, "The command is refused in strict mode";
    /// A path leads out of the workspace, or is no path.
    PathEscape = "path_escape", 400, "The path leads out of the workspace";
    /// A directory of the host is not one of the tenant's.
    TenantWorkdirDenied = "tenant_workdir_denied", 403, "The directory is not one of your tenant's";
    /// A name cannot be the name of a file.
    BadName = "bad_name", 400, "The name cannot be used";
    /// Something of that name is there already.
    AlreadyExists = "already_exists", 409, "There is something of that name already";
    /// A directory cannot be moved into itself.
    InvalidMove = "invalid_move", 409, "It cannot be moved there";
    /// A file was expected and it is a directory, or the other way round.
    WrongFileType = "wrong_file_type", 409, "It is not the kind of file this needs";
    /// The workspace is not running.
    NotRunning = "not_running", 409, "The workspace is not running";
    /// There are as many workspaces as the quota allows.
    QuotaReached = "quota_reached", 409, "The quota is used up";
    /// Somebody else changed the file meanwhile.
    EditConflict = "edit_conflict", 412, "The file was changed meanwhile";
    /// The wanted part lies outside the file.
    RangeNotSatisfiable = "range_not_satisfiable", 416, "The file has no such part";
    /// The template has no such compiler or interpreter.
    MissingToolchain = "missing_toolchain", 422, "The workspace has no program for this language";
    /// An archive holds something that must not be unpacked.
    HostileArchive = "hostile_archive", 422, "The archive is refused";
    /// The workspace's disk is full.
    DiskFull = "disk_full", 507, "The workspace's disk is full";
    /// Too many requests.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// A bug, or something that nobody foresaw.
    Internal = "internal", 500, "Something went wrong inside";
    /// The audit log or the database cannot commit.
    RecordUnavailable = "record_unavailable", 503, "Nothing can be recorded, so nothing is done";
    /// Not set up, or shutting down.
    Unavailable = "unavailable", 503, "Not available now";
    /// There is no model to ask.
    NoModel = "no_model", 503, "No model is configured";
    /// A model was asked and gave no answer that is of use.
    ModelFailed = "model_failed", 502, "The model gave no usable answer";
    /// It took too long.
    Timeout = "timeout", 504, "It took too long";
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
