//! How often somebody may call: so many calls of a kind in any sixty seconds.
//!
//! The moments of the last minute are kept, so the eleventh execution of a minute is refused however the ten before it
//! were spread, and `Retry-After` is exact: the moment at which the oldest leaves the minute. A bucket that refills as
//! time passes would let nearly twice as many through. What a page of the IDE does by itself (looking at states,
//! trees, files, terminals, streams) is taken from no budget.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use reeve_platform::Permission;
use reeve_types::ProblemCode;

use crate::auth::Caller;
use crate::problem::Problem;

const WINDOW_MS: i64 = 60_000;
/// How many callers are remembered before those who have been quiet for a minute are forgotten.
const REMEMBERED_MAX: usize = 4096;

/// Suggestions of one person in a minute, beside every other budget.
const SUGGESTIONS_PER_MINUTE: u32 = 120;

const RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATELIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Calls per minute of one caller; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Programs that a signed-in person runs.
    pub executions: u32,
    /// Files that a signed-in person saves.
    pub saves: u32,
    /// Everything else that a signed-in person asks for, and sign-ins from one address.
    pub calls: u32,
    /// Everything that comes with one API key, or from a caller who is taken at their word.
    pub key_calls: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { executions: 10, saves: 60, calls: 100, key_calls: 6_000 }
    }
}

/// Which budget a call is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateClass {
    /// Runs a program in a workspace.
    Execution,
    /// Saves a file.
    Save,
    /// Asks for what may follow at a cursor, which the IDE does by itself while somebody types.
    Suggestion,
    /// Anything else.
    General,
    /// What pages do by themselves: no budget.
    Free,
}

impl RateClass {
    /// The word of the API's description.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Execution => "execution",
            Self::Save => "save",
            Self::Suggestion => "suggestion",
            Self::General => "general",
            Self::Free => "free",
        }
    }

    /// The class of a route, from what it needs, its method and its path with parameters in braces.
    pub(crate) fn of(permission: Permission, method: &str, path: &str) -> Self {
        let own =
            ["/api/v1", "/v1"].iter().find_map(|root| path.strip_prefix(root).filter(|rest| rest.starts_with('/')));
        let class = match own {
            Some(path) => of_api(method, path),
            None => of_guides(method, path),
        };
        let is_way_in = path.contains("/auth/");
        if permission == Permission::Public && !is_way_in { Self::Free } else { class }
    }
}

fn of_api(method: &str, path: &str) -> RateClass {
    let in_workspaces = path.starts_with("/workspaces");
    let in_sessions = ["/sessions", "/shared/sessions", "/events/sessions", "/agents/definitions"]
        .iter()
        .any(|root| path.starts_with(root));
    let ends = |end: &str| in_workspaces && path.ends_with(end);
    match method {
        "POST" if ends("/executions") => RateClass::Execution,
        "PUT" if ends("/files/content") => RateClass::Save,
        "POST"
            if ends("/files/uploads")
                || ends("/files/history/restore")
                || ends("/files/replace")
                || ends("/files/extract")
                || ends("/files/form") =>
        {
            RateClass::Save
        }
        // Pieces of an upload that was admitted, and stopping what runs, are never refused.
        "GET" if in_sessions => RateClass::Free,
        // Stopping what runs is never refused, and tickets have a bound of their own.
        "POST" | "DELETE" if in_sessions && of_stopping(path) => RateClass::Free,
        "POST" if path == "/auth/sse-token" => RateClass::Free,
        _ if in_workspaces && (path.contains("/uploads/") || path.contains("/executions/")) => RateClass::Free,
        _ if in_workspaces && path.contains("/terminals") => RateClass::Free,
        "POST" if ends("/files/search") || ends("/files/replace/preview") => RateClass::Free,
        "GET" if in_workspaces || path == "/workspace-templates" => RateClass::Free,
        "GET" if path.starts_with("/approvals") || path.ends_with("/stream") => RateClass::Free,
        "POST" if matches!(path, "/ws-tickets" | "/auth/refresh" | "/auth/logout") => RateClass::Free,
        _ => RateClass::General,
    }
}

