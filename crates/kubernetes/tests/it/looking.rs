//! What each tool shows of one cluster.

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};

use crate::scripted_api_server::ScriptedApiServer;
use crate::setting::Setting;

/// Text and data of an answer, for a snapshot.
async fn shown(tool: &str, arguments: Value) -> (String, Value) {
    let server = ScriptedApiServer::start().await;
    let output = Setting::of(&server).call(tool, arguments).await;
    (output.output, output.data.expect("data"))
}

#[tokio::test]
async fn pods_are_shown_with_what_is_wrong_with_them() {
    let (words, data) = shown("get_pods", json!({"namespace": "shop"})).await;
    assert_snapshot!("get_pods_words", words);
    assert_json_snapshot!("get_pods", data);
    assert!(!data.to_string().contains("not shown"), "annotations and variables stay where they are");
}

#[tokio::test]
async fn pods_are_chosen_by_labels_and_across_namespaces() {
    let server = ScriptedApiServer::start().await;
    let setting = Setting::of(&server);
    let one = setting.call("get_pods", json!({"namespace": "shop", "labels": "app=hungry"})).await;
    let one = one.data.unwrap();
    assert_eq!((one["count"].as_u64(), &one["pods"][0]["name"]), (Some(1), &json!("hungry")));
    assert_eq!(
        one["pods"][0]["last_state"],
        json!({"reason": "OOMKilled", "exit_code": 137, "oomkilled": true, "finished_at": "2026-03-01T12:00:05Z"})
    );
    let all = setting.call("get_pods", json!({"namespace": "all"})).await;
    assert!(all.output.contains("kube-system/dns") && all.output.contains("shop/well"), "{}", all.output);
    assert_eq!(all.data.unwrap()["count"], 8);
    let none = setting.call("get_pods", json!({"namespace": "empty"})).await.data.unwrap();
    assert_eq!(none, json!({"pods": [], "count": 0, "message": "no pods in the namespace empty"}));
}

#[tokio::test]
async fn long_lists_come_page_by_page_and_what_is_left_out_is_said() {
    let server = ScriptedApiServer::start().await;
    let setting = Setting::of(&server);
    let many = setting.call("get_pods", json!({"namespace": "many"})).await.data.unwrap();
    assert_eq!((many["count"].as_u64(), &many["pods"][1202]["name"]), (Some(1203), &json!("pod-1202")));
    let pages = ["limit=500", "limit=500&continue=500", "limit=500&continue=1000"];
    assert_eq!(server.asked(), pages.map(|query| format!("/api/v1/namespaces/many/pods?{query}")));
    let endless = setting.call("get_pods", json!({"namespace": "endless"})).await.data.unwrap();
    assert_eq!(endless["count"], 5000);
    assert_eq!(
        endless["message"],
        "only the first 5000 pods were read; ask for one namespace or by labels to see the others"
    );
    assert_eq!(server.asked().len(), 3 + 10);
}

#[tokio::test]
async fn services_and_what_is_behind_them_are_shown() {
    let (words, data) = shown("get_service", json!({"namespace": "shop"})).await;
    assert_snapshot!("get_service_words", words);
    assert_json_snapshot!("get_service", data);
    let (words, data) = shown("get_endpoints", json!({"namespace": "shop"})).await;
    assert_snapshot!("get_endpoints_words", words);
    assert_json_snapshot!("get_endpoints", data);
    let (words, _) = shown("describe_service", json!({"namespace": "shop", "service_name": "web"})).await;
    assert_snapshot!("describe_service_words", words);
}

