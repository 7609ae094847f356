//! The agents that are known by name.

use std::borrow::Cow;

use reeve_gate::relay::Speech;

use super::{ModelVariables, Profile};

/// All of them.
pub fn known() -> Vec<Profile> {
    vec![claude(), gemini(), goose(), codex(), kimi()]
}

fn profile(name: &str, title: &str, argv: &[&str], install: &'static str) -> Profile {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    Profile { title: title.to_owned(), install: Cow::Borrowed(install), ..Profile::command(name, argv) }
}

fn names(names: &[&'static str]) -> Vec<Cow<'static, str>> {
    names.iter().copied().map(Cow::Borrowed).collect()
}

fn fixed(pairs: &[(&'static str, &'static str)]) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
    pairs.iter().map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value))).collect()
}

fn claude() -> Profile {
    Profile {
        variables: names(&["IS_SANDBOX"]),
        variable_prefixes: names(&["ANTHROPIC_", "CLAUDE_"]),
        fixed: fixed(&[("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"), ("DISABLE_AUTOUPDATER", "1")]),
        program_variable: Some("AEGIS_ACP_BIN"),
        model: ModelVariables::usual(Speech::Anthropic),
        ..profile(
            "claude",
            "Claude Code",
            &["claude-agent-acp"],
            "npm install -g @agentclientprotocol/claude-agent-acp, or name its program in AEGIS_ACP_BIN",
        )
    }
}

fn gemini() -> Profile {
    Profile {
        variable_prefixes: names(&["GEMINI_", "GOOGLE_"]),
        // In a directory that nobody has called trusted it starts no server of tools, the gate's own among them.
        fixed: fixed(&[("GEMINI_CLI_TRUST_WORKSPACE", "true")]),
        model: ModelVariables::usual(Speech::Gemini),
        ..profile("gemini", "Gemini CLI", &["gemini", "--acp"], "npm install -g @google/gemini-cli")
    }
}

fn goose() -> Profile {
    Profile {
        variable_prefixes: names(&["GOOSE_", "OPENAI_", "ANTHROPIC_"]),
        // Without it goose asks nobody.
        fixed: fixed(&[("GOOSE_MODE", "approve")]),
        model: ModelVariables {
            base_url: Some("OPENAI_HOST"),
            model: Some("GOOSE_MODEL"),
            path: "",
            also: &[("GOOSE_PROVIDER", "openai")],
            ..ModelVariables::usual(Speech::Openai)
        },
        ..profile("goose", "Goose", &["goose", "acp"], "install goose from https://block.github.io/goose")
    }
}

/// Codex takes an address from its configuration only. In what is written there, names stand between quotes.
const CODEX_CONFIG: &[&str] = &[
    "--config=model_provider=\"reeve\"",
    "--config=model_providers.reeve.name=\"reeve\"",
    "--config=model_providers.reeve.base_url=\"{address}\"",
    "--config=model_providers.reeve.env_key=\"OPENAI_API_KEY\"",
    "--config=model_providers.reeve.wire_api=\"responses\"",
    "--config=model=\"{model}\"",
];

fn codex() -> Profile {
    Profile {
        variable_prefixes: names(&["CODEX_", "OPENAI_"]),
        model: ModelVariables {
            base_url: None,
            model: None,
            arguments: CODEX_CONFIG,
            ..ModelVariables::usual(Speech::Openai)
        },
        ..profile("codex", "Codex", &["codex-acp"], "npm install -g @zed-industries/codex-acp")
    }
}

fn kimi() -> Profile {
    Profile {
        variable_prefixes: names(&["KIMI_", "MOONSHOT_"]),
        program_variable: Some("AEGIS_KIMI_BIN"),
        model: ModelVariables {
            base_url: Some("KIMI_BASE_URL"),
            api_key: Some("KIMI_API_KEY"),
            model: Some("KIMI_MODEL_NAME"),
            ..ModelVariables::usual(Speech::Openai)
        },
        ..profile("kimi", "Kimi", &["kimi", "acp"], "install kimi-cli, or name its program in AEGIS_KIMI_BIN")
    }
}
