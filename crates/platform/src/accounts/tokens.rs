//! Access tokens: JSON Web Tokens (RFC 7519) signed with HMAC-SHA-256, and nothing else.
//!
//! One algorithm is known, so the header of a token can choose nothing but the secret, by name. The end of a token is
//! held against the clock exactly, without any grace.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reeve_types::{LoginId, TenantId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::secrets::{Secret, outlived};
use super::{AccountError, Accounts};
use crate::IdentityError;

/// Who makes the tokens.
const ISSUER: &str = "reeve";
/// Whom they are for.
const AUDIENCE: &str = "reeve-api";
const ALGORITHM: &str = "HS256";
/// Longest token that is looked at, in bytes.
const SIGNED_BYTES_MAX: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// Who signed in.
    pub(super) sub: String,
    /// From when on it is no longer good, in seconds since 1970.
    pub(super) exp: i64,
    /// When it was made.
    pub(super) iat: i64,
    /// Its own name.
    pub(super) jti: String,
    iss: String,
    aud: String,
    /// Whose it is.
    pub(super) tenant: TenantId,
    /// The login that gave it.
    pub(super) lgn: LoginId,
}

/// Whether a credential has the shape of an access token; keys never have it.
pub fn looks_like_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|b| *b == b'.').count() == 2
}

impl Accounts {
    /// A new access token of a login, with how many seconds it is good for.
    pub(super) fn issue(
        &self,
        login: &LoginId,
        tenant: &TenantId,
        subject: &str,
    ) -> Result<(String, u64), AccountError> {
        let iat = self.now().as_second();
        let seconds = self.options().token_lifetime.as_secs();
        let claims = Claims {
            sub: subject.to_owned(),
            exp: iat.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)),
            iat,
            jti: format!("{:032x}", self.parts.clock.random()),
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            tenant: tenant.clone(),
            lgn: login.clone(),
        };
        Ok((self.sign(&claims)?, seconds))
    }

    /// Signs claims of any kind with the secret in force. Each kind says in its `aud` what it is for, so that none is taken
    /// for another.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, AccountError> {
        let secrets = self.parts.secrets.all();
        let secret =
            secrets.first().ok_or_else(|| AccountError::Secret("there is no secret to sign with".to_owned()))?;
        signed(claims, secret)
    }

    /// Claims that one of the secrets in force signed, or the one before, which signs nothing new. When they end and what
    /// they are for is the caller's to check.
    pub(crate) fn read_signed<C: DeserializeOwned>(&self, token: &str) -> Option<C> {
        if token.len() > SIGNED_BYTES_MAX {
            return None;
        }
        verified(token, &self.parts.secrets.all()).map(|(claims, _)| claims)
    }

    /// What an access token says, when one of the secrets in force signed it and its time is not over.
    pub(super) fn read_token(&self, token: &str) -> Result<Claims, IdentityError> {
        let now = self.now().as_second();
        let lifetime = self.options().token_lifetime;
        let secrets = self.parts.secrets.all();
        let (claims, secret) = verified::<Claims>(token, &secrets).ok_or(IdentityError::BadToken)?;
        if claims.iss != ISSUER || claims.aud != AUDIENCE || outlived(secret, now, lifetime) {
            return Err(IdentityError::BadToken);
        }
        // A retired secret signs nothing new, whatever a token made with it claims.
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        if secret.retired_at.is_some_and(|at| claims.iat > at || claims.exp > at.saturating_add(seconds)) {
            return Err(IdentityError::BadToken);
        }
        if now >= claims.exp {
            return Err(IdentityError::TokenExpired);
        }
        Ok(claims)
    }
}

fn signed(claims: &impl Serialize, secret: &Secret) -> Result<String, AccountError> {
    let header = Header { alg: ALGORITHM.to_owned(), typ: "JWT".to_owned(), kid: secret.kid.clone() };
    let broke_off = |error: serde_json::Error| AccountError::BrokeOff(error.to_string());
    let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).map_err(broke_off)?);
    let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).map_err(broke_off)?);
    let text = format!("{header}.{body}");
    let mut mac = mac(secret).ok_or_else(|| AccountError::BrokeOff("the secret cannot sign".to_owned()))?;
    mac.update(text.as_bytes());
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())))
}

fn verified<'s, C: DeserializeOwned>(token: &str, secrets: &'s [Secret]) -> Option<(C, &'s Secret)> {
    let (text, signature) = token.rsplit_once('.')?;
    let (header, body) = text.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.alg != ALGORITHM || header.typ != "JWT" {
        return None;
    }
    let secret = secrets.iter().find(|secret| secret.kid == header.kid)?;
    let mut mac = mac(secret)?;
    mac.update(text.as_bytes());
    // Compared in constant time.
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
    Some((claims, secret))
}

fn mac(secret: &Secret) -> Option<Hmac<Sha256>> {
    Hmac::<Sha256>::new_from_slice(secret.bytes()).ok()
}