#[tokio::test]
async fn one_service_is_found_by_name_or_by_type() {
    let server = ScriptedApiServer::start().await;
    let setting = Setting::of(&server);
    let names = |data: Value| -> Vec<String> {
        data["services"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
    };
    for (arguments, expected) in [
        (json!({"namespace": "shop", "service_name": "typo"}), vec!["typo"]),
        (json!({"namespace": "all", "service_name": "typo"}), vec!["typo"]),
        (json!({"namespace": "shop", "service_type": "ExternalName"}), vec!["outside"]),
    ] {
        let found = setting.call("get_service", arguments.clone()).await.data.unwrap();
        assert_eq!(names(found), expected, "{arguments}");
    }
    let missing = setting.fail("get_service", json!({"namespace": "shop", "service_name": "gone"})).await;
    assert!(missing.message.contains("services \"gone\" not found"), "{missing}");
}

#[tokio::test]
async fn events_come_newest_first_whatever_their_age_of_format() {
    let (words, data) = shown("get_events", json!({"namespace": "shop"})).await;
    assert_snapshot!("get_events_words", words);
    assert_json_snapshot!("get_events", data);
    let (_, warnings) =
        shown("get_events", json!({"namespace": "shop", "event_type": "Warning", "resource_name": "crash"})).await;
    assert_eq!((warnings["count"].as_u64(), &warnings["events"][0]["reason"]), (Some(1), &json!("BackOff")));
}

#[tokio::test]
async fn logs_are_read_from_the_end_and_of_the_run_before() {
    let server = ScriptedApiServer::start().await;
    let setting = Setting::of(&server);
    let last = setting.call("get_pod_logs", json!({"namespace": "shop", "pod_name": "well", "container": "web"})).await;
    assert_eq!((last.output.lines().count(), last.output.lines().last()), (50, Some("line 999")));
    let before = json!({"namespace": "shop", "pod_name": "crashing", "previous": true, "tail_lines": 3});
    assert_eq!(setting.call("get_pod_logs", before).await.output, "starting\nFATAL: no DATABASE_URL\n");
    let empty = json!({"namespace": "shop", "pod_name": "well", "container": "sidecar"});
    assert_eq!(setting.call("get_pod_logs", empty).await.output, "the log is empty\n");
    let which = setting.fail("get_pod_logs", json!({"namespace": "shop", "pod_name": "well"})).await;
    assert!(which.message.contains("choose one of: [web sidecar]"), "{which}");
    let asked = server.asked();
    assert_eq!(asked[0], "/api/v1/namespaces/shop/pods/well/log?tailLines=50&limitBytes=1048576&container=web");
}

#[tokio::test]
async fn one_pod_is_described_in_full() {
    for pod in ["well", "crashing", "pending"] {
        let (words, data) = shown("describe_pod", json!({"namespace": "shop", "pod_name": pod})).await;
        assert_snapshot!(format!("describe_pod_{pod}_words"), words);
        assert!(!format!("{words}{data}").contains("not shown"), "annotations and variables stay where they are");
        if pod == "crashing" {
            assert_json_snapshot!("describe_pod_crashing", data);
        }
    }
}

#[tokio::test]
async fn nodes_are_shown_with_their_state() {
    let (words, data) = shown("get_nodes", json!({})).await;
    assert_snapshot!("get_nodes_words", words);
    assert_json_snapshot!("get_nodes", data);
    let (_, labelled) = shown("get_nodes", json!({"show_labels": true})).await;
    assert_eq!(labelled["nodes"][1]["labels"], json!({"kubernetes.io/arch": "amd64"}));
    let (words, _) = shown("get_node_status", json!({})).await;
    assert_snapshot!("get_node_status_words", words);
    let (_, one) = shown("get_node_status", json!({"node_name": "node-b"})).await;
    assert_json_snapshot!("get_node_status", one);
}

#[tokio::test]
async fn resources_are_shown_with_or_without_a_metrics_server() {
    let (words, data) = shown("get_pod_resources", json!({"namespace": "shop"})).await;
    assert_snapshot!("get_pod_resources_words", words);
    assert_json_snapshot!("get_pod_resources", data);
    let (_, without) = shown("get_pod_resources", json!({"namespace": "shop", "pod_name": "well"})).await;
    assert_eq!(
        without["metrics_note"],
        "usage is not known: the cluster has no metrics server, or it has not measured this pod yet"
    );
    assert_eq!(without["pods"][0]["containers"][0]["usage"], Value::Null);
}

#[tokio::test]
async fn every_tool_says_what_it_is() {
    let server = ScriptedApiServer::start().await;
    let setting = Setting::of(&server);
    let specs: Vec<Value> = setting
        .gate()
        .gate()
        .specs()
        .map(|spec| json!({"name": spec.name, "arguments": spec.input_schema["properties"].as_object().unwrap().keys().collect::<Vec<_>>(), "required": spec.input_schema["required"]}))
        .collect();
    assert!(setting.gate().gate().specs().all(|spec| spec.agent == "k8s" && spec.action_class.as_str() == "read"));
    assert_json_snapshot!("catalogue", specs);
}
