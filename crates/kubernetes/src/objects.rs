//! Of the API's objects, the fields that are read. What is absent or null is empty; what is unknown is ignored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// Labels, selectors, quantities of resources.
pub type Words = BTreeMap<String, String>;

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct List<T> {
    /// Where the next page begins.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(default = "Option::default")]
    pub items: Option<Vec<T>>,
}

/// About a page.
#[derive(Debug, Default, Deserialize)]
pub struct ListMeta {
    /// Where the next page begins; empty at the end.
    #[serde(rename = "continue")]
    pub next: Option<String>,
}

/// What an API server says instead of an object.
#[derive(Debug, Default, Deserialize)]
pub struct Status {
    /// `Status`, when it is one.
    pub kind: Option<String>,
    /// In words.
    pub message: Option<String>,
}

/// Null is the same as absent.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// Declares objects whose fields may all be absent or null.
macro_rules! objects {
    ($($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            $($(#[$what])* #[serde(deserialize_with = "nullable")] pub $field: $kind,)*
        }
    )*};
}

objects! {
    /// What every object has.
    Meta {
        /// Its name.
        name: String,
        /// Its namespace; empty for objects of the cluster.
        namespace: String,
        /// Its labels.
        labels: Words,
        /// When it was made.
        creation_timestamp: Option<Timestamp>,
        /// When somebody asked for its end.
        deletion_timestamp: Option<Timestamp>,
    }
    /// An object of which only the name matters.
    Named {
        /// What every object has.
        metadata: Meta,
    }
    /// One thing that holds or does not.
    Condition {
        /// `Ready`, `PodScheduled`, …
        #[serde(rename = "type")]
        kind: String,
        /// `True`, `False` or `Unknown`.
        status: String,
        /// Why, in one word.
        reason: String,
        /// Why, in words.
        message: String,
        /// Since when.
        last_transition_time: Option<Timestamp>,
    }
    /// A pod.
    Pod {
        /// What every object has.
        metadata: Meta,
        /// What was asked for.
        spec: PodSpec,
        /// What there is.
        status: PodStatus,
    }
    /// What was asked of a pod.
    PodSpec {
        /// Where it was put.
        node_name: String,
        /// Its containers.
        containers: Vec<Container>,
        /// Those that run before.
        init_containers: Vec<Container>,
        /// As whom it speaks to the API.
        service_account_name: String,
    }
    /// A container of a pod.
    Container {
        /// Its name.
        name: String,
        /// Its image.
        image: String,
        /// What it may use.
        resources: Resources,
    }
    /// What a container may use.
    Resources {
        /// What is set aside for it.
        requests: Words,
        /// What it may not exceed.
        limits: Words,
    }
    /// What there is of a pod.
    PodStatus {
        /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
        phase: String,
        /// Why, in one word: `Evicted`, …
        reason: String,
        /// Why, in words.
        message: String,
        /// Its address.
        #[serde(rename = "podIP")]
        pod_ip: String,
        /// `Guaranteed`, `Burstable`, `BestEffort`.
        qos_class: String,
        /// When a node took it.
        start_time: Option<Timestamp>,
        /// What holds of it.
        conditions: Vec<Condition>,
        /// Its containers.
        container_statuses: Vec<ContainerStatus>,
        /// Those that run before.
        init_container_statuses: Vec<ContainerStatus>,
    }
    /// What there is of a container.
    ContainerStatus {
        /// Its name.
        name: String,
        /// Whether it takes requests.
        ready: bool,
        /// How often it was started again.
        restart_count: u64,
        /// What it does now.
        state: ContainerState,
        /// How it ended the last time.
        last_state: ContainerState,
    }
    /// One of three.
    ContainerState {
        /// It is not running yet, or not any more for now.
        waiting: Option<Waiting>,
        /// It runs.
        running: Option<Running>,
        /// It has ended.
        terminated: Option<Terminated>,
    }
    /// Why a container does not run.
    Waiting {
        /// `CrashLoopBackOff`, `ImagePullBackOff`, …
        reason: String,
        /// In words.
        message: String,
    }
    /// A running container.
    Running {
        /// Since when.
        started_at: Option<Timestamp>,
    }
    /// How a container ended.
    Terminated {
        /// `OOMKilled`, `Error`, `Completed`.
        reason: String,
        /// In words.
        message: String,
        /// What it gave back.
        exit_code: i64,
        /// What killed it.
        signal: Option<i64>,
        /// When it ended.
        finished_at: Option<Timestamp>,
    }
    /// A service.
    Service {
        /// What every object has.
        metadata: Meta,
        /// What was asked for.
        spec: ServiceSpec,
        /// What there is.
        status: ServiceStatus,
    }
    /// What was asked of a service.
    ServiceSpec {
        /// `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName`.
        #[serde(rename = "type")]
        kind: String,
        /// Its address inside.
        #[serde(rename = "clusterIP")]
        cluster_ip: String,
        /// Addresses that lead to it from outside.
        #[serde(rename = "externalIPs")]
        external_ips: Vec<String>,
        /// The name that it stands for.
        external_name: String,
        /// Its ports.
        ports: Vec<ServicePort>,
        /// The labels of the pods behind it.
        selector: Words,
    }
    /// A port of a service.
    ServicePort {
        /// Its name.
        name: String,
        /// `TCP`, `UDP`, `SCTP`.
        protocol: String,
        /// Where the service listens.
        port: u32,
        /// Where the pods listen: a number or a name.
        target_port: serde_json::Value,
        /// Where every node listens.
        node_port: Option<u32>,
    }
    /// What there is of a service.
    ServiceStatus {
        /// What stands before it.
        load_balancer: LoadBalancer,
    }
    /// What stands before a service.
    LoadBalancer {
        /// The ways in.
        ingress: Vec<Ingress>,
    }
    /// A way in.
    Ingress {
        /// By address.
        ip: String,
        /// By name.
        hostname: String,
    }
    /// Where the pods behind a service are.
    Endpoints {
        /// What every object has.
        metadata: Meta,
        /// The addresses.
        subsets: Vec<Subset>,
    }
    /// Addresses with the same ports.
    Subset {
        /// Those that take requests.
        addresses: Vec<Address>,
        /// Those that do not.
        not_ready_addresses: Vec<Address>,
        /// Their ports.
        ports: Vec<EndpointPort>,
    }
    /// An address.
    Address {
        /// The address itself.
        ip: String,
        /// The node behind it.
        node_name: String,
        /// The pod behind it.
        target_ref: Option<ObjectReference>,
    }
    /// A port of an endpoint.
    EndpointPort {
        /// Its name.
        name: String,
        /// Its number.
        port: u32,
        /// `TCP`, `UDP`, `SCTP`.
        protocol: String,
    }
    /// Another object.
    ObjectReference {
        /// `Pod`, …
        kind: String,
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    }
    /// Something that happened to an object.
    KubeEvent {
        /// What every object has.
        metadata: Meta,
        /// `Normal` or `Warning`.
        #[serde(rename = "type")]
        kind: String,
        /// In one word.
        reason: String,
        /// In words.
        message: String,
        /// To what.
        involved_object: ObjectReference,
        /// Who says so.
        source: EventSource,
        /// Who says so, in newer events.
        reporting_component: String,
        /// First seen.
        first_timestamp: Option<Timestamp>,
        /// Last seen.
        last_timestamp: Option<Timestamp>,
        /// Seen, in newer events.
        event_time: Option<Timestamp>,
        /// How often.
        count: Option<u64>,
        /// How often, in newer events.
        series: Option<Series>,
    }
    /// Who says so.
    EventSource {
        /// The program.
        component: String,
        /// The node.
        host: String,
    }
    /// An event that went on.
    Series {
        /// How often.
        count: u64,
        /// Last seen.
        last_observed_time: Option<Timestamp>,
    }
    /// A node.
    Node {
        /// What every object has.
        metadata: Meta,
        /// What was asked for.
        spec: NodeSpec,
        /// What there is.
        status: NodeStatus,
    }
    /// What was asked of a node.
    NodeSpec {
        /// Whether nothing new is put on it.
        unschedulable: bool,
        /// What keeps pods away from it.
        taints: Vec<Taint>,
    }
    /// What keeps pods away from a node.
    Taint {
        /// Its name.
        key: String,
        /// Its value.
        value: String,
        /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`.
        effect: String,
    }
    /// What there is of a node.
    NodeStatus {
        /// What holds of it.
        conditions: Vec<Condition>,
        /// Its addresses.
        addresses: Vec<NodeAddress>,
        /// What it has.
        capacity: Words,
        /// What pods may use of it.
        allocatable: Words,
        /// What it is made of.
        node_info: NodeInfo,
    }
    /// An address of a node.
    NodeAddress {
        /// `InternalIP`, `ExternalIP`, `Hostname`.
        #[serde(rename = "type")]
        kind: String,
        /// The address itself.
        address: String,
    }
    /// What a node is made of.
    NodeInfo {
        /// The kubelet's version.
        kubelet_version: String,
        /// The operating system.
        os_image: String,
        /// The kernel.
        kernel_version: String,
        /// What runs its containers.
        container_runtime_version: String,
    }
    /// What a pod uses at the moment, by the metrics server.
    PodMetrics {
        /// What every object has.
        metadata: Meta,
        /// Its containers.
        containers: Vec<ContainerMetrics>,
    }
    /// What a container uses at the moment.
    ContainerMetrics {
        /// Its name.
        name: String,
        /// By resource.
        usage: Words,
    }
}
