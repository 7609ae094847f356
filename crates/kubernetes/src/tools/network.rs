//! Services and what stands behind them.

use jiff::Timestamp;
use reeve_types::ToolOutput;
use serde_json::{Value, json};

use super::define::{Definition, object_name, text};
use super::job::{CORE, Job};
use super::render::{age, pairs, table};
use super::trouble::Trouble;
use crate::objects::{Address, Endpoints, Service, ServicePort};

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::of_namespace(
            "get_service",
            "Services with their type, addresses, ports and the labels of the pods behind them.",
            |job| Box::pin(get_service(job)),
        )
        .optional("service_name", object_name("Only this service."))
        .optional(
            "service_type",
            json!({
                "type": "string", "enum": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"],
                "description": "Only services of this type.",
            }),
        )
        .capabilities(&["services", "network"]),
        Definition::of_namespace(
            "get_endpoints",
            "The addresses behind services, with the pod and node of each and whether it takes requests. A service without any has no ready pod, or a selector that fits none.",
            |job| Box::pin(get_endpoints(job)),
        )
        .optional("endpoint_name", object_name("Only those of this service."))
        .capabilities(&["services", "endpoints", "network"]),
        Definition::of_namespace(
            "describe_service",
            "One service: its type, addresses, ports, selector, and the ready and not ready addresses behind it.",
            |job| Box::pin(describe_service(job)),
        )
        .required("service_name", object_name("The service's name."))
        .capabilities(&["services", "network"]),
    ]
}

async fn get_service(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let view = job.view()?;
    let mut listed = view.one_or_all::<Service>("services", text(job.args(), "service_name"), &[]).await?;
    if let Some(kind) = text(job.args(), "service_type") {
        listed.items.retain(|service| service.spec.kind == kind);
    }
    let now = job.now();
    let rows: Vec<Vec<String>> = listed
        .items
        .iter()
        .map(|service| {
            let spec = &service.spec;
            vec![
                view.name_of(&service.metadata),
                spec.kind.clone(),
                spec.cluster_ip.clone(),
                external(service).join(","),
                spec.ports.iter().map(port_words).collect::<Vec<_>>().join(","),
                pairs(&spec.selector),
                age(service.metadata.creation_timestamp, now),
            ]
        })
        .collect();
    let count = listed.items.len();
    let mut words = match view.cut_note(listed.cut, "services") {
        Some(note) => format!("{note}\n"),
        None if count == 0 => format!("no such services{}\n", view.within()),
        None => String::new(),
    };
    if count > 0 {
        words.push_str(&table(&["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL", "PORTS", "SELECTOR", "AGE"], &rows));
    }
    let services: Vec<Value> = listed.items.iter().map(|service| service_data(service, now)).collect();
    Ok(ToolOutput::with_data(words, json!({ "services": services, "count": count })))
}

fn service_data(service: &Service, now: Timestamp) -> Value {
    let ports = service.spec.ports.iter().map(|port| {
        json!({
            "name": port.name, "port": port.port, "target_port": port.target_port, "node_port": port.node_port,
            "protocol": port.protocol,
        })
    });
    json!({
        "name": service.metadata.name,
        "namespace": service.metadata.namespace,
        "type": service.spec.kind,
        "cluster_ip": service.spec.cluster_ip,
        "external_ips": external(service),
        "ports": ports.collect::<Vec<_>>(),
        "selector": service.spec.selector,
        "age": age(service.metadata.creation_timestamp, now),
    })
}

/// Everything that leads to it from outside.
fn external(service: &Service) -> Vec<String> {
    let ingress = service.status.load_balancer.ingress.iter();
    let balanced = ingress.map(|way| if way.ip.is_empty() { way.hostname.clone() } else { way.ip.clone() });
    let named = Some(service.spec.external_name.clone()).filter(|name| !name.is_empty());
    service.spec.external_ips.iter().cloned().chain(balanced).chain(named).collect()
}

fn port_words(port: &ServicePort) -> String {
    let node = port.node_port.map(|node| format!(":{node}")).unwrap_or_default();
    let target = match &port.target_port {
        Value::Null => String::new(),
        Value::String(name) => format!("→{name}"),
        other => format!("→{other}"),
    };
    format!("{}{node}{target}/{}", port.port, port.protocol)
}

