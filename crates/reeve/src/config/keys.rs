//! The one table of settings: their names, what they mean, and which variables set them.
//!
//! The loader, `reeve config` and the reference page (`reeve config --docs`) all read this table, so a setting cannot be
//! accepted without being documented, nor documented without being accepted.

/// What a value of a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One text.
    Text,
    /// A text that is never shown.
    Secret,
    /// A URL, in which a password is masked when it is shown.
    Url,
    /// A URL that is a secret itself; only its server is shown.
    SecretUrl,
    /// A path; relative to the file that names it, or to the working directory.
    Path,
    /// Texts; in a variable separated by commas.
    TextList,
    /// Paths; in a variable separated by commas.
    PathList,
    /// A whole number from 0 on.
    Number,
    /// A number from 0 to 1.
    Fraction,
    /// `true` or `false`.
    Switch,
}

impl Kind {
    /// The kind in words, as messages and the reference page say it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "text",
            Self::Url | Self::SecretUrl => "URL",
            Self::Path => "path",
            Self::TextList => "list of texts",
            Self::PathList => "list of paths",
            Self::Number => "whole number",
            Self::Fraction => "number from 0 to 1",
            Self::Switch => "true or false",
        }
    }

    /// Whether it holds more than one value.
    pub(crate) fn is_list(self) -> bool {
        matches!(self, Self::TextList | Self::PathList)
    }
}

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Its name in `reeve.toml`, tables joined with dots.
    pub(crate) name: &'static str,
    /// What its value is.
    pub(crate) kind: Kind,
    /// Variables of the guides that set it too, first match wins. Each yields to the setting's own `REEVE_` variable.
    pub(crate) aliases: &'static [&'static str],
    /// What holds when nobody sets it, in words; empty for nothing.
    pub(crate) default: &'static str,
    /// What it does.
    pub(crate) meaning: &'static str,
}

