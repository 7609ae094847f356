//! Other people's accounts, for administrators. Every change is recorded.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode};
use reeve_platform::accounts::{Change, NewAccount};
use reeve_store::StoredAccount;
use reeve_types::secret::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::cookies;
use crate::extract::{Body, Id};
use crate::problem::Problem;

/// An account as administrators see it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Account {
    id: String,
    email: String,
    name: String,
    /// The name that records and policies know the person by.
    username: String,
    roles: BTreeSet<String>,
    tenant: String,
    /// Whether a password is set; without one the person comes in by link.
    has_password: bool,
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    disabled_at: Option<jiff::Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: jiff::Timestamp,
}

impl From<StoredAccount> for Account {
    fn from(stored: StoredAccount) -> Self {
        Self {
            id: stored.account_id.to_string(),
            email: stored.email,
            name: stored.name,
            username: stored.principal,
            roles: stored.roles,
            tenant: stored.tenant.to_string(),
            has_password: stored.hash.is_some(),
            disabled: stored.disabled_at.is_some(),
            disabled_at: stored.disabled_at,
            created_at: stored.created_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct AccountList {
    accounts: Vec<Account>,
}

/// The accounts, by e-mail address.
#[utoipa::path(get, path = "/accounts", tag = "accounts", operation_id = "list_accounts",
    responses((status = 200, description = "The accounts, those switched off too.", body = AccountList)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<AccountList>, Problem> {
    let found = app.platform.identity().accounts().list(caller.tenant()).await?;
    Ok(Json(AccountList { accounts: found.into_iter().map(Account::from).collect() }))
}

/// An account to be made for somebody.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountToMake {
    #[serde(default)]
    email: String,
    #[serde(default)]
    name: Option<String>,
    /// At least 10 characters. Without one the person comes in by a sign-in link and sets their own.
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    roles: BTreeSet<String>,
}

/// Make an account.
#[utoipa::path(post, path = "/accounts", tag = "accounts", operation_id = "create_account", request_body = AccountToMake,
    responses((status = 201, description = "The account.", body = Account),
        (status = 409, description = "The address has an account.")))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<AccountToMake>,
) -> Result<(StatusCode, Json<Account>), Problem> {
    let new =
        NewAccount { email: body.email, name: body.name, password: body.password.map(Into::into), roles: body.roles };
    let made = app.platform.identity().accounts().create(Some(&caller.principal), caller.tenant(), new).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// What is to be changed; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountChange {
    #[serde(default)]
    name: Option<String>,
    /// They hold from the next request on.
    #[serde(default)]
    roles: Option<BTreeSet<String>>,
    /// Ends every sign-in of the account.
    #[serde(default)]
    password: Option<String>,
    /// `true` ends every sign-in of the account and lets nobody in any more.
    #[serde(default)]
    disabled: Option<bool>,
}

/// Change an account, switch it off or on.
#[utoipa::path(patch, path = "/accounts/{id}", tag = "accounts", operation_id = "change_account", request_body = AccountChange,
    params(("id" = String, Path, description = "The account's id (`usr_…`) or e-mail address.")),
    responses((status = 200, description = "The account as it is now.", body = Account)))]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<String>,
    Body(body): Body<AccountChange>,
) -> Result<Json<Account>, Problem> {
    let change =
        Change { name: body.name, roles: body.roles, password: body.password.map(Into::into), disabled: body.disabled };
    let accounts = app.platform.identity().accounts();
    Ok(Json(accounts.change(&caller.principal, caller.tenant(), &id, change).await?.into()))
}

/// A link that lets one person in, once. It is told here and never again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Link {
    /// What `POST /auth/login` takes as `link`.
    link: String,
    /// What to open in a browser.
    url: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: jiff::Timestamp,
    account: Account,
}

/// Make a sign-in link. It works once, within ten minutes.
#[utoipa::path(post, path = "/accounts/{id}/sign-in-link", tag = "accounts", operation_id = "make_sign_in_link",
    params(("id" = String, Path, description = "The account's id (`usr_…`), its e-mail address, or `administrator`.")),
    responses((status = 201, description = "The link; it is not shown again.", body = Link)))]
pub(crate) async fn sign_in_link(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Link>), Problem> {
    let made = app.platform.identity().accounts().sign_in_link(&caller.principal, caller.tenant(), &id).await?;
    let secret = made.secret.expose_secret();
    let url = format!("{}/#/sign-in?link={secret}", here(app.platform.base_url(), &headers));
    let link = Link { link: secret.to_owned(), url, expires_at: made.expires_at, account: made.account.into() };
    Ok((StatusCode::CREATED, Json(link)))
}

/// How this server is reached: as it was configured, or as the caller reached it.
pub(super) fn here(base_url: Option<&str>, headers: &HeaderMap) -> String {
    if let Some(base) = base_url {
        return base.trim_end_matches('/').to_owned();
    }
    let scheme = if cookies::is_https(headers) { "https" } else { "http" };
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost:8080");
    format!("{scheme}://{host}")
}

/// Sign access tokens with a new secret. Those that are out hold until they expire.
#[utoipa::path(post, path = "/accounts/signing-secret", tag = "accounts", operation_id = "rotate_signing_secret",
    responses((status = 204, description = "The new secret is in force.")))]
pub(crate) async fn rotate_secret(State(app): State<App>, caller: Caller) -> Result<StatusCode, Problem> {
    caller.of_first_tenant("the secret signs the access tokens of every tenant")?;
    app.platform.identity().accounts().rotate_secret(&caller.principal).await?;
    Ok(StatusCode::NO_CONTENT)
}
