//! One call on its way: its arguments, its time, and the API server that it leads to.

use jiff::Timestamp;
use reeve_gate::{FailureKind, TaskCx, ToolCall, ToolFailure};
use reeve_types::{Arguments, ToolOutput};
use serde::de::DeserializeOwned;

use super::define::{Body, Definition, text};
use super::render::capped;
use super::trouble::Trouble;
use super::{Kit, Place};
use crate::client::{Api, Listed};
use crate::kubeconfig;
use crate::objects::{Meta, Named};

/// The word for every namespace.
pub(super) const ALL: &str = "all";
/// The core of the API.
pub(super) const CORE: [&str; 2] = ["api", "v1"];

/// One call of one tool.
pub(super) struct Job<'a> {
    kit: &'a Kit,
    definition: &'a Definition,
    call: ToolCall,
    cx: &'a TaskCx,
}

/// A cluster to look at, and the namespace to look into.
pub(super) struct View {
    pub(super) api: Api,
    /// Absent for the cluster as a whole, and for all namespaces.
    pub(super) namespace: Option<String>,
}

impl<'a> Job<'a> {
    pub(super) fn new(kit: &'a Kit, definition: &'a Definition, call: ToolCall, cx: &'a TaskCx) -> Self {
        Self { kit, definition, call, cx }
    }

    pub(super) fn args(&self) -> &Arguments {
        &self.call.arguments
    }

    pub(super) fn now(&self) -> Timestamp {
        self.cx.now()
    }

    /// A text argument that the tool cannot do without.
    pub(super) fn needed(&self, name: &str) -> Result<&str, Trouble> {
        text(self.args(), name).ok_or_else(|| Trouble::invalid(format!("the argument `{name}` is missing")))
    }

    /// The cluster, and who we are there.
    pub(super) fn view(&self) -> Result<View, Trouble> {
        let (context, namespace) = self.definition.named_by(self.args());
        let Place { context, namespace } =
            self.kit.clusters.place(&self.call.resource, context, namespace).map_err(Trouble::invalid)?;
        let namespace = namespace.filter(|namespace| namespace != ALL);
        if let Some(namespace) = namespace.as_deref().filter(|namespace| !is_label(namespace)) {
            return Err(Trouble::invalid(format!(
                "`{namespace}` cannot be a namespace: those have lowercase letters, digits and `-`, at most 63; is it an id that the inventory does not know?"
            )));
        }
        let access = kubeconfig::find(&self.kit.around, context.as_deref())?;
        Ok(View { api: self.kit.clients.api(access, self.kit.options)?, namespace })
    }

    /// The same for a tool that cannot look into all namespaces at once.
    pub(super) fn view_of_one(&self) -> Result<(Api, String), Trouble> {
        let View { api, namespace } = self.view()?;
        let one = || Trouble::invalid("one pod is in one namespace: give its name instead of `all`");
        Ok((api, namespace.ok_or_else(one)?))
    }

    /// Runs the tool within its time.
    pub(super) async fn carry_out(&self, body: Body) -> Result<ToolOutput, ToolFailure> {
        let ended = tokio::select! {
            ended = body(self) => ended,
            () = tokio::time::sleep_until(self.cx.deadline()) => {
                Err(Trouble::Words(FailureKind::Timeout, "time ran out while the API server was being asked".to_owned()))
            }
            () = self.cx.cancelled().cancelled() => Err(Trouble::failed("it was stopped")),
        };
        match ended {
            Ok(mut output) => {
                output.output = capped(output.output);
                Ok(output)
            }
            Err(trouble) => Err(trouble.into_failure(&self.definition.spec.name, &self.call.resource.name)),
        }
    }
}

/// RFC 1123, as namespaces are named.
fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 63
        && name.bytes().all(|b| inner(b) || b == b'-')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner)
}

impl View {
    /// The path of a kind of object within the namespace, or in all of them.
    pub(super) fn path<'p>(&'p self, base: &[&'p str], kind: &'p str) -> Vec<&'p str> {
        let mut path = base.to_vec();
        if let Some(namespace) = &self.namespace {
            path.extend(["namespaces", namespace]);
        }
        path.push(kind);
        path
    }

    /// One object by its name, or every object that a selector finds. Whoever asks for one wants to hear when it is not there.
    pub(super) async fn one_or_all<T: DeserializeOwned>(
        &self,
        kind: &str,
        name: Option<&str>,
        query: &[(&str, &str)],
    ) -> Result<Listed<T>, Trouble> {
        let mut path = self.path(&CORE, kind);
        match name {
            Some(name) if self.namespace.is_some() => {
                path.push(name);
                Ok(Listed { items: vec![self.api.get(&path).await?], cut: false })
            }
            // Names are unique within a namespace only.
            Some(name) => {
                let selector = format!("metadata.name={name}");
                let mut query = query.to_vec();
                query.push(("fieldSelector", &selector));
                Ok(self.api.list(&path, &query).await?)
            }
            None => self.all(&path, query).await,
        }
    }

    /// Every object of a list. An empty list of a namespace that is not there is a failure: the API says nothing of it.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Listed<T>, Trouble> {
        let listed = self.api.list(path, query).await?;
        if listed.items.is_empty() {
            self.namespace_exists().await?;
        }
        Ok(listed)
    }

    async fn namespace_exists(&self) -> Result<(), Trouble> {
        let Some(namespace) = &self.namespace else { return Ok(()) };
        match self.api.get::<Named>(&["api", "v1", "namespaces", namespace]).await.map_err(Trouble::from) {
            Err(missing) if missing.is_not_found() => Err(Trouble::failed(format!(
                "there is no namespace `{namespace}` in the context `{}`",
                self.api.access().context
            ))),
            // Whoever may not look at namespaces simply does not learn it.
            _ => Ok(()),
        }
    }

    /// ` in the namespace shop`, for sentences.
    pub(super) fn within(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!(" in the namespace {namespace}"),
            None => String::new(),
        }
    }

    /// How an object is named where several namespaces are shown.
    pub(super) fn name_of(&self, meta: &Meta) -> String {
        match &self.namespace {
            None if !meta.namespace.is_empty() => format!("{}/{}", meta.namespace, meta.name),
            _ => meta.name.clone(),
        }
    }

    /// What is said when there is more than is read.
    pub(super) fn cut_note(&self, cut: bool, what: &str) -> Option<String> {
        let most = self.api.options().list_objects_max;
        cut.then(|| {
            format!("only the first {most} {what} were read; ask for one namespace or by labels to see the others")
        })
    }
}
