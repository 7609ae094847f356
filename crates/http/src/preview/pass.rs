//! The pass of a browser to one preview: a signed cookie that names the preview, who may see it, and until when.
//!
//! It is given for a one-time secret in the address, which whoever may see the workspace gets from the platform. It is
//! bound to the host of the preview, so neither the platform's cookies reach a program nor a program's the platform.

use axum::http::{HeaderMap, HeaderValue, header::COOKIE};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use reeve_types::{LoginId, Principal};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::place::Place;

/// The cookie's name. A second one, for a preview inside a page of another site, ends in `_in`.
pub(crate) const COOKIE_NAME: &str = "reeve_preview";
const COOKIE_NAME_INSIDE: &str = "reeve_preview_in";
/// How long a pass holds.
const HOLDS: SignedDuration = SignedDuration::from_hours(1);
/// With less than this left, a pass that is used is made anew.
const RENEWED_BELOW: SignedDuration = SignedDuration::from_mins(30);
/// How long a pass may be made anew since it was first given.
const RENEWED_FOR: SignedDuration = SignedDuration::from_hours(12);
/// Longest cookie that is looked at, in bytes.
const BYTES_MAX: usize = 3500;

/// What a pass says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pass {
    pub(crate) place: Place,
    pub(crate) principal: Principal,
    /// The sign-in that it was given for; the pass ends with it.
    pub(crate) login: Option<LoginId>,
    /// When it was first given.
    given: Timestamp,
    /// Until when it holds.
    until: Timestamp,
}

impl Pass {
    /// A pass of this moment.
    pub(crate) fn new(place: Place, principal: Principal, login: Option<LoginId>, now: Timestamp) -> Self {
        Self { place, principal, login, given: now, until: now.saturating_add(HOLDS).unwrap_or(now) }
    }

    /// The same pass for longer, when it is about to end and may go on.
    pub(crate) fn renewed(&self, now: Timestamp) -> Option<Self> {
        let due = self.until.duration_since(now) < RENEWED_BELOW && now.duration_since(self.given) < RENEWED_FOR;
        let until = now.saturating_add(HOLDS).unwrap_or(now);
        due.then(|| Self { until, ..self.clone() })
    }
}

/// Signs passes and checks them. The key lives as long as the process.
pub(crate) struct Signer {
    key: [u8; 32],
}

impl Signer {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    fn mac(&self, text: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(b"reeve preview pass v1\0");
        mac.update(text);
        Some(mac)
    }

    fn sign(&self, pass: &Pass) -> Option<String> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(pass).ok()?);
        let tag = self.mac(payload.as_bytes())?.finalize().into_bytes();
        Some(format!("{payload}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    fn read(&self, cookie: &str) -> Option<Pass> {
        let (payload, tag) = cookie.split_once('.').filter(|_| cookie.len() <= BYTES_MAX)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        self.mac(payload.as_bytes())?.verify_slice(&tag).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    /// The pass that a request brings for a preview. Of several cookies of the name any valid one will do, so that a
    /// neighbour who plants a cookie of the same name shuts nobody out.
    pub(crate) fn pass(&self, headers: &HeaderMap, place: &Place, now: Timestamp) -> Option<Pass> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == COOKIE_NAME || *name == COOKIE_NAME_INSIDE)
            .filter_map(|(_, value)| self.read(value))
            .find(|pass| pass.place == *place && pass.until > now)
    }

    /// The cookies that carry a pass. `path` is where the preview begins on its host. The second one reaches a preview
    /// that is shown inside a page of another site, and that page's site only; browsers take it where the connection
    /// cannot be listened to.
    pub(crate) fn cookies(&self, pass: &Pass, path: &str, secure: bool, inside: bool) -> Vec<HeaderValue> {
        let Some(value) = self.sign(pass) else { return Vec::new() };
        let age = HOLDS.as_secs();
        let common = format!("Path={path}; Max-Age={age}; HttpOnly");
        let suffix = if secure { "; Secure" } else { "" };
        let mut lines = vec![format!("{COOKIE_NAME}={value}; {common}; SameSite=Lax{suffix}")];
        if inside {
            lines.push(format!("{COOKIE_NAME_INSIDE}={value}; {common}; SameSite=None; Secure; Partitioned"));
        }
        lines.iter().filter_map(|line| HeaderValue::from_str(line).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_types::{AuthMethod, PrincipalKind};

    fn place(port: u16) -> Place {
        Place { workspace: "wsp_01h455vb4pex5vsknk084sn02q".parse().unwrap(), port }
    }

    fn now() -> Timestamp {
        "2026-01-02T00:00:00Z".parse().unwrap()
    }

    fn pass() -> Pass {
        Pass::new(place(3000), Principal::new(PrincipalKind::User, "alice", AuthMethod::SignedIn), None, now())
    }

    fn sent(line: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(line).unwrap())])
    }

    fn pair(cookie: &HeaderValue) -> String {
        cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_pass_opens_its_own_preview_until_it_ends() {
        let signer = Signer::new([7; 32]);
        for cookie in signer.cookies(&pass(), "/", false, true) {
            let headers = sent(&format!("other=1; {}", pair(&cookie)));
            assert_eq!(signer.pass(&headers, &place(3000), now()), Some(pass()));
            assert_eq!(signer.pass(&headers, &place(3001), now()), None, "another port");
            let later = now() + SignedDuration::from_mins(61);
            assert_eq!(signer.pass(&headers, &place(3000), later), None, "too late");
            assert_eq!(Signer::new([8; 32]).pass(&headers, &place(3000), now()), None, "another key");
        }
    }

    #[test]
    fn a_pass_that_was_changed_opens_nothing_and_hides_no_good_one() {
        let signer = Signer::new([7; 32]);
        let good = pair(&signer.cookies(&pass(), "/", false, false)[0]);
        let (payload, tag) = good.strip_prefix("reeve_preview=").unwrap().split_once('.').unwrap();
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        let forged = URL_SAFE_NO_PAD.encode(text.replace("alice", "mallo"));
        let forged = format!("reeve_preview={forged}.{tag}");
        assert_eq!(signer.pass(&sent(&forged), &place(3000), now()), None);
        assert!(signer.pass(&sent(&format!("{forged}; {good}")), &place(3000), now()).is_some());
    }

    #[test]
    fn a_pass_that_is_used_goes_on_for_a_day_of_work_and_no_longer() {
        let mut held = pass();
        assert_eq!(held.renewed(now() + SignedDuration::from_mins(10)), None, "there is time");
        let mut at = now();
        loop {
            at += SignedDuration::from_mins(45);
            match held.renewed(at) {
                Some(next) => held = next,
                None => break,
            }
        }
        assert!(held.until.duration_since(now()) <= SignedDuration::from_hours(13));
        assert!(held.until.duration_since(now()) > SignedDuration::from_hours(11));
    }

    #[test]
    fn the_cookies_stay_on_their_host_and_out_of_scripts() {
        let signer = Signer::new([7; 32]);
        let lines = signer.cookies(&pass(), "/", false, true);
        let lines: Vec<&str> = lines.iter().map(|line| line.to_str().unwrap()).collect();
        assert!(lines[0].contains("HttpOnly; SameSite=Lax") && !lines[0].contains("Secure"));
        assert!(lines[1].ends_with("SameSite=None; Secure; Partitioned"));
        assert!(lines.iter().all(|line| !line.contains("Domain") && line.contains("Path=/;")));
    }
}
