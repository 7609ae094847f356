//! What the scripted server's cluster holds: objects in the shapes that the API's reference documents.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// So long ago that the age that is shown does not change while a test runs.
fn ago(hours: i64) -> String {
    let then = Timestamp::now() - SignedDuration::from_hours(hours) - SignedDuration::from_mins(30);
    Timestamp::from_second(then.as_second()).expect("a time").to_string()
}

pub(crate) fn all(kind: &str) -> Vec<Value> {
    match kind {
        "pods" => {
            vec![well(), crashing(), oom_killed(), unschedulable(), no_image(), evicted(), finished(), elsewhere()]
        }
        "services" => services(),
        "endpoints" => endpoints(),
        "events" => events(),
        "nodes" => nodes(),
        _ => Vec::new(),
    }
}

fn pod(name: &str, node: &str, containers: &Value, status: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": "5c0f2a5e-0000-4000-8000-000000000000",
                     "creationTimestamp": ago(76), "labels": {"app": name}, "annotations": {"secret": "not shown"}},
        "spec": {"nodeName": node, "serviceAccountName": "web", "containers": containers,
                 "restartPolicy": "Always", "volumes": [], "tolerations": null},
        "status": status,
    })
}

fn container(name: &str) -> Value {
    json!({
        "name": name, "image": format!("registry.example/{name}:1.4"), "env": [{"name": "PASSWORD", "value": "not shown"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    })
}

fn ready(is: bool) -> Value {
    if is {
        json!([{"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-03-01T10:00:00Z"}])
    } else {
        json!([{"type": "Ready", "status": "False", "reason": "ContainersNotReady",
                "message": "containers with unready status: [web]", "lastTransitionTime": "2026-03-01T10:00:00Z"}])
    }
}

fn well() -> Value {
    let running = |name: &str| {
        json!({"name": name, "ready": true, "restartCount": 0, "started": true,
        "state": {"running": {"startedAt": "2026-03-01T09:59:58Z"}}, "lastState": {}})
    };
    let status = json!({"phase": "Running", "podIP": "10.244.1.7", "qosClass": "Burstable", "conditions": ready(true),
        "containerStatuses": [running("web"), running("sidecar")]});
    let mut pod = pod("well", "node-a", &json!([container("web"), container("sidecar")]), &status);
    pod["spec"]["initContainers"] =
        json!([{"name": "migrate", "image": "registry.example/migrate:1.4", "resources": {}}]);
    pod["status"]["initContainerStatuses"] = json!([{"name": "migrate", "ready": true, "restartCount": 0, "lastState": {},
        "state": {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-03-01T09:59:50Z"}}}]);
    pod
}

fn crashing() -> Value {
    let status = json!({"phase": "Running", "podIP": "10.244.1.8", "conditions": ready(false), "containerStatuses": [{
        "name": "web", "ready": false, "restartCount": 12,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container=web pod=crashing_shop"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "startedAt": "2026-03-01T11:59:00Z", "finishedAt": "2026-03-01T11:59:01Z"}}}]});
    pod("crashing", "node-a", &json!([container("web")]), &status)
}

fn oom_killed() -> Value {
    let status = json!({"phase": "Running", "podIP": "10.244.1.9", "conditions": ready(true), "containerStatuses": [{
        "name": "web", "ready": true, "restartCount": 3, "state": {"running": {"startedAt": "2026-03-01T12:00:10Z"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-03-01T12:00:05Z"}}}]});
    pod("hungry", "node-b", &json!([container("web")]), &status)
}

fn unschedulable() -> Value {
    let status = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/2 nodes are available: 2 Insufficient memory. preemption: 0/2 nodes are available."}]});
    let mut pod = pod("pending", "", &json!([container("web")]), &status);
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("nodeName");
    }
    pod
}

fn no_image() -> Value {
    let status = json!({"phase": "Pending", "podIP": "10.244.2.4", "conditions": ready(false), "containerStatuses": [{
        "name": "web", "ready": false, "restartCount": 0, "lastState": {},
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"registry.example/web:nonexistent\""}}}]});
    pod("no-image", "node-b", &json!([container("web")]), &status)
}

fn evicted() -> Value {
    let status =
        json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."});
    pod("evicted", "node-b", &json!([container("web")]), &status)
}

fn finished() -> Value {
    let status = json!({"phase": "Succeeded", "containerStatuses": [{"name": "web", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-03-01T08:00:00Z"}}}]});
    pod("finished", "node-b", &json!([container("web")]), &status)
}

fn elsewhere() -> Value {
    plain_pod("kube-system", "dns")
}

/// A pod of which nothing needs to be said.
pub(crate) fn plain_pod(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace, "creationTimestamp": ago(76)},
           "spec": {"nodeName": "node-a", "containers": [{"name": "web"}]},
           "status": {"phase": "Running", "containerStatuses": [{"name": "web", "ready": true, "restartCount": 0}]}})
}

fn services() -> Vec<Value> {
    let meta = |name: &str| json!({"name": name, "namespace": "shop", "creationTimestamp": ago(30)});
    vec![
        json!({"metadata": meta("web"), "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.20", "selector": {"app": "well"},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http", "nodePort": 31080},
                      {"name": "https", "protocol": "TCP", "port": 443, "targetPort": 8443, "nodePort": 31443}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}}),
        json!({"metadata": meta("typo"), "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.21", "selector": {"app": "wel"},
            "ports": [{"protocol": "TCP", "port": 5432, "targetPort": 5432}]}, "status": {"loadBalancer": {}}}),
        json!({"metadata": meta("outside"), "spec": {"type": "ExternalName", "externalName": "db.example.com"}, "status": {"loadBalancer": {}}}),
    ]
}

fn endpoints() -> Vec<Value> {
    let address = |ip: &str, pod: &str| {
        json!({"ip": ip, "nodeName": "node-a",
        "targetRef": {"kind": "Pod", "namespace": "shop", "name": pod}})
    };
    vec![
        json!({"metadata": {"name": "web", "namespace": "shop"}, "subsets": [{
            "addresses": [address("10.244.1.7", "well")], "notReadyAddresses": [address("10.244.1.8", "crashing")],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}]}),
        json!({"metadata": {"name": "typo", "namespace": "shop"}, "subsets": null}),
    ]
}

fn events() -> Vec<Value> {
    let object = |name: &str| json!({"kind": "Pod", "namespace": "shop", "name": name});
    vec![
        json!({"metadata": {"name": "a", "namespace": "shop", "creationTimestamp": "2026-03-01T10:00:00Z"}, "type": "Normal",
            "reason": "Pulled", "message": "Successfully pulled image", "involvedObject": object("well"),
            "source": {"component": "kubelet", "host": "node-a"}, "firstTimestamp": "2026-03-01T10:00:00Z",
            "lastTimestamp": "2026-03-01T10:00:00Z", "count": 1, "eventTime": null}),
        json!({"metadata": {"name": "b", "namespace": "shop", "creationTimestamp": "2026-03-01T10:05:00Z"}, "type": "Warning",
            "reason": "BackOff", "message": "Back-off restarting failed container", "involvedObject": object("crashing"),
            "source": {"component": "kubelet", "host": "node-a"}, "firstTimestamp": "2026-03-01T10:05:00Z",
            "lastTimestamp": "2026-03-01T12:00:00Z", "count": 57}),
        json!({"metadata": {"name": "c", "namespace": "shop", "creationTimestamp": "2026-03-01T11:00:00Z"}, "type": "Warning",
            "reason": "FailedScheduling", "message": "0/2 nodes are available: 2 Insufficient memory.",
            "involvedObject": object("pending"), "source": {}, "reportingComponent": "default-scheduler",
            "firstTimestamp": null, "lastTimestamp": null, "eventTime": "2026-03-01T11:00:00.123456Z",
            "series": {"count": 9, "lastObservedTime": "2026-03-01T11:30:00.000000Z"}}),
    ]
}

fn nodes() -> Vec<Value> {
    let info = json!({"kubeletVersion": "v1.33.2", "osImage": "Debian GNU/Linux 12 (bookworm)",
        "kernelVersion": "6.1.0", "containerRuntimeVersion": "containerd://2.1.1"});
    let room = json!({"cpu": "4", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi", "hugepages-2Mi": "0"});
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason,
        "message": format!("{reason} it says"), "lastHeartbeatTime": null, "lastTransitionTime": "2026-03-01T08:00:00Z"})
    };
    vec![
        json!({"metadata": {"name": "node-a", "creationTimestamp": ago(500),
                "labels": {"kubernetes.io/arch": "amd64", "node-role.kubernetes.io/control-plane": ""}},
            "spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]},
            "status": {"nodeInfo": info, "capacity": room, "allocatable": {"cpu": "3800m", "memory": "15Gi", "pods": "110"},
                "addresses": [{"type": "InternalIP", "address": "192.0.2.10"}, {"type": "Hostname", "address": "node-a"}],
                "conditions": [condition("MemoryPressure", "False", "KubeletHasSufficientMemory"), condition("Ready", "True", "KubeletReady")]}}),
        json!({"metadata": {"name": "node-b", "creationTimestamp": ago(500), "labels": {"kubernetes.io/arch": "amd64"}},
            "spec": {"unschedulable": true},
            "status": {"nodeInfo": info, "capacity": room, "allocatable": room,
                "addresses": [{"type": "InternalIP", "address": "192.0.2.11"}, {"type": "ExternalIP", "address": "203.0.113.11"}],
                "conditions": [condition("DiskPressure", "True", "KubeletHasDiskPressure"), condition("Ready", "False", "KubeletNotReady")]}}),
    ]
}

/// What the metrics server measured: of one pod only.
pub(crate) fn metrics() -> Vec<Value> {
    vec![
        json!({"metadata": {"name": "well", "namespace": "shop"}, "timestamp": "2026-03-01T12:00:00Z", "window": "15s",
        "containers": [{"name": "web", "usage": {"cpu": "12345n", "memory": "45Mi"}}, {"name": "sidecar", "usage": {"cpu": "0", "memory": "3Mi"}}]}),
    ]
}