async fn get_endpoints(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let view = job.view()?;
    let listed = view.one_or_all::<Endpoints>("endpoints", text(job.args(), "endpoint_name"), &[]).await?;
    let mut rows = Vec::new();
    for endpoints in &listed.items {
        let all = addresses(endpoints);
        let ready = all.iter().filter(|(_, ready)| *ready).count();
        let shown: Vec<String> = all.iter().map(|(address, ready)| address_words(address, *ready)).collect();
        let ports: Vec<String> = ports(endpoints).iter().map(|port| format!("{}/{}", port.0, port.1)).collect();
        rows.push(vec![
            view.name_of(&endpoints.metadata),
            format!("{ready}/{}", all.len()),
            ports.join(","),
            shown.join(", "),
        ]);
    }
    let mut words = match view.cut_note(listed.cut, "endpoints") {
        Some(note) => format!("{note}\n"),
        None if rows.is_empty() => format!("no endpoints{}\n", view.within()),
        None => String::new(),
    };
    if !rows.is_empty() {
        words.push_str(&table(&["NAME", "READY", "PORTS", "ADDRESSES"], &rows));
    }
    for endpoints in listed.items.iter().filter(|endpoints| addresses(endpoints).is_empty()) {
        words.push_str(&format!(
            "{}: nothing is behind it; compare the selector that get_service shows with the labels that get_pods shows\n",
            view.name_of(&endpoints.metadata)
        ));
    }
    let endpoints: Vec<Value> = listed.items.iter().map(endpoints_data).collect();
    let count = endpoints.len();
    Ok(ToolOutput::with_data(words, json!({ "endpoints": endpoints, "count": count })))
}

fn addresses(endpoints: &Endpoints) -> Vec<(&Address, bool)> {
    let subsets = endpoints.subsets.iter();
    subsets
        .flat_map(|subset| {
            let ready = subset.addresses.iter().map(|address| (address, true));
            ready.chain(subset.not_ready_addresses.iter().map(|address| (address, false)))
        })
        .collect()
}

fn pod_of(address: &Address) -> Option<&str> {
    address.target_ref.as_ref().filter(|target| target.kind == "Pod").map(|target| target.name.as_str())
}

fn address_words(address: &Address, ready: bool) -> String {
    let pod = pod_of(address).map(|pod| format!(" ({pod})")).unwrap_or_default();
    format!("{}{pod}{}", address.ip, if ready { "" } else { " not ready" })
}

fn ports(endpoints: &Endpoints) -> Vec<(u32, &str, &str)> {
    let ports = endpoints.subsets.iter().flat_map(|subset| &subset.ports);
    let mut ports: Vec<_> = ports.map(|port| (port.port, port.protocol.as_str(), port.name.as_str())).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn endpoints_data(endpoints: &Endpoints) -> Value {
    let addresses = addresses(endpoints).into_iter().map(|(address, ready)| {
        json!({ "ip": address.ip, "node_name": address.node_name, "pod_name": pod_of(address), "ready": ready })
    });
    let ports = ports(endpoints)
        .into_iter()
        .map(|(port, protocol, name)| json!({ "name": name, "port": port, "protocol": protocol }));
    json!({
        "name": endpoints.metadata.name,
        "namespace": endpoints.metadata.namespace,
        "addresses": addresses.collect::<Vec<_>>(),
        "ports": ports.collect::<Vec<_>>(),
    })
}

async fn describe_service(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let (view, name) = (job.view()?, job.needed("service_name")?);
    let Some(namespace) = &view.namespace else {
        return Err(Trouble::invalid("one service is in one namespace: give its name instead of `all`"));
    };
    let path = |kind| [CORE[0], CORE[1], "namespaces", namespace, kind, name];
    let service: Service = view.api.get(&path("services")).await?;
    // A service without a selector may have none at all.
    let endpoints = match view.api.get::<Endpoints>(&path("endpoints")).await.map_err(Trouble::from) {
        Ok(found) => found,
        Err(missing) if missing.is_not_found() => Endpoints::default(),
        Err(other) => return Err(other),
    };
    let all = addresses(&endpoints);
    let side = |wanted: bool| -> String {
        let of_side = all.iter().filter(|(_, ready)| *ready == wanted);
        let shown: Vec<String> = of_side.map(|(address, _)| address_words(address, true)).collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
    };
    let now = job.now();
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let words = format!(
        "Name:       {name}\nNamespace:  {namespace}\nType:       {}\nCluster IP: {}\nExternal:   {}\nPorts:      {}\nSelector:   {}\nAge:        {}\nReady:      {}\nNot ready:  {}\n",
        service.spec.kind,
        or_none(service.spec.cluster_ip.clone()),
        or_none(external(&service).join(", ")),
        or_none(service.spec.ports.iter().map(port_words).collect::<Vec<_>>().join(", ")),
        or_none(pairs(&service.spec.selector)),
        age(service.metadata.creation_timestamp, now),
        side(true),
        side(false),
    );
    let data = json!({ "service": service_data(&service, now), "endpoints": endpoints_data(&endpoints) });
    Ok(ToolOutput::with_data(words, data))
}
