//! What is configured, for whom, and what is refused.

use reeve_gate::model::{ModelFailureKind, Models as _};
use reeve_model::{Catalog, ModelsConfig};
use reeve_types::TenantId;

use crate::asking::{ask, ask_within, catalog, cx, prompt, provider};
use crate::scripted_provider::{Answer, ScriptedProvider};

fn tenant(name: &str) -> TenantId {
    name.parse().expect("a tenant")
}

#[tokio::test]
async fn with_nothing_configured_nothing_is_there_and_the_way_out_is_told() {
    let empty = catalog("");
    assert!(empty.list(&tenant("default")).is_empty());
    let outcome = ask_within(&empty, None, prompt(), &cx()).await;
    assert_eq!(outcome.failure().kind, ModelFailureKind::NotConfigured);
    assert!(outcome.failure().message.contains("ANTHROPIC_API_KEY"));
}

#[tokio::test]
async fn names_aliases_and_the_default() {
    let server = ScriptedProvider::start((0..4).map(|_| Answer::transcript("openai-chat-text"))).await;
    let config = format!(
        "aliases = {{ fast = 'p/small', far = 'open/any/name' }}\n{}models = ['big', 'small']\ncontext_tokens = 8192\n\
         [providers.open]\nkind = 'openai'\nbase_url = '{}'\n",
        provider("openai", &server.url),
        server.url
    );
    let catalog = catalog(&config);
    for name in [None, Some("fast"), Some("small"), Some("far")] {
        ask_within(&catalog, name, prompt(), &cx()).await.answer.expect("an answer");
    }
    let models: Vec<_> = server.seen().into_iter().map(|seen| seen.body["model"].clone()).collect();
    assert_eq!(models, ["big", "small", "small", "any/name"]);
    let other = ask(&catalog, "p/other", prompt()).await;
    assert_eq!(other.failure().kind, ModelFailureKind::NotConfigured);
    assert!(other.failure().message.contains("big, small"), "{}", other.failure().message);

    let list = catalog.list(&tenant("default"));
    let names: Vec<_> = list.iter().map(|model| (model.name.as_str(), model.is_default)).collect();
    assert_eq!(names, [("open/any/name", false), ("p/big", true), ("p/small", false)]);
    assert_eq!((list[1].context_tokens, list[1].kind), (Some(8192), "openai"));
}

#[tokio::test]
async fn each_tenant_has_its_own_key() {
    let server = ScriptedProvider::start((0..2).map(|_| Answer::transcript("openai-chat-text"))).await;
    let config = format!("{}tenants.acme.key = 'acme-key'", provider("openai", &server.url));
    let catalog = catalog(&config);
    for (name, key) in [("acme", "Bearer acme-key"), ("other", "Bearer sk-secret")] {
        let tenant = tenant(name);
        let cx = cx();
        let stream = catalog.ask(&tenant, Some("p/x"), prompt(), &cx).await.expect("a stream");
        futures_util::StreamExt::collect::<Vec<_>>(stream).await;
        assert_eq!(
            server.seen().last().and_then(|seen| seen.header("authorization").map(str::to_owned)).as_deref(),
            Some(key)
        );
    }
    assert!(!format!("{:?}", toml::from_str::<ModelsConfig>(&config).expect("a configuration")).contains("acme-key"));
}

#[tokio::test]
async fn a_vendor_without_a_key_is_not_offered_to_the_tenant() {
    let vendor = catalog("[providers.v]\nkind = 'anthropic'\nmodels = ['m']\ntenants.acme.key = 'k'");
    assert_eq!(vendor.list(&tenant("acme")).len(), 1);
    assert!(vendor.list(&tenant("other")).is_empty());
    let outcome = ask(&vendor, "v/m", prompt()).await;
    assert_eq!(outcome.failure().kind, ModelFailureKind::Unauthorized);
    assert!(outcome.failure().message.contains("key_env"), "{}", outcome.failure().message);
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let table = [
        ("default = 'x/y'", "models.default"),
        ("fallbacks = ['x/y']\n[providers.p]\nkind = 'openai'", "models.fallbacks[0]"),
        ("aliases = { a = 'x/y' }", "models.aliases.a"),
        ("attempts = 0", "models.attempts"),
        ("[providers.p]\nkind = 'openai'\nbase_url = 'localhost'", "models.providers.p.base_url"),
        ("[providers.p]\nkind = 'openai'\nbase_url = 'ftp://h'", "models.providers.p.base_url"),
        ("[providers.p]\nkind = 'openai'\nbase_url = 'http://u:pw@h'", "models.providers.p.base_url"),
        ("[providers.p]\nkind = 'openai'\ntimeout_ms = 0", "models.providers.p.timeout_ms"),
        ("[providers.p]\nkind = 'openai'\nheaders = { 'a b' = 'c' }", "models.providers.p.headers"),
        ("[providers.p]\nkind = 'openai'\nkey = \"a\\nb\"", "models.providers.p.key"),
        ("[providers.p]\nkind = 'openai'\nscript = 'x'", "models.providers.p"),
        ("[providers.p]\nkind = 'openai'\ntenants.'A B'.key = 'c'", "models.providers.p.tenants"),
        ("[providers.'a/b']\nkind = 'openai'", "models.providers"),
        ("[providers.p]\nkind = 'replay'", "models.providers.p.kind"),
        ("[providers.p]\nkind = 'replay'\nscript = '/nowhere'", "models.providers.p.script"),
        ("record = '/nowhere/at/all'", "models.record"),
    ];
    for (text, setting) in table {
        let config: ModelsConfig = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let problem = Catalog::new(config).err().unwrap_or_else(|| panic!("{text} was taken")).to_string();
        assert!(problem.contains(setting) && !problem.contains("pw"), "{text}: {problem}");
    }
}

#[tokio::test]
async fn a_look_at_all_models_tells_which_answer() {
    let fine = ScriptedProvider::start([Answer::transcript("openai-chat-text")]).await;
    let config = format!(
        "{}models = ['a']\n[providers.gone]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:9'\nmodels = ['b']",
        provider("openai", &fine.url)
    );
    let health = catalog(&config).check(&tenant("default"), &cx()).await;
    let names: Vec<_> = health.iter().map(|health| (health.name.as_str(), health.answer.is_ok())).collect();
    assert_eq!(names, [("gone/b", false), ("p/a", true)]);
    assert_eq!(fine.only().body["max_tokens"], 16);
}