impl Key {
    /// Its own variable: `approval.expiry_minutes` is `REEVE_APPROVAL_EXPIRY_MINUTES`.
    pub(crate) fn variable(&self) -> String {
        format!("REEVE_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }
}

/// The setting of a name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// A variable of the guides that adds one more address to `listen` instead of replacing it.
pub(crate) const EXTRA_LISTENER: &str = "HELPDESK_AUDIT_ADDR";

/// Variables of the Aegis guide that say in two parts what `listen` says in one.
pub(crate) const LISTEN_HOST: &str = "AEGIS_HOST";
/// The other part.
pub(crate) const LISTEN_PORT: &str = "AEGIS_PORT";

macro_rules! keys {
    ($($name:literal, $kind:ident, [$($alias:literal),*], $default:literal, $meaning:literal;)*) => {
        /// Every setting, in the order in which it is shown.
        pub(crate) static KEYS: &[Key] = &[$(Key {
            name: $name, kind: Kind::$kind, aliases: &[$($alias),*], default: $default, meaning: $meaning,
        },)*];
    };
}

keys! {
    "listen", TextList, ["HELPDESK_GATEWAY_ADDR"], "127.0.0.1:8080, in a container 0.0.0.0:8080",
        "Addresses on which the server listens: `IP:PORT`, `localhost:PORT` or `:PORT` for every interface.";
    "data_dir", Path, ["AEGIS_STATE_DIR"], "$XDG_DATA_HOME/reeve or ~/.local/share/reeve, for root /var/lib/reeve",
        "The directory that holds everything Reeve remembers: state, audit log, keys. Only its owner may read it.";
    "mode", Text, ["HELPDESK_OPERATING_MODE"], "readonly",
        "`readonly`: policy alone decides; `readonly-governed`: everything that changes something is refused, whatever \
         policy says; `fix`: policy decides. The last two start only with policies of your own.";
    "require_purpose_for_sensitive", Switch, ["HELPDESK_REQUIRE_PURPOSE_FOR_SENSITIVE"], "false",
        "Refuse acts on resources of sensitivity `pii` or `critical` unless the caller declares a purpose.";
    "policy.files", PathList, ["HELPDESK_POLICY_FILE"], "",
        "Policy files (`.yaml`, `.yml`, `.cedar`) or directories of them. Without any, the built-in policies hold.";
    "inventory.file", Path, ["HELPDESK_INFRA_CONFIG"], "",
        "The inventory (`infrastructure.json`). Once set, a target outside it is refused.";
    "identity.provider", Text, ["HELPDESK_IDENTITY_PROVIDER"], "keys",
        "Who is believed: `keys` (API keys and the users file), `static` (the same, and the users file must be there) or \
         `none` (everybody is who they say; only while every listen address is a loopback address).";
    "identity.users_file", Path, ["HELPDESK_USERS_FILE"], "",
        "Users, service accounts and their roles.";
    "accounts.registration", Switch, [], "false",
        "Whether strangers may make an account for themselves. They get the role `developer`.";
    "accounts.token_minutes", Number, ["ACCESS_TOKEN_EXPIRE_MINUTES"], "60",
        "How long an access token is good for. Signing out, another password and switching an account off end it at once.";
    "accounts.refresh_days", Number, [], "30",
        "How long a sign-in lasts that nobody renews.";
    "jwt_secret", Secret, ["JWT_SECRET"], "32 random bytes, kept in the data directory",
        "What access tokens are signed with; at least 32 bytes, and none that stands in examples.";
    "jwt_secret_previous", Secret, ["JWT_SECRET_PREVIOUS"], "",
        "What they were signed with before; such tokens hold until they expire.";
    "limits.executions_per_minute", Number, [], "10",
        "How many programs a signed-in person may run in a minute; 0 is no limit.";
    "limits.saves_per_minute", Number, [], "60",
        "How many files a signed-in person may save in a minute; 0 is no limit.";
    "limits.calls_per_minute", Number, [], "100",
        "How many other calls a signed-in person may make in a minute, and how many sign-ins may come from one address; 0 \
         is no limit. What the pages ask by themselves is not counted.";
    "limits.key_calls_per_minute", Number, [], "6000",
        "How many calls of any kind may come with one API key in a minute; 0 is no limit.";
    "sse.idle_ms", Number, ["AEGIS_SSE_IDLE_MS"], "120000",
        "How long the stream of a session may be silent before it says `:ping`, in milliseconds; at least 1000.";
    "sse.client_timeout_ms", Number, ["AEGIS_SSE_CLIENT_TIMEOUT_MS"], "300000",
        "A client that leaves lie for so long what was sent to it is cut off, in milliseconds. Silence alone never is why.";
    "sse.max_connections", Number, ["AEGIS_SSE_MAX_CONNECTIONS"], "20000",
        "How many streams and sockets of sessions may be open at the same time; mind the limit of open files.";
    "sse.max_per_caller", Number, [], "100",
        "How many of them one caller may have.";
    "approval.expiry_minutes", Number, [], "60",
        "How long people have to answer a request for approval.";
    "approval.valid_for_minutes", Number, [], "10",
        "How long an approved act may wait before it must have begun.";
    "notify.webhook", SecretUrl, ["HELPDESK_APPROVAL_WEBHOOK"], "",
        "A URL that is told of every approval; a Slack webhook gets Slack's form.";
    "notify.base_url", Url, ["HELPDESK_APPROVAL_BASE_URL"], "",
        "Where people reach this server, for links in notices.";
    "notify.smtp.host", Text, ["SMTP_HOST"], "",
        "The mail server for notices. Without it no mail is sent.";
    "notify.smtp.port", Number, ["SMTP_PORT"], "587",
        "Its port. 465 speaks TLS from the start, any other asks for STARTTLS.";
    "notify.smtp.user", Text, ["SMTP_USER"], "",
        "The account there.";
    "notify.smtp.password", Secret, ["SMTP_PASSWORD"], "",
        "Its password.";
    "notify.smtp.from", Text, ["HELPDESK_EMAIL_FROM"], "",
        "The sender of notices.";
    "notify.smtp.to", TextList, ["HELPDESK_EMAIL_TO"], "",
        "Who gets them.";
    "audit.socket", Path, ["HELPDESK_AUDIT_SOCKET"], "",
        "A unix socket on which every new record is streamed, one JSON object per line.";
    "verify.attempts", Number, ["HELPDESK_VERIFY_MAX_ATTEMPTS"], "8",
        "How often a change is re-checked before it counts as not having taken effect.";
    "verify.initial_delay_s", Number, ["HELPDESK_VERIFY_INITIAL_DELAY_S"], "0.1",
        "Seconds before the second check; each further wait is twice as long.";
    "verify.max_delay_s", Number, ["HELPDESK_VERIFY_MAX_DELAY_S"], "5",
        "The longest wait between two checks, in seconds.";
    "models.file", Path, [], "models.toml in the data directory, if there is one",
        "Which models agents can use, and where: see docs/models.md. Without it the usual variables name them \
         (ANTHROPIC_API_KEY, OPENAI_API_KEY, GEMINI_API_KEY and their like).";
    "mcp.file", Path, [], "mcp.toml in the data directory, if there is one",
        "Other people's MCP servers whose tools agents may use: see docs/mcp.md.";
    "agents.dir", Path, [], "agents in the data directory, if there is one",
        "Definitions of agents of one's own, one Markdown file each.";
    "agents.target", Text, [], "",
        "The database that agents look at when nobody names one: an id of the inventory or a connection string.";
    "sessions.turns", Number, [], "256",
        "How many sessions may be at work at the same time; the others wait.";
    "sessions.silence_told_s", Number, [], "120",
        "How long an external agent may say nothing in a turn before people are told that it may be stuck, in seconds.";
    "sessions.silence_max_s", Number, [], "1800",
        "How long it may say nothing before its turn is ended, in seconds. Time in which people or programs that it waits \
         for are at work does not count.";
    "workspaces.driver", Text, [], "namespace",
        "How workspaces are held: `namespace` (bubblewrap, on this machine), `docker` (Docker Engine or Podman) or `none`.";
    "workspaces.runtime", Path, [], "beside the program `reeve`",
        "The program that runs inside workspaces, `reeve-runtime`.";
    "workspaces.docker.host", Text, ["DOCKER_HOST"], "the usual sockets",
        "Where Docker Engine or Podman answers: `unix:///run/docker.sock`.";
    "workspaces.docker.runtime", Text, [], "the engine's own",
        "What the engine runs containers with: `runsc` for gVisor.";
    "workspaces.templates", Path, [], "",
        "A directory of templates of your own, one directory with a `template.toml` each, beside the built-in ones.";
    "workspaces.warm", Number, [], "1",
        "How many spare workspaces wait, started, for the next one that is made; 0 for none.";
    "workspaces.per_user", Number, [], "20",
        "How many workspaces one user may have.";
    "workspaces.running_per_user", Number, [], "10",
        "How many of them may run at the same time.";
    "workspaces.disk_gb_per_user", Number, [], "0",
        "What the disks of one user's workspaces may be together, in GiB, deleted ones included until they are gone; 0 for \
         no bound.";
    "workspaces.per_tenant", Number, [], "0",
        "How many workspaces all users of a tenant may have together; 0 for no bound.";
    "workspaces.running_per_tenant", Number, [], "0",
        "How many of them may run at the same time; 0 for no bound.";
    "workspaces.disk_gb_per_tenant", Number, [], "0",
        "What their disks may be together, in GiB; 0 for no bound.";
    "workspaces.memory_mb", Number, [], "2048",
        "Memory of a workspace, in MiB, when neither its maker nor its template says.";
    "workspaces.memory_mb_max", Number, [], "16384",
        "The most memory that anybody may ask for.";
    "workspaces.cpu_millis", Number, [], "1500",
        "Processor time of a workspace, in thousandths of a core, when nobody says.";
    "workspaces.cpu_millis_max", Number, [], "16000",
        "The most that anybody may ask for.";
    "workspaces.pids", Number, [], "512",
        "Processes and threads of a workspace when nobody says.";
    "workspaces.pids_max", Number, [], "8192",
        "The most that anybody may ask for.";
    "workspaces.disk_gb", Number, [], "10",
        "Disk of a workspace, in GiB, when nobody says.";
    "workspaces.disk_gb_max", Number, [], "100",
        "The most that anybody may ask for.";
    "workspaces.idle_minutes", Number, [], "120",
        "How long nobody may use a workspace before it is suspended, when nobody says; 0 never suspends it.";
    "workspaces.idle_minutes_max", Number, [], "0",
        "The longest that anybody may ask for; 0 for no bound, and for workspaces that never rest.";
    "workspaces.run_max_minutes", Number, [], "1440",
        "How long a program may be allowed to run, at most a week. One whose answer is awaited whole gets at most an hour.";
    "workspaces.snapshots_max", Number, [], "20",
        "How many snapshots one workspace may have.";
    "workspaces.keep_deleted_days", Number, [], "7",
        "How long a deleted workspace can be restored.";
    "workspaces.egress_by_choice", Switch, [], "true",
        "Whether whoever makes a workspace may say what it reaches over the network; otherwise its template says.";
    "workspaces.reachable", TextList, [], "",
        "What workspaces whose network allows it may reach although it lies in a private network: `IP:PORT` each, a mirror \
         of packages for example.";
    "workspaces.strict_exec", Switch, [], "false",
        "Whether the guide's lines for a shell are refused (400 `command_blocked`) that hold `;`, `&`, a pipe, a redirection \
         or a substitution. The workspace is the boundary with and without it.";
    "workspaces.token_in_address", Switch, [], "true",
        "Whether the guide's clients may open terminals with an access token after `?token=`. A ticket always does.";
    "workspaces.host_directories", Switch, [], "false",
        "Whether workspaces may work in directories of the host instead of files of their own: see docs/tenants.md.";
    "tenants.file", Path, [], "tenants.yaml or tenants.json in the data directory, if there is one",
        "Which of them each tenant may work in (`tenantWorkdirs`): see docs/tenants.md.";
    "workspaces.preview_domain", Text, [], "localhost",
        "Previews answer at `PORT--WORKSPACE.preview.` followed by this domain; its wildcard must lead to this server.";
    "shutdown.grace_seconds", Number, ["AEGIS_SHUTDOWN_GRACE_MS"], "15",
        "How long work in progress may go on after the server was told to stop.";
    "shutdown.hard_seconds", Number, ["AEGIS_SHUTDOWN_HARD_MS"], "20",
        "When the server ends whatever still runs.";
    "log.level", Text, ["HELPDESK_LOG_LEVEL"], "info",
        "`error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,reeve_gate=debug`.";
    "log.format", Text, [], "text",
        "`text` for people, `json` for programs.";
    "otel.enabled", Switch, ["AEGIS_OTEL_ENABLED"], "false",
        "Whether traces are sent to a collector: see docs/telemetry.md.";
    "otel.disabled", Switch, ["OTEL_SDK_DISABLED"], "false",
        "Switches traces off, whatever else is set.";
    "otel.endpoint", Url, ["AEGIS_OTEL_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"], "http://localhost:4318",
        "Where the collector takes OTLP over HTTP; `/v1/traces` is added.";
    "otel.traces_endpoint", Url, ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], "",
        "The whole address for traces, to which nothing is added. It comes before `otel.endpoint`.";
    "otel.service_name", Text, ["AEGIS_OTEL_SERVICE_NAME", "OTEL_SERVICE_NAME"], "reeve",
        "What this server is called in traces.";
    "otel.sample_rate", Fraction, ["AEGIS_OTEL_SAMPLE_RATE", "OTEL_TRACES_SAMPLER_ARG"], "1.0",
        "Which part of the traces that begin here is sent. A caller's own trace is sent when the caller says so.";
    "otel.sampler", Text, ["OTEL_TRACES_SAMPLER"], "parentbased_traceidratio",
        "How traces are chosen, by the standard's names: `always_on`, `always_off`, `traceidratio` (of every trace, whatever its \
         caller says), and the same with `parentbased_`, where a caller's word comes first.";
    "server", Url, ["HELPDESK_GATEWAY_URL", "HELPDESK_AUDIT_URL"], "the first listen address",
        "Which server the other commands talk to.";
    "api_key", Secret, ["HELPDESK_APPROVAL_KEY", "HELPDESK_CLIENT_API_KEY"], "the data directory's admin.token, on the same machine",
        "The key with which the other commands say who you are.";
    "user", Text, ["HELPDESK_APPROVAL_USER", "HELPDESK_CLIENT_USER"], "",
        "The user whom the other commands name (`X-User`); for servers that believe the users file or everybody.";
}
