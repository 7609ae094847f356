//! From the surroundings and a context's name to an address and credentials.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reeve_types::secret::SecretString;

use super::file::{ClusterEntry, Kubeconfig, UserEntry, read_text};
use super::{Access, Credentials, KubeconfigError, Surroundings};

/// How many contexts an error names.
const CONTEXTS_NAMED: usize = 12;

/// Finds the cluster of a context; of the current one, when none is given. Without a kubeconfig, the cluster that we
/// run in. Reads files.
pub fn find(around: &Surroundings, context: Option<&str>) -> Result<Access, KubeconfigError> {
    let candidates = candidates(around);
    let mut merged: Option<Kubeconfig> = None;
    let mut read = Vec::new();
    for path in candidates.iter().filter(|path| path.exists()) {
        let config = Kubeconfig::parse(path, &read_text(path, "the kubeconfig", None)?)?;
        read.push(path.display().to_string());
        match &mut merged {
            Some(first) => first.merge(config),
            None => merged = Some(config),
        }
    }
    match merged {
        Some(config) => of_config(&config, &read.join(", "), context),
        None => in_cluster(around, context, &candidates),
    }
}

/// The files that count, whether they exist or not.
fn candidates(around: &Surroundings) -> Vec<PathBuf> {
    match &around.kubeconfig {
        Some(list) => std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => around.home.iter().map(|home| home.join(".kube/config")).collect(),
    }
}

fn in_cluster(around: &Surroundings, context: Option<&str>, looked: &[PathBuf]) -> Result<Access, KubeconfigError> {
    let Some((host, port)) = &around.service else {
        let mut places: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
        if around.kubeconfig.is_none() {
            places.insert(0, "KUBECONFIG (not set)".to_owned());
        }
        return Err(KubeconfigError(format!(
            "no Kubernetes cluster is known: there is no kubeconfig at {}, and this process does not run in a pod; set KUBECONFIG to a file that names one",
            places.join(" or ")
        )));
    };
    if let Some(context) = context {
        return Err(KubeconfigError(format!(
            "the context `{context}` needs a kubeconfig, and there is none: inside a pod only the pod's own cluster is known; leave the context out, or set KUBECONFIG"
        )));
    }
    let token = read_text(&around.service_account.join("token"), "the service account's token", None)?;
    let authorities =
        read_text(&around.service_account.join("ca.crt"), "the service account's certificate authority", None)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    Ok(Access {
        context: "in-cluster".to_owned(),
        source: "the service account of this pod".to_owned(),
        user: "this pod's service account".to_owned(),
        server: address(&format!("https://{host}:{port}"), "KUBERNETES_SERVICE_HOST")?,
        authorities: Some(authorities.into_bytes()),
        trusts_anybody: false,
        certificate: None,
        credentials: Credentials::Token(token.trim().into()),
        impersonate: Vec::new(),
        proxy: None,
    })
}

fn of_config(config: &Kubeconfig, source: &str, context: Option<&str>) -> Result<Access, KubeconfigError> {
    let known = || {
        let names: Vec<&str> = config.contexts().take(CONTEXTS_NAMED).collect();
        if names.is_empty() { "it has no contexts".to_owned() } else { format!("it has {}", names.join(", ")) }
    };
    let name = match context.or(config.current_context.as_deref()).filter(|name| !name.is_empty()) {
        Some(name) => name,
        None => {
            return Err(KubeconfigError(format!(
                "{source} has no current-context and no context was given; {}",
                known()
            )));
        }
    };
    let entry = config
        .context(name)
        .ok_or_else(|| KubeconfigError(format!("there is no context `{name}` in {source}; {}", known())))?;
    let missing = |what: &str, named: &Option<String>| {
        let named = named.as_deref().filter(|named| !named.is_empty());
        KubeconfigError(match named {
            Some(named) => format!("the context `{name}` names the {what} `{named}`, which is not in {source}"),
            None => format!("the context `{name}` in {source} names no {what}"),
        })
    };
    let (cluster, cluster_file) = entry
        .cluster
        .as_deref()
        .and_then(|cluster| config.cluster(cluster))
        .ok_or_else(|| missing("cluster", &entry.cluster))?;
    let nobody = UserEntry::default();
    let (user, user_file) = match entry.user.as_deref().filter(|user| !user.is_empty()) {
        Some(user) => config.user(user).ok_or_else(|| missing("user", &entry.user))?,
        None => (&nobody, cluster_file),
    };
    let place = Place { context: name, user: entry.user.as_deref().unwrap_or("nobody"), source };
    build(&place, cluster, cluster_file, user, user_file)
}

/// What errors name.
struct Place<'a> {
    context: &'a str,
    user: &'a str,
    source: &'a str,
}