fn of_stopping(path: &str) -> bool {
    path == "/sessions/{id}"
        || ["/cancel", "/interrupt", "/escape", "/kill", "/terminate", "/stop"].iter().any(|end| path.ends_with(end))
        || path.contains("/prompts/")
}

fn of_guides(method: &str, path: &str) -> RateClass {
    let files = ["/api/vibecode/files/", "/api/vibecoding/container/files/"];
    let file_call = files.iter().find_map(|root| path.strip_prefix(root));
    match (method, path) {
        ("POST", "/api/vibecode/exec" | "/api/vibecode/exec/stream" | "/api/vibecoding/container/execute") => {
            RateClass::Execution
        }
        // Stopping what runs is never refused.
        ("DELETE", "/api/vibecode/exec/{id}") => RateClass::Free,
        ("POST", "/api/ide/diff/apply" | "/api/vibecode/files/upload" | "/api/vibecode/files/replace") => {
            RateClass::Save
        }
        ("POST", "/api/ide/copilot/suggest") => RateClass::Suggestion,
        ("POST", "/api/vibecode/repo/import") => RateClass::Execution,
        ("POST", "/api/vibecoding/files") => RateClass::Execution,
        ("POST", "/api/auth/refresh" | "/api/auth/logout" | "/api/vibecode/ws-ticket") => RateClass::Free,
        _ if matches!(file_call, Some("save" | "write")) => RateClass::Save,
        _ if matches!(file_call, Some("tree" | "list" | "read" | "stat" | "search")) => RateClass::Free,
        _ if path.starts_with("/ws/") || path.starts_with("/preview/") || path.contains("/proxy/") => RateClass::Free,
        ("GET", _) if ["/api/vibecode/", "/api/vibecoding/"].iter().any(|root| path.starts_with(root)) => {
            RateClass::Free
        }
        ("GET", _) if path.ends_with("/stream") || path.contains("/approvals") => RateClass::Free,
        _ => RateClass::General,
    }
}

/// Whose budget it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Person(String),
    Key(String),
    Address(IpAddr),
}

/// What is left of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    limit: u32,
    remaining: u32,
    /// Seconds until the oldest call leaves the minute.
    reset: u32,
}

impl Standing {
    /// Tells it in the headers of an answer.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        headers.insert(RATELIMIT_LIMIT, HeaderValue::from(self.limit));
        headers.insert(RATELIMIT_REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RATELIMIT_RESET, HeaderValue::from(self.reset));
    }
}

/// The calls of the last minute.
pub(crate) struct Rates {
    limits: RateLimits,
    calls: Mutex<HashMap<(Who, RateClass), VecDeque<i64>>>,
}

impl Rates {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self { limits, calls: Mutex::default() }
    }

    /// Takes a call from the caller's budget. `None` when there is no limit for it.
    pub(crate) fn admit(
        &self,
        caller: &Caller,
        class: RateClass,
        now: jiff::Timestamp,
    ) -> Result<Option<Standing>, Problem> {
        let principal = &caller.principal;
        let name = || format!("{}|{}", principal.tenant, principal.label());
        if class == RateClass::Free {
            return Ok(None);
        }
        if caller.login.is_some() {
            return self.take(Who::Person(name()), class, self.limit_of(class), now);
        }
        // One budget for everything that a key does.
        let key = caller.key_id.as_ref().map_or_else(name, ToString::to_string);
        self.take(Who::Key(key), RateClass::General, self.limits.key_calls, now)
    }

    /// Takes a call of somebody who has not said who they are from the budget of their address.
    pub(crate) fn admit_address(
        &self,
        address: Option<IpAddr>,
        class: RateClass,
        now: jiff::Timestamp,
    ) -> Result<Option<Standing>, Problem> {
        match address {
            Some(address) if class != RateClass::Free => {
                self.take(Who::Address(address), class, self.limit_of(class), now)
            }
            _ => Ok(None),
        }
    }

    fn limit_of(&self, class: RateClass) -> u32 {
        match class {
            RateClass::Execution => self.limits.executions,
            RateClass::Save => self.limits.saves,
            RateClass::Suggestion => SUGGESTIONS_PER_MINUTE,
            RateClass::General => self.limits.calls,
            RateClass::Free => 0,
        }
    }

    fn take(&self, who: Who, class: RateClass, limit: u32, now: jiff::Timestamp) -> Result<Option<Standing>, Problem> {
        if limit == 0 {
            return Ok(None);
        }
        let now = now.as_millisecond();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= REMEMBERED_MAX {
            calls.retain(|_, at| at.back().is_some_and(|last| is_recent(*last, now)));
        }
        let at = calls.entry((who, class)).or_default();
        while at.front().is_some_and(|first| !is_recent(*first, now)) {
            at.pop_front();
        }
        // A clock that was set back must not hold anybody up.
        while at.back().is_some_and(|last| *last > now) {
            at.pop_back();
        }
        let made = u32::try_from(at.len()).unwrap_or(u32::MAX);
        let reset = at.front().map_or(WINDOW_MS, |first| first + WINDOW_MS - now);
        let reset = u32::try_from(reset.max(1)).unwrap_or(1).div_ceil(1000);
        if made >= limit {
            return Err(refused(class, limit, reset));
        }
        at.push_back(now);
        Ok(Some(Standing { limit, remaining: limit - made - 1, reset }))
    }
}

