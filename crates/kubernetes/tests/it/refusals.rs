//! Every way in which a cluster can fail to answer, in words.

use std::time::Duration;

use reeve_gate::FailureKind;
use reeve_kubernetes::client::ClientOptions;
use serde_json::json;
use tokio::net::TcpListener;

use crate::certificates::Certificates;
use crate::scripted_api_server::{Door, ScriptedApiServer, TOKEN};
use crate::setting::{Setting, kubeconfig};

#[tokio::test]
async fn what_the_server_refuses_is_said_with_who_and_what() {
    let server = ScriptedApiServer::start().await;
    let setting = Setting::of(&server);
    let mut told = String::new();
    for namespace in ["secret", "gone", "busy", "proxy", "page"] {
        let (kind, words) = setting.refusal(namespace).await;
        told.push_str(&format!("{namespace} ({}): {words}\n", kind.as_str()));
    }
    insta::assert_snapshot!("refusals", told);
    let report = setting.fail("get_pods", json!({"namespace": "secret"})).await.report.unwrap();
    assert!(report.contains("\nERROR — get_pods failed for "), "{report}");
    assert!(report.contains("Raw error: HTTP 403: pods is forbidden"), "{report}");
}

#[tokio::test]
async fn credentials_that_are_not_known_are_named_and_never_shown() {
    let server = ScriptedApiServer::start().await;
    let config = kubeconfig(&json!({"server": server.url()}), &json!({"token": "an-old-token"}));
    let failure = Setting::new(&config).fail("get_pods", json!({"namespace": "shop"})).await;
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(failure.message.contains("the credentials of the user `reader`"), "{failure}");
    assert!(!format!("{failure:?}").contains("an-old-token"));
}

#[tokio::test]
async fn whom_we_act_as_is_sent_along() {
    let server = ScriptedApiServer::start().await;
    let user = json!({"token": TOKEN, "as": "system:serviceaccount:ops:reeve", "as-groups": ["viewers"]});
    let failure = Setting::new(&kubeconfig(&json!({"server": server.url()}), &user)).refusal("secret").await;
    assert!(failure.1.contains("User \"system:serviceaccount:ops:reeve\" cannot list"), "{}", failure.1);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let server = ScriptedApiServer::start().await;
    let options = ClientOptions { request_timeout: Duration::from_millis(200), ..ClientOptions::default() };
    let config = kubeconfig(&json!({"server": server.url()}), &json!({"token": TOKEN}));
    let (kind, words) = Setting::with(&config, options).refusal("hang").await;
    assert_eq!(kind, FailureKind::Timeout);
    assert!(words.contains("gave no answer within 200 ms"), "{words}");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_said_to_be_one() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let config = kubeconfig(&json!({"server": format!("https://{address}")}), &json!({"token": TOKEN}));
    let (kind, words) = Setting::new(&config).refusal("shop").await;
    assert_eq!(kind, FailureKind::Unreachable);
    assert!(words.contains("refused the connection: nothing listens there"), "{words}");
}

#[tokio::test]
async fn a_token_over_tls_reaches_a_server_that_its_authority_vouches_for() {
    let certificates = Certificates::make();
    let server = ScriptedApiServer::start_tls(&certificates, Door::Token).await;
    let user = json!({"token": TOKEN});
    let at = |authority: &str| json!({"server": server.url(), "certificate-authority": certificates.path(authority)});
    let setting = Setting::new(&kubeconfig(&at("ca.crt"), &user));
    assert_eq!(setting.call("get_pods", json!({"namespace": "shop"})).await.data.unwrap()["count"], 7);

    let (kind, words) = Setting::new(&kubeconfig(&at("other-ca.crt"), &user)).refusal("shop").await;
    assert_eq!(kind, FailureKind::Unreachable);
    assert!(words.contains("shows a certificate that the certificate-authority in"), "{words}");

    let (_, words) = Setting::new(&kubeconfig(&json!({"server": server.url()}), &user)).refusal("shop").await;
    assert!(words.contains("has not signed"), "the system's authorities do not know it: {words}");

    let trusting = json!({"server": server.url(), "insecure-skip-tls-verify": true});
    Setting::new(&kubeconfig(&trusting, &user)).call("get_pods", json!({"namespace": "shop"})).await;
}

#[tokio::test]
async fn a_client_certificate_lets_us_in_and_nothing_else_does() {
    let certificates = Certificates::make();
    let server = ScriptedApiServer::start_tls(&certificates, Door::Certificate).await;
    let cluster = json!({"server": server.url(), "certificate-authority": certificates.path("ca.crt")});
    let user =
        json!({"client-certificate": certificates.path("client.crt"), "client-key": certificates.path("client.key")});
    let setting = Setting::new(&kubeconfig(&cluster, &user));
    assert_eq!(setting.call("get_nodes", json!({})).await.data.unwrap()["count"], 2);
    let (kind, words) = Setting::new(&kubeconfig(&cluster, &json!({}))).refusal("shop").await;
    assert_eq!(kind, FailureKind::Unreachable);
    assert!(words.contains("client certificate"), "{words}");
}

#[tokio::test]
async fn a_name_that_would_lead_elsewhere_is_refused() {
    let server = ScriptedApiServer::start().await;
    let setting = Setting::of(&server);
    for name in ["..", "a/b", "a%2Fb", "-x", "x?watch=1"] {
        let arguments = json!({"namespace": "shop", "pod_name": name});
        let refused = setting.gate().submit("describe_pod", arguments).await;
        assert!(matches!(refused, Err(reeve_gate::Refusal::InvalidArguments { .. })), "{name}: {refused:?}");
    }
    for namespace in ["Shop", "a.b", "x_y"] {
        let (kind, words) = setting.refusal(namespace).await;
        assert_eq!(kind, FailureKind::Invalid);
        assert!(words.contains("cannot be a namespace"), "{words}");
    }
    let one = setting.fail("describe_pod", json!({"namespace": "all", "pod_name": "well"})).await;
    assert!(one.message.contains("give its name instead of `all`"), "{one}");
    assert!(server.asked().is_empty(), "nothing was sent: {:?}", server.asked());
}