fn build(
    place: &Place<'_>,
    cluster: &ClusterEntry,
    cluster_file: &Path,
    user: &UserEntry,
    user_file: &Path,
) -> Result<Access, KubeconfigError> {
    let (context, source) = (place.context, place.source);
    refuse_what_is_not_done(place, cluster, user)?;
    let server =
        cluster.server.as_deref().filter(|server| !server.is_empty()).ok_or_else(|| {
            KubeconfigError(format!("the cluster of the context `{context}` in {source} has no server"))
        })?;
    let trusts_anybody = cluster.insecure_skip_tls_verify == Some(true);
    let authorities = pem(
        "certificate-authority",
        cluster.certificate_authority_data.as_deref(),
        cluster.certificate_authority.as_deref(),
        cluster_file,
    )?;
    Ok(Access {
        context: context.to_owned(),
        source: source.to_owned(),
        user: place.user.to_owned(),
        server: address(server, &format!("the server of the context `{context}` in {source}"))?,
        authorities: authorities.map(String::into_bytes),
        trusts_anybody,
        certificate: certificate(place, user, user_file)?,
        credentials: credentials(user, user_file)?,
        impersonate: impersonation(user),
        proxy: cluster.proxy_url.clone().filter(|url| !url.is_empty()),
    })
}

fn refuse_what_is_not_done(place: &Place<'_>, cluster: &ClusterEntry, user: &UserEntry) -> Result<(), KubeconfigError> {
    let Place { context, user: name, source } = place;
    let whole = |what: &str, instead: &str| {
        Err(KubeconfigError(format!("the user `{name}` of the context `{context}` in {source} {what}; {instead}")))
    };
    let token = "give it a token or a client certificate, such as one of a service account (docs/kubernetes.md)";
    if user.exec.is_some() {
        return whole("gets its credentials from a program (exec), which Reeve does not start", token);
    }
    if user.auth_provider.is_some() {
        return whole("uses an auth-provider, which Reeve does not have", token);
    }
    if user.as_user_extra.is_some() {
        return whole("impersonates with as-user-extra, which Reeve cannot do", "leave it out");
    }
    if cluster.tls_server_name.as_deref().is_some_and(|name| !name.is_empty()) {
        return Err(KubeconfigError(format!(
            "the cluster of the context `{context}` in {source} sets tls-server-name, which Reeve cannot do; put a name that the certificate holds into `server`"
        )));
    }
    if cluster.proxy_url.as_deref().is_some_and(|url| url.starts_with("socks")) {
        return Err(KubeconfigError(format!(
            "the cluster of the context `{context}` in {source} is behind a SOCKS proxy, which Reeve cannot use; an HTTP proxy works"
        )));
    }
    Ok(())
}

fn address(server: &str, whose: &str) -> Result<reqwest::Url, KubeconfigError> {
    let bad = || KubeconfigError(format!("{whose} is not an https or http address"));
    let url = reqwest::Url::parse(server).map_err(|_| bad())?;
    if matches!(url.scheme(), "https" | "http") && url.has_host() { Ok(url) } else { Err(bad()) }
}

/// PEM that stands in the file itself (as base64) or in a file beside it.
fn pem(key: &str, data: Option<&str>, path: Option<&Path>, file: &Path) -> Result<Option<String>, KubeconfigError> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let text = STANDARD.decode(data.split_whitespace().collect::<String>()).ok();
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        return text
            .map(Some)
            .ok_or_else(|| KubeconfigError(format!("{key}-data in {} is not PEM in base64", file.display())));
    }
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else { return Ok(None) };
    read_text(&beside(file, path), &format!("the {key}"), Some(file)).map(Some)
}

fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new(".")).join(path)
}

fn certificate(place: &Place<'_>, user: &UserEntry, file: &Path) -> Result<Option<SecretString>, KubeconfigError> {
    let certificate =
        pem("client-certificate", user.client_certificate_data.as_deref(), user.client_certificate.as_deref(), file)?;
    let key = pem("client-key", user.client_key_data.as_deref(), user.client_key.as_deref(), file)?;
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(format!("{key}\n{certificate}\n").into())),
        (certificate, _) => Err(KubeconfigError(format!(
            "the user `{}` of the context `{}` in {} has a client {} without its {}",
            place.user,
            place.context,
            place.source,
            if certificate.is_some() { "certificate" } else { "key" },
            if certificate.is_some() { "key" } else { "certificate" },
        ))),
    }
}

fn credentials(user: &UserEntry, file: &Path) -> Result<Credentials, KubeconfigError> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    // As everywhere else: a file that somebody keeps fresh comes before a token that was written down.
    if let Some(path) = user.token_file.as_deref().filter(|path| !path.as_os_str().is_empty()) {
        let token = read_text(&beside(file, path), "the tokenFile", Some(file))?;
        return Ok(Credentials::Token(token.trim().into()));
    }
    Ok(match (filled(&user.token), filled(&user.username)) {
        (Some(token), _) => Credentials::Token(token.into()),
        (None, Some(name)) => Credentials::Password(name, user.password.clone().unwrap_or_default().into()),
        (None, None) => Credentials::None,
    })
}

fn impersonation(user: &UserEntry) -> Vec<(&'static str, String)> {
    let whom = user.act_as.iter().map(|name| ("impersonate-user", name.clone()));
    let uid = user.as_uid.iter().map(|uid| ("impersonate-uid", uid.clone()));
    let groups = user.as_groups.iter().flatten().map(|group| ("impersonate-group", group.clone()));
    whom.chain(uid).chain(groups).collect()
}