fn is_recent(at: i64, now: i64) -> bool {
    now.saturating_sub(at) < WINDOW_MS
}

fn refused(class: RateClass, limit: u32, wait: u32) -> Problem {
    let what = match class {
        RateClass::Execution => "executions",
        RateClass::Save => "saves",
        RateClass::Suggestion => "suggestions",
        RateClass::General | RateClass::Free => "calls",
    };
    let detail = format!("{limit} {what} in a minute are the most there may be; the next one can be made in {wait} s");
    Problem::new(ProblemCode::RateLimited, detail)
        .retry_after(wait)
        .with("limit", limit)
        .with("rate_class", class.as_str())
        .header(RATELIMIT_LIMIT, HeaderValue::from(limit))
        .header(RATELIMIT_REMAINING, HeaderValue::from(0))
        .header(RATELIMIT_RESET, HeaderValue::from(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(1_000_000_000 + ms).unwrap()
    }

    fn take(rates: &Rates, class: RateClass, ms: i64) -> Result<Standing, String> {
        let taken = rates.take(Who::Person("alice".to_owned()), class, rates.limit_of(class), at(ms));
        let problem = |problem: Problem| {
            let response = problem.render("req_1");
            let header = response.headers()["retry-after"].to_str().unwrap().to_owned();
            assert_eq!(response.headers()["ratelimit-remaining"], "0");
            header
        };
        taken.map(Option::unwrap).map_err(problem)
    }

    #[test]
    fn one_more_than_the_limit_in_a_minute_is_refused_until_the_oldest_has_left() {
        let rates = Rates::new(RateLimits::default());
        for (class, limit) in [(RateClass::Execution, 10), (RateClass::Save, 60), (RateClass::General, 100)] {
            for n in 0..limit {
                // However they are spread over the minute.
                let standing = take(&rates, class, n * 59_000 / limit).unwrap();
                assert_eq!(
                    (standing.limit, standing.remaining),
                    (u32::try_from(limit).unwrap(), u32::try_from(limit - n - 1).unwrap())
                );
            }
            assert_eq!(take(&rates, class, 59_000), Err("1".to_owned()), "{class:?}");
            assert_eq!(take(&rates, class, 59_999), Err("1".to_owned()));
            take(&rates, class, 60_000).unwrap();
            assert!(take(&rates, class, 60_000).is_err(), "one left, one came");
        }
    }

    #[test]
    fn what_to_wait_is_told_exactly() {
        let rates = Rates::new(RateLimits::default());
        for _ in 0..10 {
            take(&rates, RateClass::Execution, 0).unwrap();
        }
        assert_eq!(take(&rates, RateClass::Execution, 1), Err("60".to_owned()));
        assert_eq!(take(&rates, RateClass::Execution, 18_000), Err("42".to_owned()));
    }

    #[test]
    fn refused_calls_cost_nothing_and_a_save_each_second_goes_on() {
        let rates = Rates::new(RateLimits::default());
        for n in 0..600 {
            take(&rates, RateClass::Save, n * 1000).unwrap();
        }
        let rates = Rates::new(RateLimits::default());
        for _ in 0..1000 {
            let _ = take(&rates, RateClass::Execution, 0);
        }
        take(&rates, RateClass::Execution, 60_000).unwrap();
    }

    #[test]
    fn a_limit_of_nothing_is_no_limit_and_a_clock_set_back_holds_nobody_up() {
        let off = Rates::new(RateLimits { executions: 0, ..RateLimits::default() });
        let who = || Who::Person("alice".to_owned());
        for _ in 0..1000 {
            assert_eq!(off.take(who(), RateClass::Execution, 0, at(0)).unwrap(), None);
        }
        let rates = Rates::new(RateLimits::default());
        for _ in 0..10 {
            take(&rates, RateClass::Execution, 3_600_000).unwrap();
        }
        take(&rates, RateClass::Execution, 0).unwrap();
    }

    #[test]
    fn what_the_ide_does_by_itself_is_free_and_what_people_do_is_counted() {
        use RateClass::{Execution, Free, General, Save};
        for (method, path, class) in [
            ("POST", "/api/v1/workspaces/{id}/executions", Execution),
            ("POST", "/v1/workspaces/{id}/executions", Execution),
            ("POST", "/api/vibecode/exec", Execution),
            ("POST", "/api/vibecode/exec/stream", Execution),
            ("DELETE", "/api/vibecode/exec/{id}", Free),
            ("PUT", "/api/v1/workspaces/{id}/files/content", Save),
            ("POST", "/api/v1/workspaces/{id}/files/uploads", Save),
            ("POST", "/api/vibecode/files/save", Save),
            ("POST", "/api/ide/diff/apply", Save),
            ("POST", "/api/v1/workspaces", General),
            ("DELETE", "/api/v1/workspaces/{id}", General),
            ("POST", "/api/v1/workspaces/{id}/files/operations", General),
            ("POST", "/api/vibecode/files/rename", General),
            ("POST", "/api/v1/auth/password", General),
            ("GET", "/api/v1/whoami", General),
            ("GET", "/api/v1/events", General),
            ("GET", "/api/me", General),
            ("GET", "/api/v1/workspaces", Free),
            ("GET", "/api/v1/workspaces/{id}", Free),
            ("GET", "/api/v1/workspaces/{id}/tree", Free),
            ("GET", "/api/v1/workspaces/{id}/files/content", Free),
            ("GET", "/api/v1/workspaces/events", Free),
            ("POST", "/api/v1/workspaces/{id}/files/search", Free),
            ("PATCH", "/api/v1/workspaces/{id}/files/uploads/{uid}", Free),
            ("DELETE", "/api/v1/workspaces/{id}/executions/{eid}", Free),
            ("POST", "/api/v1/workspaces/{id}/terminals", Free),
            ("POST", "/api/v1/ws-tickets", Free),
            ("GET", "/api/v1/approvals/pending", Free),
            ("GET", "/api/v1/events/stream", Free),
            ("POST", "/api/v1/auth/refresh", Free),
            ("POST", "/api/vibecode/files/tree", Free),
            ("GET", "/ws/vibecoding/terminal", Free),
            ("GET", "/api/v1/sessions/{id}/events", Free),
            ("GET", "/v1/events/sessions", Free),
            ("POST", "/v1/auth/sse-token", Free),
            ("POST", "/api/v1/sessions/{id}/cancel", Free),
            ("DELETE", "/api/v1/sessions/{id}/prompts/{prompt_id}", Free),
            ("POST", "/api/v1/sessions/{id}/prompts", General),
            ("POST", "/api/v1/sessions", General),
        ] {
            assert_eq!(RateClass::of(Permission::Look, method, path), class, "{method} {path}");
        }
        assert_eq!(RateClass::of(Permission::Public, "GET", "/health"), Free);
        assert_eq!(RateClass::of(Permission::Public, "POST", "/api/v1/auth/login"), General);
    }
}
